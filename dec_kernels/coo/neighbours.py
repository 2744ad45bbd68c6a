"""Which rows lie within a radius of each other, without a look at most pairs.

By Cauchy-Schwarz `|x_i - x_j| >= sqrt(d) * |mean_i - mean_j|`. In the order of the means, the neighbours of a row lie
in one contiguous band, and only the pairs in the band are looked at, a tile at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.patches import band, largest

ROWS, COLUMNS = 256, 4096  # of the largest tile


class Tile(NamedTuple):
    """Some rows, and some of those that may be their neighbours.

    Attributes:
        rows: (r,) int64 indices.
        columns: (c,) int64 indices.
        near: (r, c) bool, whether the distance is at most the radius.
    """

    rows: Tensor
    columns: Tensor
    near: Tensor


class Neighbours:
    """Rows in the order of their means, with the band of each.

    Args:
        rows: (m, d) float64, values in [-1, 1].
        radius: neighbours are no farther than this from each other; at least 1e-6 * sqrt(d), far above the rounding.

    Attributes:
        pairs: how many pairs the tiles hold, of m * m.
    """

    def __init__(self, rows: Tensor, radius: float) -> None:
        self._square = radius**2
        means, self._order = rows.mean(1).sort(stable=True)
        ordered = rows[self._order]
        squares, ones = ordered.square().sum(1, keepdim=True), torch.ones_like(ordered[:, :1])
        # Their products are |x|^2 - 2 x . y + |y|^2, the squares of the distances.
        self._left, self._right = torch.cat([squares, -2 * ordered, ones], 1), torch.cat([ones, ordered, squares], 1)
        first, last = band(means[None], means[None], largest(rows), rows.shape[1], radius)
        self._first, self._last = first[0].tolist(), last[0].tolist()
        self.pairs = sum((end - start) * (last - first) for start, end, first, last in self._strips())

    def tiles(self) -> Iterator[Tile]:
        """Tiles of at most `ROWS` rows and `COLUMNS` columns that hold every pair of neighbours, each once."""
        for start, end, first, last in self._strips():
            for left in range(first, last, COLUMNS):
                right = min(left + COLUMNS, last)
                near = self._near(start, end, left, right)
                yield Tile(self._order[start:end], self._order[left:right], near)

    def of(self, row: int) -> Tensor:
        """The neighbours of a row, int64 indices; itself among them."""
        place = int((self._order == row).nonzero())
        first, last = self._first[place], self._last[place]
        return self._order[first:last][self._near(place, place + 1, first, last)[0]]

    def _strips(self) -> Iterator[tuple[int, int, int, int]]:
        """Rows from `start` to `end`, and the columns that the bands of all of them span."""
        for start in range(0, len(self._order), ROWS):
            end = min(start + ROWS, len(self._order))
            yield start, end, self._first[start], self._last[end - 1]

    def _near(self, start: int, end: int, first: int, last: int) -> Tensor:
        return self._left[start:end] @ self._right[first:last].T <= self._square
