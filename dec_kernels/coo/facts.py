"""What the command found, summed up once; the tables, the JSON and the figure show it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypedDict

import torch
from torch import Tensor

from dec_kernels.coo.groups import LEVELS, ROUNDING
from dec_kernels.coo.problem import CenterProblem, OverSmoothing

_BINS = 12  # of groups with about as many patches each, over tr Sigma


class Bin(TypedDict):
    r"""Groups of about the same size or spread.

    Squares of distances are of whole patches with pixels in [0, 1].

    Attributes:
        sizes: of the groups, "1", "2", "3-4", "5-8", ...
        groups: how many there are.
        size: mean N.
        entropy: median, in nats; None if none of the groups was sampled, if the median is minus infinity, or if the bin
            has groups on both sides of $\Theta$, whose entropies cannot be compared.
        gaussian: how many of the entropies are those of a Gaussian.
        flat: how many of these are minus infinity, since all patches of the group are equal but for rounding.
        shrinkage: median of the covariances; None if there are none.
        length_square: mean of $L^2$.
        expected_length_square: what Theorem 1 says of it if the null parts have mean 0: the mean of
            $\mathrm{tr} \Sigma / (N - 1)$, which estimates the variance of a mean of N samples.
        spread: mean of $\mathrm{tr} \Sigma$.
        square_distance: mean of $|I_y - c|^2$ between HR patches and the centers of their groups. By Theorem 2 it is
            that of $\mathrm{tr} \Sigma$.
        square_error: mean of $|\hat I - I_y|^2$ between the outputs and HR; None without SR.
    """

    sizes: str
    groups: int
    size: float
    entropy: float | None
    gaussian: int
    flat: int
    shrinkage: float | None
    length_square: float
    expected_length_square: float | None
    spread: float
    square_distance: float
    square_error: float | None


class Image(TypedDict):
    """An image, with the figures of `OverSmoothing`, None without SR.

    Attributes:
        name: of the HR file.
        size: H x W in pixels, as measured.
        patches: how many were measured.
        spread: mean of tr Sigma.
        score, nearer_center, informative: of `OverSmoothing`.
    """

    name: str
    size: str
    patches: int
    spread: float
    score: float | None
    nearer_center: float | None
    informative: float | None


class Facts(TypedDict):
    """What the command found.

    Attributes:
        settings: of `dec_kernels.coo.Settings`.
        notes: sentences about what was left out.
        values: n, the values of an HR patch.
        patches: how many there are.
        measured: how many of them were measured.
        pairs: share of all pairs of these that were looked at.
        alone: share of these that are alone in their group.
        gaussians: how many groups were taken for Gaussians and sampled.
        singular: how many of these have N <= n, so that their covariance is singular but for the shrinkage.
        by_size: bins over N.
        by_spread: bins over tr Sigma, of groups whose patches differ.
        images: of each image.
        score: of all images; None without SR, or where all patches are left out.
    """

    settings: dict[str, Any]
    notes: list[str]
    values: int
    patches: int
    measured: int
    pairs: float
    alone: float
    gaussians: int
    singular: int
    by_size: list[Bin]
    by_spread: list[Bin]
    images: list[Image]
    score: float | None


def gather(problem: CenterProblem, score: OverSmoothing | None, names: Sequence[str], notes: list[str]) -> Facts:
    """Sums up.

    Args:
        problem: the groups.
        score: of the outputs, if there are any.
        names: of the images.
        notes: about what was left out.
    """
    groups, settings = problem.groups, problem.settings
    measured, patches = len(groups.size), sum(math.prod(grid) for grid in problem.grids)
    values = problem.hr.shape[1]
    sampled = ~groups.shrinkage.isnan()
    if measured < patches:
        notes = [*notes, f"{measured} of {patches} patches were drawn at random; only these are measured and compared."]
    return {
        "settings": {**vars(settings), "patch_size": settings.patch},
        "notes": notes,
        "values": values,
        "patches": patches,
        "measured": measured,
        "pairs": groups.pairs / measured**2,
        "alone": _mean(groups.size == 1),
        "gaussians": int(sampled.sum()),
        "singular": int((groups.size[sampled] <= values).sum()),
        "by_size": [_bin(problem, score, mask) for mask in _sizes(groups.size, settings.theta)],
        "by_spread": [_bin(problem, score, mask) for mask in _spreads(groups.spread, values * ROUNDING / LEVELS**2)],
        "images": _images(problem, score, names),
        "score": None if score is None else _finite(score.score),
    }


def _sizes(size: Tensor, theta: int) -> Iterator[Tensor]:
    """Bins that end at the powers of 2, and at theta - 1, where the entropy changes its meaning."""
    largest = int(size.max())
    ends = sorted({theta - 1, *(2**k for k in range(largest.bit_length() + 1))})
    for low, high in pairwise([0, *ends]):
        if (mask := (size > low) & (size <= high)).any():
            yield mask


def _spreads(spread: Tensor, least: float) -> Iterator[Tensor]:
    several = (spread > least).nonzero()[:, 0]
    for part in several[spread[several].argsort(stable=True)].tensor_split(_BINS):
        if len(part):
            yield torch.zeros_like(spread, dtype=torch.bool).index_fill_(0, part, True)


def _bin(problem: CenterProblem, score: OverSmoothing | None, mask: Tensor) -> Bin:
    size, length, spread, entropy, shrinkage, to_center, _ = problem.groups
    large = size[mask] >= problem.settings.theta
    least, most = (value.item() for value in torch.aminmax(size[mask]))
    return {
        "sizes": str(least) if least == most else f"{least}-{most}",
        "groups": int(mask.sum()),
        "size": _mean(size[mask]),
        "entropy": _finite(entropy[mask].nanmedian().item()) if large.all() or not large.any() else None,
        "gaussian": int((~shrinkage[mask].isnan()).sum()),
        "flat": int(entropy[mask].isneginf().sum()),
        "shrinkage": _finite(shrinkage[mask].nanmedian().item()),
        "length_square": _mean(length[mask].square()),
        "expected_length_square": _finite(_mean(spread[mask] / (size[mask] - 1))),
        "spread": _mean(spread[mask]),
        "square_distance": _mean(to_center[mask].square().sum(1)),
        "square_error": None if score is None else _mean(score.square_error[mask]),
    }


def _images(problem: CenterProblem, score: OverSmoothing | None, names: Sequence[str]) -> list[Image]:
    images: list[Image] = []
    for i, (name, (_, height, width)) in enumerate(zip(names, problem.shapes, strict=True)):
        own = problem.image == i
        figures = (
            (None,) * 3 if score is None else (score.image_scores[i], score.nearer_center[i], score.informative[i])
        )
        of_score, nearer, informative = (None if figure is None else _finite(figure.item()) for figure in figures)
        images.append(
            {
                "name": name,
                "size": f"{height} x {width}",
                "patches": int(own.sum()),
                "spread": _mean(problem.groups.spread[own]),
                "score": of_score,
                "nearer_center": nearer,
                "informative": informative,
            }
        )
    return images


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
