"""Numbers within ranges, as types of arguments: the parsers of the command line and of configs check them.

To type checkers, and to who calls a function from Python, they are ordinary numbers, which nothing checks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    NonNegativeInt: TypeAlias = int
    PositiveInt: TypeAlias = int
    Scale: TypeAlias = int
    NonNegative: TypeAlias = float
    Decay: TypeAlias = float
else:
    from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type

    Scale = restricted_number_type("Scale", int, [(">=", 1), ("<=", 11)])
    NonNegative = restricted_number_type("NonNegative", float, [(">=", 0), ("<", math.inf)])  # and finite
    Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)])

__all__ = ["Decay", "NonNegative", "NonNegativeInt", "PositiveInt", "Scale"]
