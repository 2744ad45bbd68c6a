"""Means of images and seeds with their intervals, and paired differences.

Figures of a setting are an array (S, I): seeds and images. A resample draws seeds and images with replacement,
independently of each other, so that it varies as the mean of other trainings on other photographs would. All settings
of S seeds share the resamples, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 4000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


class Resamples(NamedTuple):
    """How often each resample has each seed, (R, S), and each image, (R, I). The first one is the sample itself."""

    seeds: Array
    images: Array


def resample(seeds: int, images: int, count: int = RESAMPLES) -> Resamples:
    """The sample itself and `count` resamples, the same ones at each call."""
    rng = np.random.default_rng(0)
    drawn = [rng.multinomial(size, np.full(size, 1 / size), count) for size in (seeds, images)]
    return Resamples(*(np.vstack([np.ones(each.shape[1]), each]) for each in drawn))


def means(values: Array, resamples: Resamples) -> Array:
    """The mean of each resample: (..., S, I) to (..., R). Images with a NaN anywhere in `values` are left out."""
    known = ~np.isnan(values).any(axis=tuple(range(values.ndim - 1)))
    weights = resamples.images[:, known]
    sums = np.einsum("...si,rs,ri->...r", values[..., known], resamples.seeds, weights, optimize=True)
    with np.errstate(invalid="ignore"):  # a resample may have none of the images that are known
        return sums / (resamples.seeds.sum(1) * weights.sum(1))


def interval(resampled: Array) -> Interval:
    """The percentile interval of (R,) means, the first of which is the sample's."""
    tail = 100 * (1 - LEVEL) / 2
    if np.isnan(resampled).all():
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.nanpercentile(resampled[1:], [tail, 100 - tail])
    return Interval(float(resampled[0]), float(low), float(high))


def difference(a: Array, b: Array, resamples: Resamples) -> Interval:
    """The mean of a - b, (S, I) each, pair by pair."""
    return interval(means(a - b, resamples))


class Control(NamedTuple):
    """Paired differences from the control at equal PSNR.

    Attributes:
        amount: of the mask that the method was compared with.
        above: whether the method's PSNR is higher than every mask's. The control is then the mask with the highest.
        differences: figure -> method less control.
    """

    amount: float
    above: bool
    differences: dict[str, Interval]


def against_control(
    method: Mapping[str, Array],
    curve: Mapping[str, Array],
    amounts: Array,
    resamples: Resamples,
    quality: str = "psnr_y",
    distance: str = "lpips",
) -> Control:
    """Compares a method with the best mask that has no lower PSNR.

    Between two amounts, the control's figures are interpolated in straight lines. Of all amounts whose mean `quality`
    is at least the method's, the one with the lowest mean `distance` is the control. Every resample chooses anew.

    Args:
        method: figure -> (S, I).
        curve: figure -> (A, S, I), for each of `amounts`.
        amounts: (A,), ascending.
        resamples: of S seeds and I images.
        quality: the figure that is held equal; the higher, the better.
        distance: the figure that the control is chosen by; the lower, the better.

    Raises:
        ValueError: there are fewer than two amounts, or they do not ascend.
    """
    if len(amounts) < 2 or not (np.diff(amounts) > 0).all():
        raise ValueError(f"amounts must ascend and be at least two, got {list(amounts)}")
    target = means(method[quality], resamples)
    of_curve = {name: means(values, resamples) for name, values in curve.items()}
    place = choose(of_curve[quality], of_curve[distance], target)
    differences = {
        name: interval(means(values, resamples) - _at(of_curve[name], place)) for name, values in method.items()
    }
    above = bool(target[0] > of_curve[quality][:, 0].max())
    return Control(float(np.interp(place[0], np.arange(len(amounts)), amounts)), above, differences)


def choose(quality: Array, distance: Array, target: Array) -> Array:
    """Where on the curve the distance is lowest among the points of at least the target's quality.

    Args:
        quality, distance: (A, R) at the curve's nodes, straight lines between them.
        target: (R,).

    Returns:
        (R,) places from 0 to A - 1. Where no point is good enough, that of the highest quality.
    """
    below, above = quality[:-1], quality[1:]
    crosses = (below - target) * (above - target) < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crosses, (target - below) / (above - below), 0)
    start = np.arange(len(below))[:, None]
    places = np.concatenate([np.broadcast_to(np.arange(len(quality))[:, None], quality.shape), start + share])
    allowed = np.concatenate([quality >= target, crosses])
    costs = np.where(allowed, np.concatenate([distance, distance[:-1] + share * np.diff(distance, axis=0)]), np.inf)
    chosen = np.take_along_axis(places, costs.argmin(0)[None], 0)[0]
    return np.where(allowed.any(0), chosen, quality.argmax(0))


def _at(curve: Array, place: Array) -> Array:
    """(A, R) at (R,) places."""
    start = np.minimum(place.astype(int), len(curve) - 2)
    columns = np.arange(curve.shape[1])
    low, high = curve[start, columns], curve[start + 1, columns]
    return low + (place - start) * (high - low)
