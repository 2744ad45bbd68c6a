"""Columns from other ranks: what crosses between the processes of a torch.distributed group, and nothing else.

    forward     every rank's call, 1 KiB; then its SR and HR images           -> the columns
    backward    alpha and beta of every rank's rows, each with the rank's incoming gradient in it

No gradient crosses: with alpha and beta of all rows the owner of a row computes all of its gradient.

The calls are compared before anything whose size depends on them is sent, so that ranks which disagree get an error
instead of waiting for bytes that never come. They travel between the hosts: no rank waits for its device.

A group goes by its name, which a module and a compiled graph can hold; rank and size are those of the moment.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dec_kernels.agreement import Call
from dec_kernels.private_torch import constant_in_graphs, group_named, store_of, timeout_of

# They stand where the name of a group stands: this process by itself, and all processes that there are at a call.
ALONE = ""
WORLD = "world"

_log = logging.getLogger(__name__)


def name_of(process_group: dist.ProcessGroup | str | None) -> str:
    """The name of the group that an argument `process_group` stands for, or `ALONE`, or `WORLD`.

    Raises:
        TypeError: it is no process group.
        ValueError: this process is not in it, or it is a string other than "world".
    """
    if process_group is None:
        return ALONE
    if isinstance(process_group, str):
        if process_group != WORLD:
            raise ValueError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
        return WORLD
    if dist.is_available() and process_group == dist.GroupMember.NON_GROUP_MEMBER:  # type: ignore[comparison-overlap]
        raise ValueError("process_group must be a group that this process is in, got one that it is not in")
    if not (dist.is_available() and isinstance(process_group, dist.ProcessGroup)):
        raise TypeError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
    return process_group.group_name


def found_now(group: str) -> str:
    """The name of the group that `WORLD` is at this moment, or `ALONE`; any other name is itself."""
    if group != WORLD:
        return group
    # torch.compile watches whether the first of these changes, and knows what the second one means.
    world = dist.group.WORLD if dist.is_available() else None
    others = dist.is_available() and dist.is_initialized() and world is not None and world.size() > 1
    return world.group_name if others else ALONE  # type: ignore[union-attr]


def rank_in(group: str) -> int:
    return 0 if group == ALONE else group_named(group).rank()


@constant_in_graphs
def size_of(group: str) -> int:
    return 1 if group == ALONE else group_named(group).size()


def gather(x: Tensor, group: str) -> Tensor:
    """x (B, ...) of every rank of a group, one rank after the other: (size * B, ...), contiguous, never x itself.

    The shapes and dtypes of all ranks have to be the same: `compare` first what they come from.
    """
    if size_of(group) == 1:
        return x.clone(memory_format=torch.contiguous_format)
    # As bytes, since gloo knows few dtypes.
    everything = torch.empty(size_of(group) * x.nbytes, dtype=torch.uint8, device=x.device)
    all_gather_bytes(everything, x.contiguous().view(-1).view(torch.uint8), group=group_named(group))
    return everything.view(x.dtype).view(-1, *x.shape[1:])


# PyTorch 2.13 gave it a new name and warns of the old one.
all_gather_bytes: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


def compare(call: Call, group: str) -> None:
    """Returns when every rank of the group is at the same call.

    Raises:
        ValueError: the ranks differ, or one of them has failed before; on every rank, naming ranks of the world.
    """
    if size_of(group) == 1:
        return
    if difference := Call.difference(exchange(call, group), dist.get_process_group_ranks(group_named(group))):
        raise ValueError(difference)


class announcing:
    """Tells the other ranks, which wait for this rank's call, of an error inside of it; the error goes on."""

    # A class, since the compiler of PyTorch 2.6 does not look into generators.
    def __init__(self, group: str) -> None:
        self.group = group

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        # The compiler does not take this into a graph: what fails while it is compiled is run again as it is, unless it
        # had to be one graph. (As a decorator, `disable` would import the compiler with this package.)
        if self.group != ALONE and isinstance(error, Exception):
            torch.compiler.disable(_announce)(error, self.group)


def _announce(error: Exception, group: str) -> None:
    if size_of(group) == 1:
        return
    call = Call.failed(error)
    _log.error("DECLoss failed: %s; telling the other ranks", call.error)
    with contextlib.suppress(RuntimeError):  # should they not come, the error itself says more
        exchange(call, group)


def exchange(call: Call, group: str) -> list[Call | None]:
    """The calls of all ranks. They travel between the hosts, and not in the way of the images."""
    ours = torch.frombuffer(bytearray(call.encode()), dtype=torch.uint8)
    theirs = [torch.empty_like(ours) for _ in range(size_of(group))]
    between_hosts(group_named(group)).allgather([theirs], [ours]).wait()
    return [Call.decode(bytes(content.tolist())) for content in theirs]


def between_hosts(group: dist.ProcessGroup) -> Any:
    """What sends CPU tensors between the ranks of `group`."""
    if "cpu:" in dist.get_backend_config(group):
        return group
    if group not in _gloo_groups:
        _gloo_groups[group] = _gloo(group)
    return _gloo_groups[group]


_gloo_groups: weakref.WeakKeyDictionary[dist.ProcessGroup, Any] = weakref.WeakKeyDictionary()


def _gloo(group: dist.ProcessGroup) -> Any:
    # Not by `dist.new_group`: all ranks of the world would have to be here, or to be in equally many groups.
    store = dist.PrefixStore("dec_kernels", store_of(group))  # type: ignore[attr-defined]
    device = torch.device(dist.get_backend_config(group).split(":")[0])
    timeout = timeout_of(group, device)
    try:
        return dist.ProcessGroupGloo(store, group.rank(), group.size(), timeout)
    except RuntimeError as error:
        raise RuntimeError(
            "DECLoss compares its arguments between the hosts of process_group by gloo, which cannot connect them: "
            f"{error}. GLOO_SOCKET_IFNAME names the network interface that it takes; "
            'init_process_group("cpu:gloo,cuda:nccl") has a gloo of its own.'
        ) from error
