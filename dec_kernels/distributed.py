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
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

WORLD = "world"
ALONE = ""  # the name of no group: this process by itself
_CALL_BYTES = 1024  # of the description of a call; a longer one is cut off
_CALL, _ERROR = "DECLoss: ", "DECLoss failed: "

_log = logging.getLogger(__name__)


def name_of(process_group: dist.ProcessGroup | str | None) -> str:
    """The name of the group that an argument `process_group` stands for now.

    Raises:
        TypeError: it is no process group.
        ValueError: this process is not in it, or it is a string other than "world".
    """
    if isinstance(process_group, str):
        if process_group != WORLD:
            raise ValueError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
        # torch.compile watches whether the first of these changes, and knows what the second one means.
        world = dist.group.WORLD if dist.is_available() else None
        others = dist.is_available() and dist.is_initialized() and world is not None and world.size() > 1
        process_group = world if others else None
    if process_group is None:
        return ALONE
    if dist.is_available() and process_group == dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("process_group must be a group that this process is in, got one that it is not in")
    if not (dist.is_available() and isinstance(process_group, dist.ProcessGroup)):
        raise TypeError(f"process_group must be a process group, {WORLD!r} or None, got {process_group!r}")
    return process_group.group_name


def rank_in(group: str) -> int:
    return 0 if group == ALONE else group_of(group).rank()


def size_of(group: str) -> int:
    return 1 if group == ALONE else group_of(group).size()


def gather(x: Tensor, group: str) -> Tensor:
    """x (B, ...) of every rank of a group, one rank after the other: (size * B, ...), contiguous, never x itself.

    The shapes and dtypes of all ranks have to be the same: `compare` first what they come from.
    """
    if size_of(group) == 1:
        return x.clone(memory_format=torch.contiguous_format)
    # As bytes, since gloo knows few dtypes.
    everything = torch.empty(size_of(group) * x.nbytes, dtype=torch.uint8, device=x.device)
    _all_gather_bytes(everything, x.contiguous().view(-1).view(torch.uint8), group=group_of(group))
    return everything.view(x.dtype).view(-1, *x.shape[1:])


# PyTorch 2.13 gave it a new name and warns of the old one.
_all_gather_bytes: Any = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


def compare(call: str, group: str) -> None:
    """Returns when every rank of the group is at the same call.

    Args:
        call: what this rank is called with, "name=value; name=value".

    Raises:
        ValueError: the ranks differ, or one of them has failed before; on every rank, naming ranks of the world.
    """
    if size_of(group) == 1:
        return
    texts = _exchange(_CALL + call, group)
    if all(text == texts[0] for text in texts) and texts[0].startswith(_CALL):
        return
    ranks = dist.get_process_group_ranks(group_of(group))
    failed = {rank: text for rank, text in zip(ranks, texts, strict=True) if text.startswith(_ERROR)}
    if failed:
        raise ValueError("; ".join(f"on rank {rank} {text}" for rank, text in failed.items()))
    elsewhere = [str(rank) for rank, text in zip(ranks, texts, strict=True) if not text.startswith(_CALL)]
    if elsewhere:
        raise ValueError(
            "every rank of process_group must call DECLoss, and then backward, equally often; "
            f"this rank begins a call, and others are not there: {', '.join(elsewhere)}"
        )
    fields = [dict(field.split("=", 1) for field in text.removeprefix(_CALL).split("; ")) for text in texts]
    differences = [
        f"{name} is {_by_value([call[name] for call in fields], ranks)}"
        for name in fields[0]
        if any(call[name] != fields[0][name] for call in fields)
    ]
    raise ValueError(
        "every rank of process_group must call DECLoss with the same arguments and images of one shape and dtype, got: "
        + "; ".join(differences)
    )


class announcing:
    """An error inside is raised here, and reaches the other ranks, which wait for this one's call."""

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
    text = f"{_ERROR}{type(error).__name__}: {error}"
    _log.error("%s; telling the other ranks", text)
    with contextlib.suppress(RuntimeError):  # should they not come, the error itself says more
        _exchange(text, group)


def _by_value(values: Sequence[str], ranks: Sequence[int]) -> str:
    """ "8 on ranks 0, 2 and 4 on rank 1"."""
    where = defaultdict(list)
    for rank, value in zip(ranks, values, strict=True):
        where[value].append(str(rank))
    return " and ".join(
        f"{value} on {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(ranks)}" for value, ranks in where.items()
    )


def _exchange(text: str, group: str) -> list[str]:
    """The texts of all ranks. Of a fixed size and between the hosts, so that it cannot go wrong with the images."""
    content = text.encode()[:_CALL_BYTES].ljust(_CALL_BYTES, b"\0")
    ours = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    theirs = [torch.empty_like(ours) for _ in range(size_of(group))]
    _between_hosts(group_of(group)).allgather([theirs], [ours]).wait()
    return [bytes(text.tolist()).rstrip(b"\0").decode(errors="replace") for text in theirs]


def group_of(group: str) -> dist.ProcessGroup:
    """The process group of that name."""
    return dist.distributed_c10d._resolve_process_group(group)  # type: ignore[arg-type]


def _between_hosts(group: dist.ProcessGroup) -> Any:
    """What sends CPU tensors between the ranks of `group`."""
    if "cpu:" in dist.get_backend_config(group):
        return group
    if group not in _gloo_groups:
        _gloo_groups[group] = _gloo(group)
    return _gloo_groups[group]


_gloo_groups: weakref.WeakKeyDictionary[dist.ProcessGroup, Any] = weakref.WeakKeyDictionary()


def _gloo(group: dist.ProcessGroup) -> Any:
    # Not by `dist.new_group`: all ranks of the world would have to be here, or to be in equally many groups.
    store = dist.PrefixStore("dec_kernels", dist.distributed_c10d._get_process_group_store(group))
    device = torch.device(dist.get_backend_config(group).split(":")[0])
    timeout = group._get_backend(device).options._timeout
    try:
        return dist.ProcessGroupGloo(store, group.rank(), group.size(), timeout)
    except RuntimeError as error:
        raise RuntimeError(
            "DECLoss compares its arguments between the hosts of process_group by gloo, which cannot connect them: "
            f"{error}. GLOO_SOCKET_IFNAME names the network interface that it takes; "
            'init_process_group("cpu:gloo,cuda:nccl") has a gloo of its own.'
        ) from error
