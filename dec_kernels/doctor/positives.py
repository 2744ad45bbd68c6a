"""How many positives rows have, at many radii at once: exact, in blocks, with nothing of size n x n."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.reference import patch_rows

MOST_PAIRS = 2**25  # of a row and a column; beyond that many, rows are drawn at random
TILE = 256  # rows and columns of the largest tile of the backends `torch` and `cpp`


class Columns(NamedTuple):
    """The HR patches that see each other, in the order of their means.

    Attributes:
        p: (m, D) float64.
        means: (m,) of the rows of p, ascending.
    """

    p: Tensor
    means: Tensor


def groups(hr: Tensor, patch_size: int, per_image: bool) -> list[Columns]:
    """The groups of HR images (B, C, H, W): one, or one an image."""
    p = patch_rows(hr, patch_size)
    return [_by_mean(group) for group in (p if per_image else p.flatten(0, 1)[None])]


def count(columns: Sequence[Columns], radii: Sequence[float], seed: int) -> Tensor:
    """Positives of rows, themselves among them: (len(radii), rows) int64, of all rows or of a sample.

    At most `MOST_PAIRS` pairs are looked at: rows are drawn at random where there are more, always against all columns
    of their group. Distances are float64 differences, so the count is that of the loss's mask (Eq. 37).
    """
    total = sum(len(group.p) ** 2 for group in columns)
    share = min(1.0, MOST_PAIRS / total)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for group in columns:
        m = len(group.p)
        drawn = torch.randperm(m, generator=generator)[: math.ceil(share * m)].sort().values.to(group.p.device)
        for rows in drawn.split(TILE):
            first, last = _band(group, rows, max(radii))
            distance = torch.cdist(group.p[rows], group.p[first:last], compute_mode="donot_use_mm_for_euclid_dist")
            found.append(torch.stack([(distance <= radius).sum(1) for radius in radii]))
    return torch.cat(found, dim=1)


def band_share(columns: Sequence[Columns], radius: float) -> float:
    """Of the tiles of TILE x TILE pairs, the share that can hold positives, and in which distances are computed."""
    inside, total = 0, 0
    for group in columns:
        tiles = math.ceil(len(group.p) / TILE)
        total += tiles**2
        for rows in _tiles(group):
            first, last = _band(group, rows, radius)
            inside += math.ceil(last / TILE) - first // TILE
    return inside / total


def _by_mean(p: Tensor) -> Columns:
    means, order = p.double().mean(1).sort()
    return Columns(p[order].double(), means)


def _tiles(group: Columns) -> Iterator[Tensor]:
    yield from torch.arange(len(group.p), device=group.p.device).split(TILE)


def _band(group: Columns, rows: Tensor, radius: float) -> tuple[int, int]:
    """The columns whose means are near enough to those of `rows`, since |p - p'| >= sqrt(D) |mean - mean'|."""
    width = radius / math.sqrt(group.p.shape[1]) * (1 + 1e-9) + 1e-12 * group.p.abs().max()
    first = torch.searchsorted(group.means, group.means[rows[0]] - width)
    last = torch.searchsorted(group.means, group.means[rows[-1]] + width, right=True)
    return int(first), int(last)
