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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dec_kernels.spec import NUMBERS

# They stand where the name of a group stands: this process by itself, and all processes that there are at a call.
ALONE = ""
WORLD = "world"
_CALL_BYTES = 1024  # of an encoded call; a longer one is cut off

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
    if dist.is_available() and process_group == dist.GroupMember.NON_GROUP_MEMBER:
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
    return world.group_name if others else ALONE


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


@dataclass(frozen=True)
class Call:
    """What one rank calls the loss with, or the error that it met before: what ranks tell each other at first.

    Attributes:
        fields: name -> value of all that has to be the same on every rank.
        error: the type and the text of the error; None if there was none.
    """

    fields: Mapping[str, str]
    error: str | None = None

    @classmethod
    def of(cls, images: Tensor, settings: str, numbers: Sequence[float]) -> Call:
        """The call with such images (B, C, H, W) on this rank, its `settings` as `listed`, and `spec.NUMBERS`."""
        values = {name: repr(float(x)).removesuffix(".0") for name, x in zip(NUMBERS, numbers, strict=True)}
        kind = {"shape": str(tuple(images.shape)), "dtype": str(images.dtype), "device": images.device.type}
        return cls(kind | values | _unlisted(settings))

    def encode(self) -> str:
        return f"{_CALL}{listed(self.fields)}" if self.error is None else f"{_ERROR}{self.error}"

    @classmethod
    def decode(cls, text: str) -> Call | None:
        """The call that another rank has encoded; None if the text is something else."""
        if text.startswith(_ERROR):
            return cls({}, text.removeprefix(_ERROR))
        return cls(_unlisted(text.removeprefix(_CALL))) if text.startswith(_CALL) else None

    @staticmethod
    def difference(calls: Sequence[Call | None], ranks: Sequence[int]) -> str | None:
        """Says in what the calls of these ranks differ, or who has failed or is not at a call; None if all are alike."""
        failed = [f"on rank {rank} DECLoss failed: {call.error}" for rank, call in _zip(ranks, calls) if call.error]
        if failed:
            return "; ".join(failed)
        elsewhere = [str(rank) for rank, call in zip(ranks, calls, strict=True) if call is None]
        if elsewhere:
            return (
                "every rank of process_group must call DECLoss, and then backward, equally often; "
                f"this rank begins a call, and these ranks do not: {', '.join(elsewhere)}"
            )
        names = list(dict.fromkeys(name for _, call in _zip(ranks, calls) for name in call.fields))
        values = {name: [call.fields.get(name, "missing") for _, call in _zip(ranks, calls)] for name in names}
        differing = [f"{name} is {_by_value(found, ranks)}" for name, found in values.items() if len(set(found)) > 1]
        if not differing:
            return None
        return (
            "every rank of process_group must call DECLoss with the same arguments and with images of one shape and "
            f"dtype, got: {'; '.join(differing)}"
        )


_CALL, _ERROR = "DECLoss: ", "DECLoss failed: "


def listed(fields: Mapping[str, object]) -> str:
    """ "name=value; name=value", for `Call`; the values hold no semicolon."""
    return "; ".join([f"{name}={value}" for name, value in fields.items()])


def _unlisted(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (field.partition("=") for field in text.split("; "))}


def _zip(ranks: Sequence[int], calls: Sequence[Call | None]) -> list[tuple[int, Call]]:
    return [(rank, call) for rank, call in zip(ranks, calls, strict=True) if call is not None]


def _by_value(values: Sequence[str], ranks: Sequence[int]) -> str:
    """ "8 on ranks 0, 2 and 4 on rank 1"."""
    where = defaultdict(list)
    for rank, value in zip(ranks, values, strict=True):
        where[value].append(str(rank))
    return " and ".join(
        f"{value} on {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(ranks)}" for value, ranks in where.items()
    )


def compare(call: Call, group: str) -> None:
    """Returns when every rank of the group is at the same call.

    Raises:
        ValueError: the ranks differ, or one of them has failed before; on every rank, naming ranks of the world.
    """
    if size_of(group) == 1:
        return
    calls = [Call.decode(text) for text in _exchange(call.encode(), group)]
    if difference := Call.difference(calls, dist.get_process_group_ranks(group_of(group))):
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
    call = Call({}, f"{type(error).__name__}: {error}")
    _log.error("DECLoss failed: %s; telling the other ranks", call.error)
    with contextlib.suppress(RuntimeError):  # should they not come, the error itself says more
        _exchange(call.encode(), group)


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
