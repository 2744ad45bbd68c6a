"""Columns from other ranks: what crosses between the processes of a torch.distributed group, and nothing else.

    forward     every rank's call, 1 KiB; then its SR and HR images           -> the columns
    backward    alpha and beta of every rank's rows, each with the rank's incoming gradient in it

No gradient crosses: with alpha and beta of all rows the owner of a row computes all of its gradient.

The calls are compared before anything whose size depends on them is sent, so that ranks which disagree get an error
instead of waiting for bytes that never come. They travel between the hosts: no rank waits for its device.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

WORLD = "world"
_CALL_BYTES = 1024  # of the description of a call; a longer one is cut off


class Group(NamedTuple):
    """What the loss has to know of a process group: pure values, which `torch.compile` can hold."""

    name: str
    rank: int
    size: int


ALONE = Group("", 0, 1)


def resolve(process_group: dist.ProcessGroup | Group | str | None) -> Group:
    """The group that an argument `process_group` stands for now.

    Raises:
        TypeError: it is no process group.
        ValueError: this process is not in it, or it is a string other than "world".
    """
    if isinstance(process_group, str) and process_group == WORLD:
        process_group = dist.group.WORLD if dist.is_available() and dist.is_initialized() else None
    if process_group is None:
        return ALONE
    if isinstance(process_group, Group):
        return process_group
    if isinstance(process_group, str):
        raise ValueError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
    if process_group == dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("process_group must be a group that this process is in, got one that it is not in")
    if not isinstance(process_group, dist.ProcessGroup):
        raise TypeError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
    return Group(process_group.group_name, process_group.rank(), process_group.size())


@torch.library.custom_op("dec_kernels::gather", mutates_args=())
def gather(tensors: Sequence[Tensor], group: str, rank: int, size: int, call: str = "") -> list[Tensor]:
    """Each tensor (B, ...) of every rank of a `Group`, one rank after the other: (size * B, ...), contiguous.

    Args:
        call: the arguments of the loss on this rank, "name=value; name=value". Where given, they and what the tensors
            are have to be the same on every rank.

    Raises:
        ValueError: they are not, or another rank has raised an error before it came here; on every rank.
    """
    process_group = _named(group)
    if call:
        first = tensors[0]
        images = f"shape={tuple(first.shape)}; dtype={first.dtype}; device={first.device.type}; "
        _compare(_exchange(images + call, process_group))
    return [_all_gather(x.contiguous(), process_group) for x in tensors]


@gather.register_fake
def _(tensors, group, rank, size, call=""):
    return [x.new_empty((size * x.shape[0], *x.shape[1:])) for x in tensors]


@contextlib.contextmanager
def announcing(group: Group) -> Iterator[None]:
    """An error inside is raised here, and reaches the other ranks, which wait for this one's call."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if group.size > 1:
            text = f"{_ERROR}{type(error).__name__}: {error}"
            _exchange(text, _named(group.name))
        raise


_ERROR = "error="


def _compare(calls: Sequence[str]) -> None:
    """Raises where the calls of the ranks differ, naming what differs and where."""
    if all(call == calls[0] for call in calls) and not calls[0].startswith(_ERROR):
        return
    failed = [f"rank {rank}: {call.removeprefix(_ERROR)}" for rank, call in enumerate(calls) if call.startswith(_ERROR)]
    if failed:
        raise ValueError("DECLoss cannot be computed, since other ranks of process_group failed. " + "; ".join(failed))
    fields = [dict(field.split("=", 1) for field in call.split("; ")) for call in calls]
    differences = [
        f"{name} is {_by_value([call.get(name, 'missing') for call in fields])}"
        for name in fields[0]
        if any(call.get(name) != fields[0][name] for call in fields)
    ]
    raise ValueError(
        "every rank of process_group must call DECLoss with the same arguments and images of one shape and dtype, got: "
        + "; ".join(differences)
    )


def _by_value(values: Sequence[str]) -> str:
    """ "8 on ranks 0, 2 and 4 on rank 1"."""
    ranks = defaultdict(list)
    for rank, value in enumerate(values):
        ranks[value].append(str(rank))
    return " and ".join(
        f"{value} on {'rank' if len(where) == 1 else 'ranks'} {', '.join(where)}" for value, where in ranks.items()
    )


def _exchange(text: str, group: dist.ProcessGroup) -> list[str]:
    """The texts of all ranks. Of a fixed size and between the hosts, so that it cannot go wrong with the images."""
    content = text.encode()[:_CALL_BYTES].ljust(_CALL_BYTES, b"\0")
    ours = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    theirs = [torch.empty_like(ours) for _ in range(group.size())]
    _between_hosts(group).allgather([theirs], [ours]).wait()
    return [bytes(text.tolist()).rstrip(b"\0").decode(errors="replace") for text in theirs]


def _all_gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    # As bytes, since gloo knows few dtypes.
    everything = torch.empty(group.size() * x.nbytes, dtype=torch.uint8, device=x.device)
    _all_gather_bytes(everything, x.view(-1).view(torch.uint8), group=group)
    return everything.view(x.dtype).view(-1, *x.shape[1:])


# PyTorch 2.13 gave it a new name and warns of the old one.
_all_gather_bytes: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


def _named(group: str) -> dist.ProcessGroup:
    return dist.distributed_c10d._resolve_process_group(group)  # type: ignore[arg-type]


def _between_hosts(group: dist.ProcessGroup) -> Any:
    """What sends CPU tensors between the ranks of `group`."""
    return group if "cpu:" in dist.get_backend_config(group) else _gloo(group)


@functools.cache
def _gloo(group: dist.ProcessGroup) -> Any:
    # Not by `dist.new_group`: all ranks of the world would have to be here, or to be in equally many groups.
    store = dist.PrefixStore("dec_kernels", dist.distributed_c10d._get_process_group_store(group))
    timeout = group._get_backend(torch.device("cuda")).options._timeout
    return dist.ProcessGroupGloo(store, group.rank(), group.size(), timeout)
