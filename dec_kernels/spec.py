"""The constants of the loss: validated once, then frozen."""

import math
import numbers
import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor

Distance = Literal["l2", "rmse"]
Temperature = Literal["outside", "inside"]
Scope = Literal["batch", "image"]
Remainder = Literal["crop", "error"]
Reduction = Literal["mean", "sum", "none"]
Precision = Literal["auto", "ieee", "tf32x3", "tf32", "bf16"]
BackendName = Literal["auto", "reference", "torch", "cpp", "triton"]

CHOICES: dict[str, tuple[str, ...]] = {
    "distance": get_args(Distance),
    "temperature": get_args(Temperature),
    "scope": get_args(Scope),
    "remainder": get_args(Remainder),
    "reduction": get_args(Reduction),
    "precision": get_args(Precision),
    "backend": get_args(BackendName),
}
NUMBERS = ("patch_size", "threshold", "t_pos", "t_neg", "max_val", "loss_weight", "norm_floor")

# exp(1 / 0.02) is 5e21: n = 2**40 such terms and the squares of the row sums' reciprocals still fit in float32.
MIN_INSIDE_TEMPERATURE = 0.02
# Sums over n = 2**40 terms, their reciprocals, and both divided by t fit in float32 with every t in this range.
TEMPERATURE_RANGE = (1e-20, 1e20)
MAX_FLOAT = sys.float_info.max
MAX_LANDMARKS = 2**16  # beyond that m x m matrices fill the memory of a large machine
FLOOR_RANGE = (1e-20, 1e20)  # of norm_floor * max_val: norms in float32 have room on both sides
MAX_WEIGHT = 1e30  # times a loss, and times its gradient, it fits in float32


