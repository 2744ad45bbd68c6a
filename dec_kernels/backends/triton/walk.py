"""What the forward and the backward kernel share: the rows of a tile, their products, and the exact mask.

All of it works on base-2 exponents: rows are prepared as z' = c z and h' = c h with c^2 = log2(e), or log2(e) / t_neg
with the temperature inside, so that

    exp2(z'_i . z'_j) = exp S_ij        (or exp(S_ij / t_neg))

comes from the special-function unit alone. `positive_ratio` = t_neg / t_pos turns it into exp(S_ij / t_pos) where the
temperature is inside; outside it is 1.

A program owns a block of rows, and walks over the columns of their group. Rows are columns too, but lie in arrays of
their own, side by side, so that a block's addresses have one base; where all columns are rows these are the same.

Rows have D values, padded with zeros to CHUNKS * CHUNK. A tuple holds chunks of a block of rows, so that the width
needs to be no power of two and every accumulator is small enough to stay in registers. Where `RESIDENT`, a program
keeps its own rows on the chip; wider ones it reads again for every tile.
"""

import triton
import triton.language as tl


@triton.jit
def load_rows(rows, index, valid, begin, COUNT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """COUNT chunks from chunk `begin` on, (b, CHUNK) each, of the rows at `index` (b,) int64; zeros where not valid.

    All rows are valid where `valid` is None.
    """
    chunks = ()
    for c in tl.static_range(COUNT):
        d = (begin + c) * CHUNK + tl.arange(0, CHUNK)
        pointers = rows + index[:, None] * (CHUNKS * CHUNK) + d[None, :]
        if valid is None:
            chunks = chunks + (tl.load(pointers),)
        else:
            chunks = chunks + (tl.load(pointers, mask=valid[:, None], other=0.0),)
    return chunks


@triton.jit
def similarities(left, right, PRODUCT: tl.constexpr):
    """(a, b): every row of `left` with every row of `right`."""
    product = tl.zeros((left[0].shape[0], right[0].shape[0]), tl.float32)
    for c in tl.static_range(len(left)):
        product = tl.dot(left[c], right[c].T, product, input_precision=PRODUCT)
    return product


@triton.jit
def similarities_from_memory(
    left,
    i,
    i_valid,
    right,
    j,
    j_valid,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    PRODUCT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The same for rows i of `left` and j of `right` in memory, chunk after chunk, which takes few registers."""
    product = tl.zeros((i.shape[0], j.shape[0]), tl.float32)
    for c in tl.range(CHUNKS, num_stages=STAGES):
        (x_i,) = load_rows(left, i, i_valid, c, 1, CHUNKS, CHUNK)
        (x_j,) = load_rows(right, j, j_valid, c, 1, CHUNKS, CHUNK)
        product = tl.dot(x_i, x_j.T, product, input_precision=PRODUCT)
    return product


@triton.jit
def add_product(sums, weights, rows, PRODUCT: tl.constexpr, ROUNDED: tl.constexpr):
    """sums + weights @ rows, chunk by chunk; `weights` (a, b) float32 are rounded as the rows were."""
    weights = round_bits(weights, ROUNDED).to(rows[0].dtype)
    result = ()
    for c in tl.static_range(len(rows)):
        result = result + (tl.dot(weights, rows[c], sums[c], input_precision=PRODUCT),)
    return result


@triton.jit
def zero_rows(ROWS: tl.constexpr, COUNT: tl.constexpr, CHUNK: tl.constexpr):
    chunks = ()
    for _ in tl.static_range(COUNT):
        chunks = chunks + (tl.zeros((ROWS, CHUNK), tl.float32),)
    return chunks


@triton.jit
def band(first, last, start, r, ROWS: tl.constexpr):
    """The columns, [begin, end), in which positives of the ROWS rows from `start` of a group of r rows may be."""
    return tl.load(first + start), tl.load(last + tl.minimum(start + ROWS, r) - 1)


@triton.jit
def plain_tiles(first, last, start, r, m, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The walk of the ROWS rows from `start`, in tiles of columns: [0, lower) and [upper, whole) hold no positives.

    The other columns, [lower, upper) and what is left after the last whole tile, belong to the band's kernel.
    """
    whole = m // COLUMNS
    begin, end = band(first, last, start, r, ROWS)
    lower = tl.minimum(begin // COLUMNS, whole)
    upper = tl.minimum(tl.cdiv(end, COLUMNS), whole)
    return lower, tl.maximum(lower, upper), whole


@triton.jit
def band_strips(first, last, start, r, m, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STRIP: tl.constexpr):
    """What `plain_tiles` of the ROWS rows around `start` leaves, in strips of columns: for `strip_of`, and how many."""
    lower, upper, whole = plain_tiles(first, last, start // ROWS * ROWS, r, m, ROWS, COLUMNS)
    in_band = (upper - lower) * (COLUMNS // STRIP)
    return lower * COLUMNS, whole * COLUMNS, in_band, in_band + tl.cdiv(m - whole * COLUMNS, STRIP)


@triton.jit
def strip_of(t, band_column, rest_column, in_band, m, STRIP: tl.constexpr):
    """The first column of strip t, its columns, and which of them exist."""
    column = tl.where(t < in_band, band_column + t * STRIP, rest_column + (t - in_band) * STRIP)
    columns = column + tl.arange(0, STRIP)
    return column, columns, columns < m


@triton.jit
def round_bits(x, ROUNDED: tl.constexpr):
    """float32 to the nearest number whose low ROUNDED bits are zero: 13 make it a TF32.

    The tensor cores by themselves cut these bits off, which would make every product of a weight too small. A device's
    NaN, all bits set, becomes a zero: `rows` keeps those of the images.
    """
    if ROUNDED > 0:
        bits = x.to(tl.int32, bitcast=True)
        x = ((bits + (1 << (ROUNDED - 1))) & -(1 << ROUNDED)).to(tl.float32, bitcast=True)
    return x


@triton.jit
def float64_of(bits):
    """A number that has to arrive whole: a float argument of a kernel can be rounded to float32 on its way."""
    return bits.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def positives(
    row_p, row_mean, row_square, own, i, i_valid, p, mean, square, j, j_valid, limit_bits, D: tl.constexpr
):  # fmt: skip
    """The exact mask of rows i (a,) and columns j (b,), both int64: |p_i - p_j|^2 <= limit, as in float64.

    Row i is column own[i].

    With the mean of each patch taken off, p = mu + p', distances lose what made |p_i|^2 + |p_j|^2 - 2 p_i . p_j cancel:

        |p_i - p_j|^2 = D (mu_i - mu_j)^2 + |p'_i|^2 + |p'_j|^2 - 2 p'_i . p'_j

    With p' in two TF32 halves and products summed 32 values at a time, that is off by less than

        2^-17 (|p'_i|^2 + |p'_j|^2)     what the halves lose, 3 * 2^-22; sums cut off at 24 bits within the tensor
                                        cores, 2^-19; float32 sums of up to 24 products, 2^-19, and of squares
        2^-20 D |mu_i - mu_j| (|mu_i| + |mu_j| + |mu_i - mu_j|)       means are rounded, so that sum p' is not quite 0

    which decides all pairs but a few in a million. In a block with an undecided pair the sum of squared differences in
    float64 decides it.
    """
    mean_i = tl.load(row_mean + i, mask=i_valid, other=0.0)
    mean_j = tl.load(mean + j, mask=j_valid, other=0.0)
    square_i = tl.load(row_square + i, mask=i_valid, other=0.0)
    square_j = tl.load(square + j, mask=j_valid, other=0.0)
    shift = tl.abs(mean_i[:, None] - mean_j[None, :])
    squares = square_i[:, None] + square_j[None, :]
    distance = D * shift * shift + squares
    for c in tl.range(tl.cdiv(D, 32), num_stages=1):
        column = c * 32 + tl.arange(0, 32)
        inside_i = i_valid[:, None] & (column < D)[None, :]
        inside_j = j_valid[:, None] & (column < D)[None, :]
        p_i = tl.load(row_p + i[:, None] * D + column[None, :], mask=inside_i, other=0.0)
        p_j = tl.load(p + j[:, None] * D + column[None, :], mask=inside_j, other=0.0)
        p_i = tl.where(inside_i, p_i - mean_i[:, None], 0.0)
        p_j = tl.where(inside_j, p_j - mean_j[:, None], 0.0)
        # Subtracted, not added, since the compiler would make one long sum inside the tensor cores of additions.
        distance -= 2 * tl.dot(p_i, p_j.T, input_precision="tf32x3")

    means = tl.abs(mean_i)[:, None] + tl.abs(mean_j)[None, :]
    slack = 7.62939453125e-06 * squares + 9.5367431640625e-07 * D * shift * (means + shift) + 1e-35
    limit = float64_of(limit_bits)
    near, far = limit.to(tl.float32) * (1 - 1e-6), limit.to(tl.float32) * (1 + 1e-6)
    same = tl.load(own + i, mask=i_valid, other=-1)[:, None] == j[None, :]
    positive = (distance + slack < near) | same
    negative = distance - slack > far
    undecided = i_valid[:, None] & j_valid[None, :] & ~positive & ~negative  # a NaN is neither

    if tl.max(tl.max(undecided.to(tl.int32), 1), 0) > 0:
        exact = tl.zeros((i.shape[0], j.shape[0]), tl.float64)
        for d in range(D):
            x_i = tl.load(row_p + i * D + d, mask=i_valid, other=0.0).to(tl.float64)
            x_j = tl.load(p + j * D + d, mask=j_valid, other=0.0).to(tl.float64)
            difference = x_i[:, None] - x_j[None, :]
            exact += difference * difference
        positive = positive | (undecided & (exact <= limit))
    return positive
