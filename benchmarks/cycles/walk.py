"""How often the loops of the kernels turn: on the bands of photographs, as `backends.triton.kernels.walk` has them."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.workload import images
from dec_kernels import patches
from dec_kernels.backends.triton.aot import DIMS, PATCH_SIZES
from dec_kernels.backends.triton.tiles import Tile
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec


class Band(NamedTuple):
    """Of n rows that are all columns: row i has its positives among the columns first[i] <= j < last[i]; (n,) each."""

    first: np.ndarray
    last: np.ndarray


@functools.cache
def band(n: int, dim: int) -> Band:
    """Of n patches of photographs of `dim` values, for the loss's own threshold and distance."""
    patch_size = PATCH_SIZES[next(width for width, value in DIMS.items() if value == dim)]
    spec = Spec(patch_size=patch_size)
    sr, hr = images(n, patch_size)
    prepared = patches.prepare(Batch.alone(sr, hr), patch_size, False, spec.constants(dim, "ieee"), sr.dtype)
    return Band(prepared.first[0].numpy(), prepared.last[0].numpy())


class Walk(NamedTuple):
    """Of all programs of a launch that walk all rows once.

    Attributes:
        turns: of the loop over tiles.
        conditional: the share of them that does what stands under a condition; what few pairs need is left out.
    """

    turns: int
    conditional: float


def plain(rows: Band, tile: Tile) -> Walk:
    """Of a plain kernel: all tiles but those that lie whole in the band of every row; where a tile meets the band, and
    where the last one reaches back, it looks at each pair."""
    n, columns = len(rows.first), tile.columns
    if n < columns:
        return Walk(0, 0.0)
    turns = looks = 0
    for first, last in _blocks(rows, tile.rows):
        begins = np.arange(0, n, columns)
        in_every_band = (begins >= first.max()) & ((begins + columns <= last.min()) | (last.min() == n))
        begins = begins[~in_every_band]
        turns += len(begins)
        meets = (begins < last.max()) & (begins + columns > first.min())
        looks += int(np.sum(meets | (begins + columns > n)))
    return Walk(turns, looks / turns if turns else 0.0)


def banded(rows: Band, columns: int, tile: Tile, chunks: int) -> Walk:
    """Of a band's kernel, beside a plain one with tiles of so many columns: a turn for each of the `chunks` of a strip,
    at whose last it has the distances."""
    n = len(rows.first)
    if n < columns:
        rows = Band(np.zeros_like(rows.first), np.full_like(rows.last, n))
    strips = sum(-(-(int(last.max()) - int(first.min())) // tile.columns) for first, last in _blocks(rows, tile.rows))
    return Walk(strips * chunks, 1 / chunks if chunks > 1 else 0.0)


def _blocks(rows: Band, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(rows.first), size):
        yield rows.first[start : start + size], rows.last[start : start + size]
