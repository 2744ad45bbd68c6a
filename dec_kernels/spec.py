"""The constants of the loss: validated once, then frozen."""

import math
from dataclasses import dataclass
from typing import NamedTuple

DISTANCES = ("l2", "rmse")
TEMPERATURES = ("outside", "inside")
SCOPES = ("batch", "image")
REMAINDERS = ("crop", "error")
REDUCTIONS = ("mean", "sum", "none")
PRECISIONS = ("auto", "ieee", "tf32x3", "tf32", "bf16")
BACKENDS = ("auto", "reference", "torch", "cpp", "triton")
NUMBERS = ("patch_size", "threshold", "t_pos", "t_neg", "max_val", "loss_weight")

# exp(1 / 0.02) is 5e21: n = 2**40 such terms and the squares of the row sums' reciprocals still fit in float32.
MIN_INSIDE_TEMPERATURE = 0.02


class Constants(NamedTuple):
    """What a backend has to know of a `Spec`: pure numbers, the distance already in l2 units.

    Attributes:
        radius: i and j are positives of each other where ``|p_i - p_j| <= radius``.
        t_pos, t_neg: temperatures.
        inside: ``exp(x / t)`` where true, ``exp(x) / t`` where false.
        precision: how far the operands of the products may be rounded; "auto" does not reach a backend.
    """

    radius: float
    t_pos: float
    t_neg: float
    inside: bool
    precision: str


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        if isinstance(self.patch_size, bool) or not isinstance(self.patch_size, int):
            raise TypeError(f"patch_size must be an int, got {self.patch_size!r}")
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")
        for name in ("threshold", "t_pos", "t_neg", "max_val", "loss_weight"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a real number, got {value!r}")
            if not abs(value) < math.inf:  # torch.compile can trace this, and not math.isfinite
                raise ValueError(f"{name} must be finite, got {value}")
        for name in ("t_pos", "t_neg", "max_val"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        _one_of("distance", self.distance, DISTANCES)
        _one_of("temperature", self.temperature, TEMPERATURES)
        _one_of("scope", self.scope, SCOPES)
        _one_of("remainder", self.remainder, REMAINDERS)
        _one_of("reduction", self.reduction, REDUCTIONS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("backend", self.backend, BACKENDS)
        if self.temperature == "inside":
            for name in ("t_pos", "t_neg"):
                if getattr(self, name) < MIN_INSIDE_TEMPERATURE:
                    raise ValueError(
                        f"{name} must be at least {MIN_INSIDE_TEMPERATURE} with temperature='inside', "
                        f"where exp(1 / t) has to fit into float32; got {getattr(self, name)}"
                    )

    def numbers(self) -> list[float]:
        """In the order of `NUMBERS`."""
        return [getattr(self, name) for name in NUMBERS]

    def switches(self) -> str:
        """All that is no number, but the precision: what "auto" stands for is found out elsewhere."""
        names = [name for name in self.__dataclass_fields__ if name not in (*NUMBERS, "precision")]
        return "; ".join([f"{name}={getattr(self, name)}" for name in names])

    def constants(self, dim: int, precision: str) -> Constants:
        """The numbers for rows of `dim` = C * P * P values."""
        radius = self.max_val * 10 ** (-self.threshold / 20)
        if self.distance == "rmse":
            radius *= math.sqrt(dim)
        return Constants(radius, float(self.t_pos), float(self.t_neg), self.temperature == "inside", precision)


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
