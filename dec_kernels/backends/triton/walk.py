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

from dec_kernels.backends.triton import numbers_of

# Before 3.7 Triton puts no fence between what cp.async copies to shared memory and the products that read it there.
_LACKS_FENCES = tl.constexpr(numbers_of(triton.__version__) < (3, 7))


@triton.jit
def load_rows(rows, index, valid, begin, COUNT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """COUNT chunks from chunk `begin` on, (b, CHUNK) each, of the rows at `index` (b,); zeros where not valid.

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
def fence(ASYNCHRONOUS: tl.constexpr):
    """Shows what was loaded to products that read shared memory through the asynchronous proxy, as wgmma does."""
    if ASYNCHRONOUS and _LACKS_FENCES:
        tl.inline_asm_elementwise(
            "fence.proxy.async.shared::cta; mov.b32 $0, $1;", "=r,r", [0], dtype=tl.int32, is_pure=False, pack=1
        )


@triton.jit
def similarities(left, right, PRODUCT: tl.constexpr):
    """(a, b): every row of `left` with every row of `right`."""
    product = tl.zeros((left[0].shape[0], right[0].shape[0]), tl.float32)
    for c in tl.static_range(len(left)):
        product = tl.dot(left[c], right[c].T, product, input_precision=PRODUCT)
    return product


@triton.jit
def load_chunk(rows, index, c, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """Chunk c, (b, CHUNK), of the rows at `index` (b,)."""
    return load_rows(rows, index, None, c, 1, CHUNKS, CHUNK)[0]


@triton.jit
def similarities_from_memory(
    left, i, i_valid, right, j,
    CHUNKS: tl.constexpr, CHUNK: tl.constexpr, PRODUCT: tl.constexpr, ASYNCHRONOUS: tl.constexpr,
):  # fmt: skip
    """The same for rows i of `left` and j of `right` in memory, chunk after chunk, which takes few registers."""
    product = tl.zeros((i.shape[0], j.shape[0]), tl.float32)
    for c in tl.range(CHUNKS, num_stages=3):
        (x_i,) = load_rows(left, i, i_valid, c, 1, CHUNKS, CHUNK)
        x_j = load_chunk(right, j, c, CHUNKS, CHUNK)
        fence(ASYNCHRONOUS)
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


@triton.jit
def small_exp2(x):
    """2^x for |x| <= 1.45 to 4.4e-5 of its value, without the special-function unit.

    That is as far as exponents go with the temperature outside: log2(e), and a little for rounded operands. Of all
    polynomials of degree 5 this one has the smallest relative error there (Remez).
    """
    y = 0.0012860350543633103 * x + 0.010079486295580864
    y = y * x + 0.05571049824357033
    y = y * x + 0.23990443348884583
    y = y * x + 0.693030834197998
    return y * x + 1.0000282526016235


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
def subtract_centered_products(
    products, row_p, i, mean_i, p, j, mean_j, c, D: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """products (a, b) - p'_i . p'_j over the values of chunk c, p' = p - mean."""
    PART: tl.constexpr = min(CHUNK, 32)
    for part in tl.static_range(CHUNK // PART):
        d = c * CHUNK + part * PART + tl.arange(0, PART)
        p_i = tl.load(row_p + i[:, None] * D + d[None, :], mask=(d < D)[None, :], other=0.0)
        p_j = tl.load(p + j[:, None] * D + d[None, :], mask=(d < D)[None, :], other=0.0)
        p_i = tl.where((d < D)[None, :], p_i - mean_i[:, None], 0.0)
        p_j = tl.where((d < D)[None, :], p_j - mean_j[:, None], 0.0)
        # Subtracted, not added, since the compiler would make one long sum inside the tensor cores of additions.
        products -= tl.dot(p_i, p_j.T, input_precision="tf32x3")
    return products


@triton.jit
def positives(products, same, row_p, i, mean_i, square_i, p, j, mean_j, square_j, limit_bits, D: tl.constexpr):
    """The exact mask of rows i (a,) and columns j (b,): |p_i - p_j|^2 <= limit, as in float64, or the `same` patch.

    `products` (a, b) are what `subtract_centered_products` made of zeros, over all chunks.

    With the mean of each patch taken off, p = mu + p', distances lose what made |p_i|^2 + |p_j|^2 - 2 p_i . p_j cancel:

        |p_i - p_j|^2 = D (mu_i - mu_j)^2 + |p'_i|^2 + |p'_j|^2 - 2 p'_i . p'_j

    With p' in two TF32 halves and products summed 32 values at a time, that is off by less than

        2^-17 (|p'_i|^2 + |p'_j|^2)     what the halves lose, 3 * 2^-22; sums cut off at 24 bits within the tensor
                                        cores, 2^-19; float32 sums of up to 24 products, 2^-19, and of squares
        2^-20 D |mu_i - mu_j| (|mu_i| + |mu_j| + |mu_i - mu_j|)       means are rounded, so that sum p' is not quite 0

    which decides all pairs but a few in a million. The sum of squared differences in float64 decides the others, all of
    a row at once.
    """
    shift = tl.abs(mean_i[:, None] - mean_j[None, :])
    squares = square_i[:, None] + square_j[None, :]
    distance = D * shift * shift + squares + 2 * products
    means = tl.abs(mean_i)[:, None] + tl.abs(mean_j)[None, :]
    slack = 7.62939453125e-06 * squares + 9.5367431640625e-07 * D * shift * (means + shift) + 1e-35
    limit = float64_of(limit_bits)
    near, far = limit.to(tl.float32) * (1 - 1e-6), limit.to(tl.float32) * (1 + 1e-6)
    positive = (distance + slack < near) | same
    negative = distance - slack > far
    undecided = ~positive & ~negative  # a NaN is neither

    rows = tl.arange(0, i.shape[0])
    some = tl.max(undecided.to(tl.int32), 1) > 0
    row = tl.min(tl.where(some, rows, i.shape[0]), 0)
    while row < i.shape[0]:
        here = rows == row
        close = squared_distances(row_p + tl.sum(tl.where(here, i, 0), 0) * D, p, j, tl.minimum(row, 0), D) <= limit
        positive = positive | (undecided & here[:, None] & close[None, :])
        row = tl.min(tl.where(some & (rows > row), rows, i.shape[0]), 0)
    return positive


@triton.jit
def squared_distances(x, p, j, zero, D: tl.constexpr):
    """|x - p_j|^2 of columns j (b,), float64, summed from differences; x points to D values.

    `zero` is 0. That the compiler does not know it keeps the loop from being unrolled, which would spill registers.
    """
    BLOCK: tl.constexpr = 1024 // j.shape[0]
    sums = tl.zeros(j.shape, tl.float64)
    for c in tl.range(zero, tl.cdiv(D, BLOCK), num_stages=1, disable_licm=True):
        d = c * BLOCK + tl.arange(0, BLOCK)
        x_d = tl.load(x + d, mask=d < D, other=0.0).to(tl.float64)
        p_j = tl.load(p + j[:, None] * D + d[None, :], mask=(d < D)[None, :], other=0.0).to(tl.float64)
        sums += tl.sum((x_d[None, :] - p_j) * (x_d[None, :] - p_j), 1)
    return sums
