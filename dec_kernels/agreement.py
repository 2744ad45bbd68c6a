"""What ranks tell each other before anything is sent whose size depends on it, so that all of them agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dec_kernels.spec import NUMBERS

_BYTES = 1024  # of an encoded call, whatever it holds; a longer one is cut off
_CALL, _FAILURE = "DECLoss: ", "DECLoss failed: "


@dataclass(frozen=True)
class Call:
    """What one rank calls the loss with, or the error that it met instead.

    Attributes:
        fields: name -> value of everything that has to be the same on every rank.
        error: type and text of the error; empty if there was none.
    """

    fields: Mapping[str, str]
    error: str = ""

    @classmethod
    def of(cls, images: Tensor, settings: str, numbers: Sequence[float]) -> Call:
        """A call with images (B, C, H, W).

        Args:
            images: those of this rank.
            settings: the arguments that are no numbers, as `listed`.
            numbers: the others, in the order of `dec_kernels.spec.NUMBERS`. They are compared by value: 30 is 30.0.
        """
        kind = {"shape": str(tuple(images.shape)), "dtype": str(images.dtype), "device": images.device.type}
        values = {name: repr(float(x)).removesuffix(".0") for name, x in zip(NUMBERS, numbers, strict=True)}
        return cls(kind | values | _unlisted(settings))

    @classmethod
    def failed(cls, error: Exception) -> Call:
        return cls({}, f"{type(error).__name__}: {error}")

    def encode(self) -> bytes:
        """The call in `_BYTES` bytes."""
        text = _FAILURE + self.error if self.error else _CALL + listed(self.fields)
        return text.encode()[:_BYTES].ljust(_BYTES, b"\0")

    @classmethod
    def decode(cls, content: bytes) -> Call | None:
        """The call that a rank has encoded; None if the bytes are something else."""
        text = content.rstrip(b"\0").decode(errors="replace")
        if text.startswith(_FAILURE):
            return cls({}, text.removeprefix(_FAILURE))
        return cls(_unlisted(text.removeprefix(_CALL))) if text.startswith(_CALL) else None

    @staticmethod
    def difference(calls: Sequence[Call | None], ranks: Sequence[int]) -> str | None:
        """Says in what the calls of ranks differ, or which rank failed or is elsewhere; None if all calls are alike.

        Args:
            calls: one for each rank; None for a rank that sent something else than a call.
            ranks: their numbers in the world.
        """
        found = {rank: call for rank, call in zip(ranks, calls, strict=True) if call is not None}
        if failures := [f"on rank {rank} DECLoss failed: {call.error}" for rank, call in found.items() if call.error]:
            return "; ".join(failures)
        if elsewhere := [str(rank) for rank in ranks if rank not in found]:
            return (
                "every rank of process_group must call DECLoss, and then backward, equally often; "
                f"this rank begins a call, and these ranks do not: {', '.join(elsewhere)}"
            )
        names = dict.fromkeys(name for call in found.values() for name in call.fields)
        values = {name: {rank: call.fields.get(name, "missing") for rank, call in found.items()} for name in names}
        if differing := [f"{name} is {_by_value(of)}" for name, of in values.items() if len(set(of.values())) > 1]:
            return (
                "every rank of process_group must call DECLoss with the same arguments and with images of one shape "
                f"and dtype, got: {'; '.join(differing)}"
            )
        return None


def listed(fields: Mapping[str, object]) -> str:
    """Fields as "name=value; name=value"; no value may hold a semicolon."""
    return "; ".join([f"{name}={value}" for name, value in fields.items()])


def _unlisted(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (field.partition("=") for field in text.split("; "))}


def _by_value(values: Mapping[int, str]) -> str:
    """Ranks by what they have: "8 on ranks 0, 2 and 4 on rank 1"."""
    where = defaultdict(list)
    for rank, value in values.items():
        where[value].append(str(rank))
    return " and ".join(
        f"{value} on {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(ranks)}" for value, ranks in where.items()
    )
