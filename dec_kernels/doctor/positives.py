"""How many positives the rows have, at many radii at once: exact, in blocks, without a tensor of n x n values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from dec_kernels.reference import patch_rows
from dec_kernels.spec import CHOICES, Spec

MAX_PAIRS = 2**25  # of a row and a column; with more pairs than that, only some of the rows are counted
TILE = 256  # rows and columns of the largest tile of the backends `torch` and `cpp`


class Positives(TypedDict):
    """Positives per row at the chosen threshold. Every row is its own positive and counts.

    Attributes:
        rows: number of rows that were counted; in large batches a random sample of fewer than n.
        histogram: "1", "2", "3-4", "5-8", ... positives -> number of rows.
        mean: positives per row.
        alone: distance -> share of the rows that are their own only positive.
        tile: rows and columns of a tile.
        band_share: share of the tiles that can hold positives.
    """

    rows: int
    histogram: dict[str, int]
    mean: float
    alone: dict[str, float]
    tile: int
    band_share: float


class Group(NamedTuple):
    """The HR patches that are compared with each other, in the order of their means.

    Attributes:
        p: (m, D) float64.
        means: (m,), the means of the rows of p, ascending.
    """

    p: Tensor
    means: Tensor


def examine(
    hr: Tensor, spec: Spec, thresholds: Sequence[float], seed: int
) -> tuple[Positives, dict[str, list[Tensor]]]:
    """Counts the positives of HR images.

    Args:
        hr: (B, C, H, W) float32.
        spec: the arguments of the loss, with the chosen threshold and distance.
        thresholds: other thresholds, dB.
        seed: of the sample of rows.

    Returns:
        The positives at the chosen threshold, and for each distance the counts of the rows, (rows,) int64, at each of
        `thresholds`.
    """
    dim = hr.shape[1] * spec.patch_size**2
    in_groups = groups(hr, spec.patch_size, spec.scope == "image")
    radii = {
        distance: [
            replace(spec, distance=distance, threshold=each).radius(dim) for each in (spec.threshold, *thresholds)
        ]
        for distance in CHOICES["distance"]
    }
    counts = count(in_groups, [radius for each in radii.values() for radius in each], seed).cpu()
    of_distance = dict(zip(radii, counts.split(1 + len(thresholds)), strict=True))
    chosen = of_distance[spec.distance][0]
    found: Positives = {
        "rows": len(chosen),
        "histogram": histogram(chosen),
        "mean": chosen.double().mean().item(),
        "alone": {distance: share_alone(each[0]) for distance, each in of_distance.items()},
        "tile": TILE,
        "band_share": band_share(in_groups, radii[spec.distance][0]),
    }
    return found, {distance: list(each[1:]) for distance, each in of_distance.items()}


def groups(hr: Tensor, patch_size: int, per_image: bool) -> list[Group]:
    """The groups of HR images (B, C, H, W): one for the batch, or one for each image."""
    p = patch_rows(hr, patch_size)
    return [_by_mean(rows) for rows in (p if per_image else p.flatten(0, 1)[None])]


def count(groups: Sequence[Group], radii: Sequence[float], seed: int) -> Tensor:
    """The positives of each row within each radius (Eq. 37), the row itself included.

    If there are more than `MAX_PAIRS` pairs of a row and a column, a random sample of the rows is counted, each against
    all columns of its group. Distances are float64 differences, so the counts are those of the loss's mask.

    Returns:
        (len(radii), rows) int64.
    """
    total = sum(len(group.p) ** 2 for group in groups)
    share = min(1.0, MAX_PAIRS / total)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for group in groups:
        m = len(group.p)
        drawn = torch.randperm(m, generator=generator)[: math.ceil(share * m)].sort().values.to(group.p.device)
        for rows in drawn.split(TILE):
            first, last = _band(group, rows, max(radii))
            distance = torch.cdist(group.p[rows], group.p[first:last], compute_mode="donot_use_mm_for_euclid_dist")
            found.append(torch.stack([(distance <= radius).sum(1) for radius in radii]))
    return torch.cat(found, dim=1)


def histogram(counts: Tensor) -> dict[str, int]:
    """The number of rows with 1, 2, 3-4, 5-8, ... positives, up to the largest count."""
    bins = {"1": int((counts == 1).sum())}
    high = 1
    while high < counts.max():
        low, high = high, 2 * high
        bins[f"{low + 1}-{high}" if high > 2 else "2"] = int(((counts > low) & (counts <= high)).sum())
    return bins


def share_alone(counts: Tensor) -> float:
    """The share of the rows whose only positive is the row itself."""
    return (counts == 1).double().mean().item()


def band_share(groups: Sequence[Group], radius: float) -> float:
    """The share of the tiles of TILE x TILE pairs that can hold positives: the backends compute distances in these."""
    inside, total = 0, 0
    for group in groups:
        tiles = math.ceil(len(group.p) / TILE)
        total += tiles**2
        for rows in _tiles(group):
            first, last = _band(group, rows, radius)
            inside += math.ceil(last / TILE) - first // TILE
    return inside / total


def _by_mean(p: Tensor) -> Group:
    means, order = p.double().mean(1).sort()
    return Group(p[order].double(), means)


def _tiles(group: Group) -> Iterator[Tensor]:
    yield from torch.arange(len(group.p), device=group.p.device).split(TILE)


def _band(group: Group, rows: Tensor, radius: float) -> tuple[int, int]:
    """The columns whose means are near enough to those of `rows`, since `|p - p'| >= sqrt(D) |mean - mean'|`."""
    width = radius / math.sqrt(group.p.shape[1]) * (1 + 1e-9) + 1e-12 * group.p.abs().max()
    first = torch.searchsorted(group.means, group.means[rows[0]] - width)
    last = torch.searchsorted(group.means, group.means[rows[-1]] + width, right=True)
    return int(first), int(last)
