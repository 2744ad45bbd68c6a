"""The exact mask of Eq. 37: which pairs of rows and columns are positives."""

import triton
import triton.language as tl

from dec_kernels.backends.triton.kernels.arithmetic import float64_of


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

    index = tl.arange(0, i.shape[0])
    some = tl.max(undecided.to(tl.int32), 1) > 0
    row = tl.min(tl.where(some, index, i.shape[0]), 0)
    while row < i.shape[0]:
        here = index == row
        close = squared_distances(row_p + tl.sum(tl.where(here, i, 0), 0) * D, p, j, tl.minimum(row, 0), D) <= limit
        positive = positive | (undecided & here[:, None] & close[None, :])
        row = tl.min(tl.where(some & (index > row), index, i.shape[0]), 0)
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
