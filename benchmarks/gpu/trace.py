"""How long each kernel of a step takes, from the trace that PyTorch's profiler writes."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

LONGEST_NAME = 300  # PyTorch's own have whole types in them
# Categories of the trace's events: what a device does, and in a dry run what the CPU does in its place.
ON_CUDA = ("kernel", "gpu_memset", "gpu_memcpy")
ON_CPU = ("cpu_op",)


def kernels(step: Callable[[], object], device: str, steps: int) -> list[dict[str, Any]]:
    """Of each kernel of a step, by its name: how often a step launches it, and its seconds of a step."""
    activity, categories = (ProfilerActivity.CUDA, ON_CUDA) if device == "cuda" else (ProfilerActivity.CPU, ON_CPU)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(2):  # the first time, the profiler itself has much to set up
        with profile(activities=[activity]) as profiler:
            for _ in range(steps):
                step()
            wait()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return of_events(json.loads(file.read_text())["traceEvents"], categories, steps)


def of_events(events: list[dict[str, Any]], categories: Collection[str], steps: int) -> list[dict[str, Any]]:
    """The longest first. Seconds are the median launch's, times the launches of a step.

    Raises:
        RuntimeError: there is none.
    """
    microseconds: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "X" and event.get("cat") in categories:
            microseconds[event["name"][:LONGEST_NAME]].append(event["dur"])
    if not microseconds:
        raise RuntimeError("PyTorch's profiler saw no kernels: it may lack CUPTI, or the right to use it")
    found = [
        {"kernel": name, "launches": len(each) / steps, "median": statistics.median(each) * len(each) / steps / 1e6}
        for name, each in microseconds.items()
    ]
    return sorted(found, key=lambda kernel: -kernel["median"])
