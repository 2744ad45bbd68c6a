"""The backward kernels: dL/dz of a block of rows, from alpha and beta of all rows.

With w_jk = m_jk alpha_j + (1 - m_jk) beta_j (alpha and beta over t_pos and t_neg; m is symmetric)

    dz_k = sum_j (w_kj + w_jk) exp(S_kj) z_j + 2 sum_j w_jk exp(A_jk) h_j        S_kj = z_k . z_j,  A_jk = z_k . h_j

so both halves have one form: rows x_j that are multiplied with z_k, and again with what came of it. They are walked one
after the other, since both at once would not leave room for the sums in the registers. Of wide rows a program owns only
OWNED chunks of dz, for the same reason, and several programs compute the same similarities.

`backward_plain` takes the pairs outside of the band of their row, where m = 0; `backward_band` those in it, and adds to
the other's sums.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton.kernels.mask import positives, subtract_centered_products
from dec_kernels.backends.triton.kernels.products import (
    add_product,
    fence,
    load_chunk,
    load_rows,
    similarities,
    similarities_from_memory,
    zero_rows,
)
from dec_kernels.backends.triton.kernels.walk import band, plain_tile, plain_walk, without_band


@triton.jit(do_not_specialize=["r", "m", "blocks", "splits"])
def backward_plain(
    row_z,
    row_beta,
    z,
    h,
    first,
    last,
    beta,
    dz,
    r,
    m,
    blocks,
    splits,
    scale: tl.float32,
    D: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    OWNED: tl.constexpr,
    RESIDENT: tl.constexpr,
    PRODUCT: tl.constexpr,
    ASYNCHRONOUS: tl.constexpr,
    ROUNDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    SHARES: tl.constexpr = CHUNKS // OWNED
    begin = tl.program_id(0) % SHARES * OWNED
    program = tl.program_id(0) // SHARES
    split, block = program % splits, program // splits % blocks
    group = (program // splits // blocks).to(tl.int64)
    # Rows are counted from the block's first: the block's place for every row by itself would take registers.
    start = block * ROWS
    k = tl.arange(0, ROWS)
    k_valid = start + k < r
    row_z, row_beta = row_z + (group * r + start) * (CHUNKS * CHUNK), row_beta + group * r + start
    if RESIDENT:
        z_k = load_rows(row_z, k, k_valid, 0, CHUNKS, CHUNKS, CHUNK)
    beta_k = tl.load(row_beta + k, mask=k_valid, other=0.0)
    sums = zero_rows(ROWS, OWNED, CHUNK)

    first, last = first + group * r, last + group * r
    skipped, resumed, tiles, band_begin, band_end = plain_walk(first, last, start + k, r, m, COLUMNS)
    for half in range(2):
        x = z if half == 0 else h
        row_weight = tl.where(half == 0, beta_k, 0.0)
        factor = tl.where(half == 0, 1.0, 2.0)
        for t in tl.range(tiles * split // splits, tiles * (split + 1) // splits, disable_licm=True):
            first_column, column = plain_tile(t, skipped, resumed, m, COLUMNS)
            j = group * m + column + tl.arange(0, COLUMNS)
            x_j = load_rows(x, j, None, begin, OWNED, CHUNKS, CHUNK)
            if RESIDENT:
                fence(ASYNCHRONOUS)
                s = similarities(z_k, x_j, PRODUCT)
            else:
                s = similarities_from_memory(row_z, k, k_valid, x, j, CHUNKS, CHUNK, PRODUCT, ASYNCHRONOUS)
            if (first_column < band_end) & (first_column + COLUMNS > band_begin) | (column < first_column):
                s = without_band(s, float("-inf"), first_column, column, first, last, start + k, r, m, COLUMNS)
            weight = (row_weight[:, None] + (factor * tl.load(beta + j))[None, :]) * tl.exp2(s)
            fence(ASYNCHRONOUS)  # beta may have come after the first
            sums = add_product(sums, weight, x_j, PRODUCT, ROUNDED)

    size = (tl.num_programs(0) // SHARES // splits // blocks).to(tl.int64) * r
    pointers = dz + (split * size + group * r + start) * D + k[:, None] * D
    for c in tl.static_range(OWNED):
        d = (begin + c) * CHUNK + tl.arange(0, CHUNK)
        tl.store(pointers + d[None, :], sums[c] * scale, mask=k_valid[:, None] & (d < D)[None, :])


@triton.jit(do_not_specialize=["r", "m", "blocks", "limit_bits"])
def backward_band(
    row_z,
    row_p,
    row_mean,
    row_square,
    row_alpha,
    row_beta,
    column_of_row,
    z,
    h,
    p,
    mean,
    square,
    first,
    last,
    alpha,
    beta,
    dz,
    r,
    m,
    blocks,
    limit_bits: tl.int64,
    positive_ratio: tl.float32,
    scale: tl.float32,
    D: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    OWNED: tl.constexpr,
    PRODUCT: tl.constexpr,
    ROUNDED: tl.constexpr,
    COLUMNS: tl.constexpr,
    BAND_ROWS: tl.constexpr,
    STRIP: tl.constexpr,
):
    SHARES: tl.constexpr = CHUNKS // OWNED
    begin = tl.program_id(0) % SHARES * OWNED
    program = tl.program_id(0) // SHARES
    block, group = program % blocks, (program // blocks).to(tl.int64)
    start = block * BAND_ROWS
    k, k_valid = tl.minimum(tl.arange(0, BAND_ROWS), r - 1 - start), start + tl.arange(0, BAND_ROWS) < r
    band_begin, band_end = band(first + group * r, last + group * r, start + k, r, m, COLUMNS)
    first_column, end = tl.min(band_begin, 0), tl.max(band_end, 0)
    x = group * r + start
    row_z, row_p = row_z + x * (CHUNKS * CHUNK), row_p + x * D
    mean_k, square_k, column_k = tl.load(row_mean + x + k), tl.load(row_square + x + k), tl.load(column_of_row + x + k)
    alpha_k, beta_k = tl.load(row_alpha + x + k)[:, None], tl.load(row_beta + x + k)[:, None]
    sums = zero_rows(BAND_ROWS, OWNED, CHUNK)

    products = tl.zeros((BAND_ROWS, STRIP), tl.float32)
    s, a = products, products
    for step in tl.range(tl.cdiv(end - first_column, STRIP) * CHUNKS, disable_licm=True):
        c = step % CHUNKS
        column = first_column + step // CHUNKS * STRIP
        j, y = tl.minimum(tl.arange(0, STRIP), m - 1 - column), group * m + column
        mean_j = tl.load(mean + y + j)
        z_k = load_chunk(row_z, k, c, CHUNKS, CHUNK)
        s = tl.dot(z_k, load_chunk(z + y * (CHUNKS * CHUNK), j, c, CHUNKS, CHUNK).T, s, input_precision=PRODUCT)
        a = tl.dot(z_k, load_chunk(h + y * (CHUNKS * CHUNK), j, c, CHUNKS, CHUNK).T, a, input_precision=PRODUCT)
        products = subtract_centered_products(products, row_p, k, mean_k, p + y * D, j, mean_j, c, D, CHUNK)
        if c == CHUNKS - 1:
            alpha_j, beta_j = tl.load(alpha + y + j)[None, :], tl.load(beta + y + j)[None, :]
            same = (column_k - y)[:, None] == j[None, :]
            square_j = tl.load(square + y + j)
            mask = positives(
                products, same, row_p, k, mean_k, square_k, p + y * D, j, mean_j, square_j, limit_bits, D
            )  # fmt: skip
            ratio = tl.where(mask, positive_ratio, 1.0)
            columns = column + tl.arange(0, STRIP)[None, :]
            inside = (columns >= band_begin[:, None]) & (columns < band_end[:, None])
            weight = tl.where(mask, alpha_k + alpha_j, beta_k + beta_j) * tl.exp2(s * ratio)
            z_j = load_rows(z + y * (CHUNKS * CHUNK), j, None, begin, OWNED, CHUNKS, CHUNK)
            sums = add_product(sums, tl.where(inside, weight, 0.0), z_j, PRODUCT, ROUNDED)
            weight = 2 * tl.where(mask, alpha_j, beta_j) * tl.exp2(a * ratio)
            h_j = load_rows(h + y * (CHUNKS * CHUNK), j, None, begin, OWNED, CHUNKS, CHUNK)
            sums = add_product(sums, tl.where(inside, weight, 0.0), h_j, PRODUCT, ROUNDED)
            products = tl.zeros((BAND_ROWS, STRIP), tl.float32)
            s, a = products, products

    pointers = dz + (x + k)[:, None] * D
    for c in tl.static_range(OWNED):
        d = (begin + c) * CHUNK + tl.arange(0, CHUNK)
        inside = k_valid[:, None] & (d < D)[None, :]
        before = tl.load(pointers + d[None, :], mask=inside, other=0.0)
        tl.store(pointers + d[None, :], before + sums[c] * scale, mask=inside)
