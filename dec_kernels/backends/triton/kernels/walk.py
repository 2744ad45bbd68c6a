"""The walk of a program over the tiles of columns, beside the band of its rows.

A program owns a block of rows and walks over the columns of their group. The band of a row is a range of columns that
holds all of its positives. The plain kernels leave out tiles that lie whole in the band of every row, and mask pairs of
the band in tiles that meet it; the band's kernels take just those pairs.

Within the band no strip is left out, though D (mu_i - mu_j)^2 + (|p'_i| - |p'_j|)^2 is a lower bound of the distance in
the terms of `mask`, and costs next to nothing. On photographs it excludes 71 to 91 % of the band's pairs, but some pair
is left in 86 to 99.5 % of strips of 16 x 32 (n = 8192 and 32768, l2 and rmse): they would be computed all the same.
"""

import triton
import triton.language as tl


@triton.jit
def band(first, last, row, r, m, COLUMNS: tl.constexpr):
    """The columns, [begin, end), whose pairs with each of the rows `row` of a group belong to the band's kernel.

    Among these are all positives. Where the columns of a group do not fill a tile of the plain kernel they are all.
    """
    row = tl.minimum(row, r - 1)
    begin, end = tl.load(first + row), tl.load(last + row)
    return tl.where(m < COLUMNS, 0, begin), tl.where(m < COLUMNS, m, end)


@triton.jit
def plain_walk(first, last, row, r, m, COLUMNS: tl.constexpr):
    """How a plain kernel walks over tiles of columns, for its rows.

    Returns:
        skipped, resumed: tiles [skipped, resumed) lie whole in the band of every row, and are left out.
        tiles: how many others there are.
        begin, end: columns; tiles outside of them meet no row's band.
    """
    begin, end = band(first, last, row, r, m, COLUMNS)
    whole = tl.cdiv(m, COLUMNS)
    common = tl.min(end, 0)
    resumed = tl.where(common < m, common // COLUMNS, whole)
    skipped = tl.minimum(tl.cdiv(tl.max(begin, 0), COLUMNS), resumed)
    return skipped, resumed, skipped + whole - resumed, tl.min(begin, 0), tl.max(end, 0)


@triton.jit
def plain_tile(t, skipped, resumed, m, COLUMNS: tl.constexpr):
    """Where tile t of the walk begins, and from which column on it is read.

    The last tile reaches back into the one before it if the columns do not come out even: no load needs a mask.
    """
    begin = tl.where(t < skipped, t, t - skipped + resumed) * COLUMNS
    return begin, tl.minimum(begin, m - COLUMNS)


@triton.jit
def without_band(x, other, begin, column, first, last, row, r, m, COLUMNS: tl.constexpr):
    """x of rows and the columns from `column` on, with `other` where a pair is the band's, or comes before `begin`."""
    band_begin, band_end = band(first, last, row, r, m, COLUMNS)
    # Counted from `column`, so that the numbers of the columns are not kept in registers from where they are read.
    j = tl.arange(0, COLUMNS)[None, :]
    outside = (j < (band_begin - column)[:, None]) | (j >= (band_end - column)[:, None])
    return tl.where(outside & (j >= begin - column), x, other)
