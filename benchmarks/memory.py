"""Peak memory of one forward and backward, measured in a process of its own.

Counted is the process's peak resident set during the call, above what was resident just before it (the library, both
images, whatever a small call before it left behind), less the gradient that is returned. Linux only.
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
from dec_kernels.doctor.memory import peak_extra_bytes
from dec_kernels.jsontext import to_json

# With the second size torch.compile makes code for any n, and the kernels for tiles of full size are there; neither is
# compiled in the measured call.
WARM_UP = (512, 2048)
# glibc would keep freed blocks for later and so hide what the next call needs: from 64 KiB on they go straight back.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000"}


class Memory(TypedDict):
    """What `measure` returns.

    Attributes:
        extra_bytes: at the peak, above the images and the returned gradient.
        seconds: that the call took, with memory that is asked for anew each time: a bound, not a benchmark.
    """

    extra_bytes: int
    seconds: float


def measure(name: str, n: int, patch_size: int) -> Memory:
    """One call of COMPETITORS[name] in this process, after a small one."""
    step = COMPETITORS[name].step
    for size in WARM_UP:
        sr, hr = images(size, patch_size)
        step(sr.requires_grad_(), hr, patch_size)
    sr, hr = images(n, patch_size)
    sr.requires_grad_()
    kept = []  # the gradient has to be alive at the peak, and is then taken off
    start = time.perf_counter()
    peak = peak_extra_bytes(lambda: kept.append(step(sr, hr, patch_size)))
    return {"extra_bytes": peak - sr.nbytes, "seconds": time.perf_counter() - start}


def measure_in_fresh_process(name: str, n: int, patch_size: int) -> Memory:
    """`measure` in a new process that gives freed memory back at once, with as many threads as this one."""
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
