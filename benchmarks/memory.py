"""Measures the peak memory of one forward and backward in a process of its own.

The result is the peak resident set of the process during the call, minus what was resident just before it (the library,
both images, and what a small call before it left behind), minus the returned gradient. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

import torch

from benchmarks.competitors import COMPETITORS
from benchmarks.workload import images
from dec_kernels.doctor.memory import high_water_bytes, peak_extra_bytes
from dec_kernels.jsontext import to_json

# At the second size torch.compile generates code for any n, and the kernels for full tiles are compiled. So the
# measured call compiles nothing.
WARM_UP = (512, 2048)
# glibc would keep freed blocks and so hide what the next call needs. With these settings it returns blocks of 64 KiB
# and more at once.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000"}


class Memory(TypedDict):
    """The cost of one forward and backward.

    Attributes:
        extra_bytes: peak memory above the images and the returned gradient.
        peak_bytes: peak memory of the whole process during the call.
        seconds: time of the call. It includes requesting all memory from the system, so it is not a benchmark.
    """

    extra_bytes: int
    peak_bytes: int
    seconds: float


def measure(name: str, n: int, patch_size: int) -> Memory:
    """Measures one call of COMPETITORS[name] in this process, after smaller calls."""
    step = COMPETITORS[name].step
    for size in WARM_UP:
        sr, hr = images(size, patch_size)
        step(sr.requires_grad_(), hr, patch_size)
    sr, hr = images(n, patch_size)
    sr.requires_grad_()
    kept = []  # the gradient has to be alive at the peak; its own size is then subtracted
    start = time.perf_counter()
    peak = peak_extra_bytes(lambda: kept.append(step(sr, hr, patch_size)))
    seconds = time.perf_counter() - start
    return {"extra_bytes": peak - sr.nbytes, "peak_bytes": high_water_bytes(), "seconds": seconds}


def measure_in_fresh_process(name: str, n: int, patch_size: int) -> Memory:
    """Runs `measure` in a new process that returns freed memory at once, with as many threads as this one."""
    command = [sys.executable, "-m", "benchmarks.memory", name, str(n), str(patch_size)]
    environment = os.environ | MALLOC | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("competitor", choices=COMPETITORS)
    parser.add_argument("n", type=int, help="patches")
    parser.add_argument("patch_size", type=int, help="pixels; rows have 3 * patch_size^2 values")
    given = parser.parse_args()
    print(to_json(measure(given.competitor, given.n, given.patch_size)), end="")
