"""The peak extra memory of one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch


def peak_extra_bytes(call: Callable[[], object]) -> int:
    """How many bytes the resident set of this process grows by while `call` runs, at its peak. Linux only."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free already would hide what the call asks for
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark to what is resident now
    before = high_water_bytes()
    call()
    return high_water_bytes() - before


def peak_extra_bytes_on_cuda(call: Callable[[], object]) -> int:
    """How many bytes PyTorch allocates on the current CUDA device while `call` runs, at its peak."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def high_water_bytes() -> int:
    """The largest resident set of this process since `peak_extra_bytes` began. Linux only."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
