"""The forward kernels: the row sums of Eqs. 40 and 41 in one pass over the columns.

    e_ij   = exp S_ij + 2 exp A_ij          S_ij = z_i . z_j,  A_ij = h_i . z_j
    Qpos_i = sum_j      m_ij  e_ij / t_pos
    Qneg_i = sum_j (1 - m_ij) e_ij / t_neg

`forward_plain` takes the tiles outside of the band, where m = 0; `forward_band` the others, and adds to its sums.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton.walk import (
    band,
    band_strips,
    load_rows,
    plain_tiles,
    positives,
    similarities,
    similarities_from_memory,
    strip_of,
)


@triton.jit(do_not_specialize=["r", "m", "blocks", "splits"])
def forward_plain(
    row_z,
    row_h,
    z,
    first,
    last,
    negative,
    r,
    m,
    blocks,
    splits,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    RESIDENT: tl.constexpr,
    PRODUCT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.program_id(0)
    split, block = program % splits, program // splits % blocks
    group = (program // splits // blocks).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    i, i_valid = group * r + row, row < r
    if RESIDENT:
        z_i = load_rows(row_z, i, i_valid, 0, CHUNKS, CHUNKS, CHUNK)
        h_i = load_rows(row_h, i, i_valid, 0, CHUNKS, CHUNKS, CHUNK)
    sums = tl.zeros((ROWS,), tl.float32)

    lower, upper, whole = plain_tiles(first + group * r, last + group * r, block * ROWS, r, m, ROWS, COLUMNS)
    tiles = lower + whole - upper
    for t in range(tiles * split // splits, tiles * (split + 1) // splits):
        tile = tl.where(t < lower, t, t + upper - lower)
        j = group * m + tile * COLUMNS + tl.arange(0, COLUMNS)
        if RESIDENT:
            z_j = load_rows(z, j, None, 0, CHUNKS, CHUNKS, CHUNK)
            s = similarities(z_i, z_j, PRODUCT)
            a = similarities(h_i, z_j, PRODUCT)
        else:
            s = similarities_from_memory(row_z, i, i_valid, z, j, None, CHUNKS, CHUNK, PRODUCT, 3)
            a = similarities_from_memory(row_h, i, i_valid, z, j, None, CHUNKS, CHUNK, PRODUCT, 3)
        sums += tl.sum(tl.exp2(s) + 2 * tl.exp2(a), 1)

    size = (tl.num_programs(0) // splits // blocks).to(tl.int64) * r
    tl.store(negative + split * size + i, sums, mask=i_valid)


@triton.jit(do_not_specialize=["r", "m", "blocks", "limit_bits"])
def forward_band(
    row_z,
    row_h,
    row_p,
    row_mean,
    row_square,
    own,
    z,
    p,
    mean,
    square,
    first,
    last,
    positive,
    negative,
    r,
    m,
    blocks,
    limit_bits: tl.int64,
    positive_ratio: tl.float32,
    D: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    PRODUCT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BAND_ROWS: tl.constexpr,
    STRIP: tl.constexpr,
):
    block, group = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    row = block * BAND_ROWS + tl.arange(0, BAND_ROWS)
    i, i_valid = group * r + row, row < r
    positive_sums = tl.zeros((BAND_ROWS,), tl.float32)
    negative_sums = tl.load(negative + i, mask=i_valid, other=0.0)

    first, last, start = first + group * r, last + group * r, block * BAND_ROWS
    band_begin, band_end = band(first, last, start, r, BAND_ROWS)
    band_column, rest_column, in_band, strips = band_strips(first, last, start, r, m, ROWS, COLUMNS, STRIP)
    for t in tl.range(strips, num_stages=1, disable_licm=True):
        column, columns, j_valid = strip_of(t, band_column, rest_column, in_band, m, STRIP)
        j = group * m + columns
        mask = tl.zeros((BAND_ROWS, STRIP), tl.int1)
        if (column < band_end) & (column + STRIP > band_begin):
            mask = positives(
                row_p, row_mean, row_square, own, i, i_valid, p, mean, square, j, j_valid, limit_bits, D
            )  # fmt: skip
        ratio = tl.where(mask, positive_ratio, 1.0)
        s = tl.exp2(similarities_from_memory(row_z, i, i_valid, z, j, j_valid, CHUNKS, CHUNK, PRODUCT, 1) * ratio)
        a = tl.exp2(similarities_from_memory(row_h, i, i_valid, z, j, j_valid, CHUNKS, CHUNK, PRODUCT, 1) * ratio)
        e = tl.where(j_valid[None, :], s + 2 * a, 0.0)
        positive_sums += tl.sum(tl.where(mask, e, 0.0), 1)
        negative_sums += tl.sum(tl.where(mask, 0.0, e), 1)

    tl.store(positive + i, positive_sums, mask=i_valid)
    tl.store(negative + i, negative_sums, mask=i_valid)
