"""Errors that several files raise or recognise."""

from __future__ import annotations

import torch


def require_at_least(least: int, **numbers: int) -> None:
    """Raises ValueError if one of `numbers`, arguments by their names, is below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or PyTorch could not get memory, an accelerator's or the CPU's."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
