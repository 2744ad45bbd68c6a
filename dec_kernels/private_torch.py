"""What this package takes of PyTorch's private names, where no public name does the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

_Function = TypeVar("_Function", bound=Callable[..., Any])

# `torch.compiler.disable` would import the compiler along with this package. Both are at home in `torch` itself.
not_compiled: Callable[[_Function], _Function] = torch._disable_dynamo  # type: ignore[assignment, attr-defined]

# What PyTorch's own operators do within an autograd function; public in C++ alone, as `at::AutoDispatchBelowAutograd`.
BelowAutograd = torch._C._AutoDispatchBelowAutograd


def constant_in_graphs(function: _Function) -> _Function:
    """Lets torch.compile call `function` while it compiles, and take the answer for a constant."""
    # What `torch.compiler.assume_constant_result` does, which would import the compiler along with this package.
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def group_named(name: str) -> dist.ProcessGroup:
    """The process group of that name, as functional collectives look it up."""
    return dist.distributed_c10d._resolve_process_group(name)  # type: ignore[arg-type, attr-defined]


def store_of(group: dist.ProcessGroup) -> Any:
    """The store by which the ranks of a group found each other."""
    return dist.distributed_c10d._get_process_group_store(group)


def timeout_of(group: dist.ProcessGroup, device: torch.device) -> timedelta:
    """How long the group's backend for a device waits for other ranks."""
    return group._get_backend(device).options._timeout
