"""The backward kernels: dL/dz of a block of rows, from alpha and beta of all rows.

With w_jk = m_jk alpha_j + (1 - m_jk) beta_j (alpha and beta over t_pos and t_neg; m is symmetric)

    dz_k = sum_j (w_kj + w_jk) exp(S_kj) z_j + 2 sum_j w_jk exp(A_jk) h_j        S_kj = z_k . z_j,  A_jk = z_k . h_j

so both halves have one form: rows x_j that are multiplied with z_k, and again with what came of it. They are walked one
after the other, since both at once would not leave room for the sums in the registers. Of wide rows a program owns only
OWNED chunks of dz, for the same reason, and several programs compute the same similarities.

`backward_plain` takes the tiles outside of the band, where m = 0; `backward_band` the others, and adds to its sums.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton.walk import (
    add_product,
    band,
    band_strips,
    load_rows,
    plain_tiles,
    positives,
    similarities,
    similarities_from_memory,
    strip_of,
    zero_rows,
)


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
    ROUNDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    SHARES: tl.constexpr = CHUNKS // OWNED
    begin = tl.program_id(0) % SHARES * OWNED
    program = tl.program_id(0) // SHARES
    split, block = program % splits, program // splits % blocks
    group = (program // splits // blocks).to(tl.int64)
    # Rows are counted within their group: the group's place for every row by itself would take registers.
    row_z, row_beta = row_z + group * r * (CHUNKS * CHUNK), row_beta + group * r
    k = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    k_valid = k < r
    if RESIDENT:
        z_k = load_rows(row_z, k, k_valid, 0, CHUNKS, CHUNKS, CHUNK)
    beta_k = tl.load(row_beta + k, mask=k_valid, other=0.0)
    sums = zero_rows(ROWS, OWNED, CHUNK)

    lower, upper, whole = plain_tiles(first + group * r, last + group * r, block * ROWS, r, m, ROWS, COLUMNS)
    tiles = lower + whole - upper
    for half in range(2):
        x = z if half == 0 else h
        row_weight = tl.where(half == 0, beta_k, 0.0)
        factor = tl.where(half == 0, 1.0, 2.0)
        for t in range(tiles * split // splits, tiles * (split + 1) // splits):
            tile = tl.where(t < lower, t, t + upper - lower)
            j = group * m + tile * COLUMNS + tl.arange(0, COLUMNS)
            weight = row_weight[:, None] + (factor * tl.load(beta + j))[None, :]
            x_j = load_rows(x, j, None, begin, OWNED, CHUNKS, CHUNK)
            if RESIDENT:
                weight *= tl.exp2(similarities(z_k, x_j, PRODUCT))
            else:
                weight *= tl.exp2(similarities_from_memory(row_z, k, k_valid, x, j, None, CHUNKS, CHUNK, PRODUCT, 3))
            sums = add_product(sums, weight, x_j, PRODUCT, ROUNDED)

    size = (tl.num_programs(0) // SHARES // splits // blocks).to(tl.int64) * r
    pointers = dz + (split * size + group * r + k)[:, None] * D
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
    own,
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
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BAND_ROWS: tl.constexpr,
    STRIP: tl.constexpr,
):
    SHARES: tl.constexpr = CHUNKS // OWNED
    begin = tl.program_id(0) % SHARES * OWNED
    program = tl.program_id(0) // SHARES
    block, group = program % blocks, (program // blocks).to(tl.int64)
    row = block * BAND_ROWS + tl.arange(0, BAND_ROWS)
    k, k_valid = group * r + row, row < r
    alpha_k = tl.load(row_alpha + k, mask=k_valid, other=0.0)
    beta_k = tl.load(row_beta + k, mask=k_valid, other=0.0)
    sums = zero_rows(BAND_ROWS, OWNED, CHUNK)

    first, last, start = first + group * r, last + group * r, block * BAND_ROWS
    band_begin, band_end = band(first, last, start, r, BAND_ROWS)
    band_column, rest_column, in_band, strips = band_strips(first, last, start, r, m, ROWS, COLUMNS, STRIP)
    for t in tl.range(strips, num_stages=1, disable_licm=True):
        column, columns, j_valid = strip_of(t, band_column, rest_column, in_band, m, STRIP)
        j = group * m + columns
        mask = tl.zeros((BAND_ROWS, STRIP), tl.int1)
        if (column < band_end) & (column + STRIP > band_begin):
            mask = positives(
                row_p, row_mean, row_square, own, k, k_valid, p, mean, square, j, j_valid, limit_bits, D
            )  # fmt: skip
        ratio = tl.where(mask, positive_ratio, 1.0)
        alpha_j = tl.load(alpha + j, mask=j_valid, other=0.0)[None, :]
        beta_j = tl.load(beta + j, mask=j_valid, other=0.0)[None, :]
        # Rows past the end are zeros, so that their weights do not matter.
        weight = tl.where(mask, alpha_k[:, None] + alpha_j, beta_k[:, None] + beta_j)
        weight *= tl.exp2(similarities_from_memory(row_z, k, k_valid, z, j, j_valid, CHUNKS, CHUNK, PRODUCT, 1) * ratio)
        z_j = load_rows(z, j, j_valid, begin, OWNED, CHUNKS, CHUNK)
        sums = add_product(sums, weight, z_j, PRODUCT, ROUNDED)
        weight = 2 * tl.where(mask, alpha_j, beta_j)
        weight *= tl.exp2(similarities_from_memory(row_z, k, k_valid, h, j, j_valid, CHUNKS, CHUNK, PRODUCT, 1) * ratio)
        h_j = load_rows(h, j, j_valid, begin, OWNED, CHUNKS, CHUNK)
        sums = add_product(sums, weight, h_j, PRODUCT, ROUNDED)

    pointers = dz + k[:, None] * D
    for c in tl.static_range(OWNED):
        d = (begin + c) * CHUNK + tl.arange(0, CHUNK)
        inside = k_valid[:, None] & (d < D)[None, :]
        before = tl.load(pointers + d[None, :], mask=inside, other=0.0)
        tl.store(pointers + d[None, :], before + sums[c] * scale, mask=inside)
