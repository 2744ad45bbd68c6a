"""The extra memory of one call, at its peak."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch


def peak_extra_bytes(call: Callable[[], object]) -> int:
    """How far the resident set of this process rises while `call` runs, at its peak. Linux only."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free already must not hide what the call asks for
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
    before = _high_water_bytes()
    call()
    return _high_water_bytes() - before


def peak_extra_bytes_on_cuda(call: Callable[[], object]) -> int:
    """How far PyTorch's allocator rises while `call` runs on the current CUDA device, at its peak."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _high_water_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
