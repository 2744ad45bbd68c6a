"""Checks of a degradation's settings, and draws from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeVar

import numpy as np

Interval = tuple[float, float]
"""The least and the largest value."""

Whole = tuple[int, int]
"""The least and the largest whole number, both of which may be drawn."""

T = TypeVar("T")


def are_finite(values: object, count: int, kind: type[Real] | type[Integral] = Real) -> bool:
    """Whether `values` is a tuple or list of `count` finite numbers of `kind`."""
    if not isinstance(values, (tuple, list)) or len(values) != count:
        return False
    return all(isinstance(n, kind) and not isinstance(n, bool) and math.isfinite(n) for n in values)


def check_interval(name: str, interval: Interval, least: float, most: float = math.inf) -> None:
    """Raises ValueError unless `interval` is two finite numbers in order, between `least` and `most`."""
    if not are_finite(interval, 2) or not least <= interval[0] <= interval[1] <= most:
        raise ValueError(f"{name} must be two numbers in ascending order, {_limits(least, most)}, got {interval!r}")


def check_whole(name: str, interval: Whole, least: int, most: float = math.inf) -> None:
    """Raises ValueError unless `interval` is two integers in order, between `least` and `most`."""
    if not are_finite(interval, 2, Integral) or not least <= interval[0] <= interval[1] <= most:
        raise ValueError(f"{name} must be two integers in ascending order, {_limits(least, most)}, got {interval!r}")


def _limits(least: float, most: float) -> str:
    return f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"


def check_mix(name: str, probabilities: Sequence[float], kinds: Sequence[str]) -> None:
    """Raises ValueError unless `probabilities` has one for each of `kinds`, and they sum to 1."""
    if not are_finite(probabilities, len(kinds)) or min(probabilities) < 0 or not math.isclose(sum(probabilities), 1):
        raise ValueError(
            f"{name} must be the probabilities of {', '.join(kinds)}, which sum to 1, got {probabilities!r}"
        )


def check_kernel_sizes(name: str, sizes: Whole) -> None:
    """Raises ValueError unless `sizes` is two odd positive integers in order."""
    check_whole(name, sizes, 1)
    if not all(size % 2 for size in sizes):
        raise ValueError(f"{name} must be odd, so that kernels have a middle, got {sizes!r}")


def happens(probability: float, rng: np.random.Generator) -> bool:
    """True with `probability`."""
    return bool(rng.random() < probability)


def uniform(interval: Interval, rng: np.random.Generator) -> float:
    """A number of `interval`, all equally likely."""
    return float(rng.uniform(*interval))


def whole(interval: Whole, rng: np.random.Generator, step: int = 1) -> int:
    """The least of `interval`, or that plus a multiple of `step`, up to the largest; all equally likely."""
    least, most = interval
    return least + step * int(rng.integers((most - least) // step, endpoint=True))


def one_of(kinds: Sequence[T], rng: np.random.Generator, probabilities: Sequence[float] | None = None) -> T:
    """One of `kinds`; without `probabilities` all are equally likely."""
    if probabilities is None:
        return kinds[int(rng.integers(len(kinds)))]
    # The sum may miss 1 by a rounding error, and what is drawn may lie in between.
    return kinds[min(int(np.searchsorted(np.cumsum(probabilities), rng.random(), side="right")), len(kinds) - 1)]