class Constants(NamedTuple):
    """What a backend has to know of a `Spec`: pure numbers, the distance already in l2 units.

    Attributes:
        radius: i and j are positives of each other where `|p_i - p_j| <= radius`.
        t_pos, t_neg: temperatures.
        inside: `exp(x / t)` where true, `exp(x) / t` where false.
        precision: how far the operands of the products may be rounded; "auto" does not reach a backend.
        landmarks: how many rows stand for all in the sums over negatives; 0: none, every pair is computed.
        floor: patches are divided by their norm, or by this where it is larger.
        center: whether the mean of each channel is taken off the patches before that.
    """

    radius: float
    t_pos: float
    t_neg: float
    inside: bool
    precision: str
    landmarks: int
    floor: float
    center: bool

    @property
    def scale(self) -> float:
        """c: what unit rows are multiplied with, so that exp(x . y) = exp2(c x . c y), with x . y over t_neg inside."""
        return math.sqrt(math.log2(math.e) / (self.t_neg if self.inside else 1))


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Every constant of the loss; the meaning of each is documented at `dec_kernels.DECLoss`."""

    patch_size: int = 8
    threshold: float = 34.0
    t_pos: float = 0.5
    t_neg: float = 1.5
    max_val: float = 1.0
    distance: str = "l2"
    temperature: str = "outside"
    scope: str = "batch"
    remainder: str = "crop"
    loss_weight: float = 1.0
    reduction: str = "mean"
    precision: str = "auto"
    backend: str = "auto"
    landmarks: int | None = None
    norm_floor: float = 0.0
    center: bool = False

    def __post_init__(self) -> None:
        for name in NUMBERS:
            value = getattr(self, name)
            kind = int if name == "patch_size" else float
            # By `type`, since a subclass such as numpy.float64 would not pass through the operators as it is.
            if type(value) is not kind and not (kind is float and type(value) is int):
                # As a dataclass sets the fields of a frozen instance itself.
                object.__setattr__(self, name, integer(name, value) if kind is int else real(name, value))
        for name, choices in CHOICES.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {getattr(self, name)!r}")
        if self.landmarks is not None:
            if type(self.landmarks) is not int:
                object.__setattr__(self, "landmarks", integer("landmarks", self.landmarks))
            if not 1 <= self.landmarks <= MAX_LANDMARKS:
                raise ValueError(f"landmarks must be None or from 1 to {MAX_LANDMARKS}, got {self.landmarks}")
        if not isinstance(self.center, bool):
            raise TypeError(f"center must be a bool, got {self.center!r}")
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")
        if self.center and self.patch_size == 1:
            raise ValueError("patch_size must be at least 2 with center=True, which leaves nothing of one pixel; got 1")
        for name in NUMBERS[1:]:
            if not abs(getattr(self, name)) <= MAX_FLOAT:  # torch.compile can trace this, and not math.isfinite
                raise ValueError(f"{name} must be a finite float, got {getattr(self, name)}")
        for name in ("t_pos", "t_neg", "max_val"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("t_pos", "t_neg"):
            if self.temperature == "inside" and getattr(self, name) < MIN_INSIDE_TEMPERATURE:
                raise ValueError(
                    f"{name} must be at least {MIN_INSIDE_TEMPERATURE} with temperature='inside', "
                    f"where exp(1 / t) has to fit into float32; got {getattr(self, name)}"
                )
            if not TEMPERATURE_RANGE[0] <= getattr(self, name) <= TEMPERATURE_RANGE[1]:
                raise ValueError(
                    f"{name} must be from {TEMPERATURE_RANGE[0]:g} to {TEMPERATURE_RANGE[1]:g}, "
                    f"so that sums over t fit into float32; got {getattr(self, name)}"
                )
        if self.norm_floor and not FLOOR_RANGE[0] <= self.norm_floor * self.max_val <= FLOOR_RANGE[1]:
            raise ValueError(
                f"norm_floor must be 0, or norm_floor * max_val from {FLOOR_RANGE[0]:g} to {FLOOR_RANGE[1]:g}, "
                f"got {self.norm_floor} with max_val={self.max_val}"
            )
        if abs(self.loss_weight) > MAX_WEIGHT:
            raise ValueError(
                f"loss_weight must be from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}, "
                f"so that its product with the loss fits into float32; got {self.loss_weight}"
            )

    def numbers(self) -> list[float]:
        """In the order of `NUMBERS`."""
        return [getattr(self, name) for name in NUMBERS]

    def settings(self) -> dict[str, str | int | None]:
        """All others."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in NUMBERS}

    def landmarks_among(self, columns: int) -> int:
        """How many landmarks a call takes whose rows are compared with `columns` patches; 0: it is computed exactly.

        So it is where the landmarks could be all SR and HR patches that there are.
        """
        return 0 if self.landmarks is None or self.landmarks >= 2 * columns else self.landmarks

    def constants(self, dim: int, precision: str, landmarks: int = 0) -> Constants:
        """The numbers for rows of `dim` = C * P * P values."""
        inside = self.temperature == "inside"
        floor = float(self.norm_floor * self.max_val) * math.sqrt(dim)
        return Constants(
            self.radius(dim), float(self.t_pos), float(self.t_neg), inside, precision, landmarks, floor, self.center
        )

    def sizes(self, shape: Sequence[int], ranks: int = 1) -> tuple[int, int]:
        """D, and the number of columns that a row is compared with, for images of that shape, (B, C, H, W), a rank."""
        batch, channels, height, width = shape
        images = 1 if self.scope == "image" else batch * ranks
        columns = images * (height // self.patch_size) * (width // self.patch_size)
        return channels * self.patch_size**2, columns

    def radius(self, dim: int) -> float:
        """The l2 distance up to which rows of `dim` values are positives of each other (Eq. 37); may be infinite."""
        # Python's power raises an error of its own from an exponent of 308 on.
        radius = self.max_val * 10 ** min(-self.threshold / 20, 300.0)
        return radius * math.sqrt(dim) if self.distance == "rmse" else radius


def real(name: str, value: Any) -> float:
    """A number of any library, or what holds one of them, as a float."""
    content = _content(name, value)
    if isinstance(content, bool) or not isinstance(content, numbers.Real):
        hint = "; YAML reads 1e-2 as a text, and 1.0e-2 as a number" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a real number, got {value!r}{hint}")
    try:
        return float(content)
    except OverflowError:
        return math.inf


def integer(name: str, value: Any) -> int:
    """An int of any library, or what holds one of them, as an int."""
    content = _content(name, value)
    if isinstance(content, bool) or not isinstance(content, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return operator.index(content)


def _content(name: str, value: Any) -> Any:
    """What `value.item()` is for a NumPy scalar, or an array or a tensor without dimensions; others as they are."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(
            f"{name} must be a plain number, got one that requires a gradient and would get none: {value!r}"
        )
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
