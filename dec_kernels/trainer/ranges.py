"""Numbers within ranges, as types of arguments: parsers check what comes from configs and the command line.

To type checkers they are ordinary numbers. `check_arguments` does for calls from Python what the parsers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from typing import TypeAlias

    NonNegativeInt: TypeAlias = int
    PositiveInt: TypeAlias = int
    Scale: TypeAlias = int
    NonNegative: TypeAlias = float
    Positive: TypeAlias = float
    Decay: TypeAlias = float
    Probability: TypeAlias = float
else:
    from jsonargparse.typing import ClosedUnitInterval as Probability
    from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type

    Scale = restricted_number_type("Scale", int, [(">=", 1), ("<=", 11)])
    NonNegative = restricted_number_type("NonNegative", float, [(">=", 0), ("<", math.inf)])  # and finite
    Positive = restricted_number_type("Positive", float, [(">", 0), ("<", math.inf)])
    Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)])

__all__ = [
    "Decay",
    "NonNegative",
    "NonNegativeInt",
    "Positive",
    "PositiveInt",
    "Probability",
    "Scale",
    "check_arguments",
]
_RANGES = (Decay, NonNegative, NonNegativeInt, Positive, PositiveInt, Probability, Scale)


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Checks arguments against the ranges and choices that the annotations of `function` name.

    Raises:
        ValueError: a number is out of its range, or a choice is not among those that there are.
    """
    for name, kind in get_type_hints(function).items():
        if get_origin(kind) is Literal and arguments[name] not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(kind)))}, got {arguments[name]!r}")
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if NoneType in kinds and arguments.get(name) is None:
            continue
        for limited in (kind for kind in kinds if kind in _RANGES):
            try:
                limited(arguments[name])
            except ValueError as error:
                raise ValueError(f"{name} is out of its range: {error}") from error
