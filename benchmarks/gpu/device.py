"""What is asked of the device that is measured: time, memory, graphs, kernels.

`DryRun` answers in its place on the CPU.
"""

import gc
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch

from benchmarks.gpu import trace
from benchmarks.timing import seconds
from dec_kernels.doctor.memory import peak_extra_bytes_on_cuda
from dec_kernels.environment import output

Call = Callable[[], object]


CLOCK = ("nvidia-smi", "--id=0", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits")


class CaptureFailed(RuntimeError):
    """A CUDA graph could not be captured. Stream and allocator are in no state to go on with in this process."""


class Cuda:
    """The current CUDA device."""

    type = "cuda"
    compiler = "inductor"
    longest_product = 8192

    def __init__(self) -> None:
        # Twice the cache: what is timed finds nothing of its inputs there.
        self._flush = torch.empty(2 * torch.cuda.get_device_properties().L2_cache_size, dtype=torch.int8, device="cuda")

    def laps(self, *calls: Call) -> list[float]:
        """Seconds that the device takes for each of the calls, made one after the other, with a cold L2 cache."""
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]
        self._flush.zero_()
        marks[0].record()
        for call, mark in zip(calls, marks[1:], strict=True):
            call()
            mark.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in pairwise(marks)]

    def extra_bytes(self, call: Call) -> int:
        """The allocator's peak during the call, above what is allocated before. cuBLAS's workspace, which stays for
        good after a first call, is no part of it."""
        return peak_extra_bytes_on_cuda(call)

    def free_bytes(self) -> float:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    def captured(self, call: Call) -> Call:
        """The replay of the call's kernels as one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # a capture must not meet anything that is done the first time only
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # nothing of the device may be given back while it captures
        try:
            with torch.cuda.graph(graph):
                call()
        except Exception as error:
            raise CaptureFailed(f"{type(error).__name__}: {error}") from error
        return graph.replay

    def issue(self, call: Call) -> float:
        """Seconds of the host until it has handed the call to an idle device, for which it does not wait."""
        torch.cuda.synchronize()
        return seconds(call)

    def kernels(self, step: Call) -> list[dict[str, Any]]:
        """Seconds of each kernel of a step, the L2 cache as the step before left it."""
        return trace.kernels(step, self.type, steps=10)

    def clock(self, replay: Call) -> float | None:
        """MHz of the multiprocessors while it replays over and over; None where there is no nvidia-smi."""
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(output, *CLOCK)
            while not asked.done():
                for _ in range(20):
                    replay()
                torch.cuda.synchronize()
        said = asked.result()
        return float(said) if said and said.replace(".", "").isdigit() else None

    def check(self) -> None:
        """Raises if the device has had an error after which nothing runs on it in this process any more."""
        torch.cuda.synchronize()


class DryRun:
    """Stands in for a device on a machine that has none, so that all code around it runs; its figures mean nothing."""

    type = "cpu"
    compiler = "aot_eager"
    longest_product = 64

    def laps(self, *calls: Call) -> list[float]:
        marks = [time.perf_counter()]
        for call in calls:
            call()
            marks.append(time.perf_counter())
        return [end - start for start, end in pairwise(marks)]

    def extra_bytes(self, call: Call) -> None:
        """Not measured."""
        call()

    def free_bytes(self) -> float:
        return math.inf

    def captured(self, call: Call) -> Call:
        return call

    def issue(self, call: Call) -> float:
        return seconds(call)

    def clock(self, replay: Call) -> None:
        """Not known."""
        replay()

    def kernels(self, step: Call) -> list[dict[str, Any]]:
        return trace.kernels(step, self.type, steps=1)

    def check(self) -> None:
        pass


Device = Cuda | DryRun
