"""The forward kernels: the row sums of Eqs. 40 and 41 in one pass over the columns.

    e_ij   = exp S_ij + 2 exp A_ij          S_ij = z_i . z_j,  A_ij = h_i . z_j
    Qpos_i = sum_j      m_ij  e_ij / t_pos
    Qneg_i = sum_j (1 - m_ij) e_ij / t_neg

`forward_plain` takes the pairs outside of the band of their row, where m = 0; `forward_band` those in it, and adds to
the other's sums.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton.kernels.arithmetic import small_exp2
from dec_kernels.backends.triton.kernels.mask import positives, subtract_centered_products
from dec_kernels.backends.triton.kernels.products import (
    fence,
    load_chunk,
    load_rows,
    similarities,
    similarities_from_memory,
)
from dec_kernels.backends.triton.kernels.walk import band, plain_tile, plain_walk, without_band


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
    ASYNCHRONOUS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    POLYNOMIAL: tl.constexpr,
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

    first, last = first + group * r, last + group * r
    skipped, resumed, tiles, band_begin, band_end = plain_walk(first, last, row, r, m, COLUMNS)
    for t in range(tiles * split // splits, tiles * (split + 1) // splits):
        begin, column = plain_tile(t, skipped, resumed, m, COLUMNS)
        j = group * m + column + tl.arange(0, COLUMNS)
        if RESIDENT:
            z_j = load_rows(z, j, None, 0, CHUNKS, CHUNKS, CHUNK)
            fence(ASYNCHRONOUS)
            s = similarities(z_i, z_j, PRODUCT)
            a = similarities(h_i, z_j, PRODUCT)
        else:
            s = similarities_from_memory(row_z, i, i_valid, z, j, CHUNKS, CHUNK, PRODUCT, ASYNCHRONOUS)
            a = similarities_from_memory(row_h, i, i_valid, z, j, CHUNKS, CHUNK, PRODUCT, ASYNCHRONOUS)
        e = tl.exp2(s) + 2 * (small_exp2(a) if POLYNOMIAL else tl.exp2(a))
        if (begin < band_end) & (begin + COLUMNS > band_begin) | (column < begin):
            e = without_band(e, 0.0, begin, column, first, last, row, r, m, COLUMNS)
        sums += tl.sum(e, 1)

    size = (tl.num_programs(0) // splits // blocks).to(tl.int64) * r
    tl.store(negative + split * size + i, sums, mask=i_valid)


@triton.jit(do_not_specialize=["r", "m", "blocks", "limit_bits"])
def forward_band(
    row_z,
    row_h,
    row_p,
    row_mean,
    row_square,
    column_of_row,
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
    COLUMNS: tl.constexpr,
    BAND_ROWS: tl.constexpr,
    STRIP: tl.constexpr,
):
    block, group = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    start = block * BAND_ROWS
    i, i_valid = tl.minimum(tl.arange(0, BAND_ROWS), r - 1 - start), start + tl.arange(0, BAND_ROWS) < r
    band_begin, band_end = band(first + group * r, last + group * r, start + i, r, m, COLUMNS)
    begin, end = tl.min(band_begin, 0), tl.max(band_end, 0)
    # Rows are counted from the block's first, columns from the strip's: few bits, and few registers, for a place.
    x = group * r + start
    row_z, row_h, row_p = row_z + x * (CHUNKS * CHUNK), row_h + x * (CHUNKS * CHUNK), row_p + x * D
    mean_i, square_i, column_i = tl.load(row_mean + x + i), tl.load(row_square + x + i), tl.load(column_of_row + x + i)
    positive_sums, negative_sums = tl.zeros((BAND_ROWS,), tl.float32), tl.load(negative + x + i)

    products = tl.zeros((BAND_ROWS, STRIP), tl.float32)
    s, a = products, products
    # One loop over the chunks of all strips, so that the loads of a strip do not wait for the one before.
    for step in tl.range(tl.cdiv(end - begin, STRIP) * CHUNKS, disable_licm=True):
        c = step % CHUNKS
        column = begin + step // CHUNKS * STRIP
        j, y = tl.minimum(tl.arange(0, STRIP), m - 1 - column), group * m + column
        mean_j = tl.load(mean + y + j)
        z_j = load_chunk(z + y * (CHUNKS * CHUNK), j, c, CHUNKS, CHUNK)
        s = tl.dot(load_chunk(row_z, i, c, CHUNKS, CHUNK), z_j.T, s, input_precision=PRODUCT)
        a = tl.dot(load_chunk(row_h, i, c, CHUNKS, CHUNK), z_j.T, a, input_precision=PRODUCT)
        products = subtract_centered_products(products, row_p, i, mean_i, p + y * D, j, mean_j, c, D, CHUNK)
        if c == CHUNKS - 1:
            same = (column_i - y)[:, None] == j[None, :]
            square_j = tl.load(square + y + j)
            mask = positives(
                products, same, row_p, i, mean_i, square_i, p + y * D, j, mean_j, square_j, limit_bits, D
            )  # fmt: skip
            ratio = tl.where(mask, positive_ratio, 1.0)
            e = tl.exp2(s * ratio) + 2 * tl.exp2(a * ratio)
            columns = column + tl.arange(0, STRIP)[None, :]
            inside = (columns >= band_begin[:, None]) & (columns < band_end[:, None])
            positive_sums += tl.sum(tl.where(inside & mask, e, 0.0), 1)
            negative_sums += tl.sum(tl.where(inside & ~mask, e, 0.0), 1)
            products = tl.zeros((BAND_ROWS, STRIP), tl.float32)
            s, a = products, products

    tl.store(positive + x + i, positive_sums, mask=i_valid)
    tl.store(negative + x + i, negative_sums, mask=i_valid)
