"""How often the loops of the kernels turn: on the bands of photographs, as `backends.triton.walk` has them."""

import functools
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
        conditional: the share of them that does what stands under a condition.
    """

    turns: int
    conditional: float


def plain(rows: Band, tile: Tile) -> Walk:
    """Of a kernel for the tiles without positives."""
    lower, upper, whole = _plain_tiles(rows, tile)
    return Walk(int(np.sum(lower + whole - upper)), 0.0)


def banded(rows: Band, plain_tile: Tile, tile: Tile) -> Walk:
    """Of a kernel for the band, in strips; those that positives can be in compute distances."""
    lower, upper, whole = _plain_tiles(rows, plain_tile)
    begin, end = _extent(rows, tile.rows)
    turns = met = 0
    for block, (first, last) in enumerate(zip(begin, end, strict=True)):
        around = block * tile.rows // plain_tile.rows
        inside = np.arange(lower[around] * plain_tile.columns, upper[around] * plain_tile.columns, tile.columns)
        rest = np.arange(whole * plain_tile.columns, len(rows.first), tile.columns)
        columns = np.concatenate([inside, rest])
        turns += len(columns)
        met += int(np.sum((columns < last) & (columns + tile.columns > first)))
    return Walk(turns, met / turns if turns else 0.0)


def _extent(rows: Band, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The band of each block of rows, [begin, end)."""
    starts = np.arange(0, len(rows.first), block)
    return rows.first[starts], rows.last[np.minimum(starts + block, len(rows.last)) - 1]


def _plain_tiles(rows: Band, tile: Tile) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each block of rows, the tiles [0, lower) and [upper, whole) without positives."""
    whole = len(rows.first) // tile.columns
    begin, end = _extent(rows, tile.rows)
    lower = np.minimum(begin // tile.columns, whole)
    upper = np.minimum(-(-end // tile.columns), whole)
    return lower, np.maximum(lower, upper), whole
