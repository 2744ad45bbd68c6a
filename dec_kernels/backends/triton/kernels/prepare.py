"""The kernels around the walks: images to prepared rows, and sums and gradients back to the order of the images.

- `means_kernel`: HR images -> the mean of each patch, by which the host sorts.
- `rows_kernel`: images in sorted order -> z' and h' for the products, p and its square for the mask, and the band.
- `sums_kernel`: sums over exponentials -> Qpos and Qneg in image order.
- `weights_kernel`: alpha and beta in image order -> alpha / t_pos and beta / t_neg in sorted order.
- `images_kernel`: dL/dz -> dL/dq, in the place of its patch in the images.

What `dec_kernels.patches` does in some thirty PyTorch calls takes the first two and the sort between them.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton.kernels.arithmetic import float64_of, round_numbers


@triton.jit(do_not_specialize=["n", "height", "width"])
def means_kernel(
    hr, means, n, height, width, stride_b, stride_c, stride_h, stride_w,
    D: tl.constexpr, P: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, COLUMNS)
    inside = (i < n)[:, None] & (d < D)[None, :]
    p = tl.load(hr + _pixels(i, d, height, width, stride_b, stride_c, stride_h, stride_w, P), mask=inside, other=0.0)
    # In float64, so that the mean is off by no more than its own rounding.
    tl.store(means + i, (tl.sum(p.to(tl.float64), 1) / D).to(tl.float32), mask=i < n)


@triton.jit(do_not_specialize=["n", "r", "m", "height", "width", "start", "highest", "c_bits", "floor_bits"])
def rows_kernel(
    sr, hr, order, row_mean, mean, position, z, h, p_out, square, column_of_row, first, last, n, r, m, height, width,
    stride_b, stride_c, stride_h, stride_w, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w,
    start, highest, c_bits: tl.int64, floor_bits: tl.int64, band: tl.float32, D: tl.constexpr, PADDED: tl.constexpr,
    P: tl.constexpr, ROUNDED: tl.constexpr, CENTER: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """n rows in groups of r, among columns in groups of m, whose means are `mean`.

    Without `column_of_row` they are the columns themselves.

    The columns leave in `position` where each patch is among them, and the rows, whose first patch is `start`, find
    their columns there. Without `position` all columns are rows.
    """
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    group = tl.minimum(i, n - 1) // r  # rows past the end, too, look for their band among means that are there
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = group * r + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    q = tl.load(sr + _pixels(patch, d, height, width, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w, P),
                mask=inside, other=0.0).to(tl.float32)  # fmt: skip
    p = tl.load(hr + _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P),
                mask=inside, other=0.0).to(tl.float32)  # fmt: skip
    row = i.to(tl.int64)
    tl.store(p_out + row[:, None] * D + d[None, :], p, mask=inside)
    center = tl.load(row_mean + i, mask=valid, other=0.0)
    rest = tl.where(inside, p - center[:, None], 0.0)
    tl.store(square + i, tl.sum(rest * rest, 1), mask=valid)

    # In float64, where the square of any float32 has room, and so that z' and h' are rounded only once.
    c, floor = float64_of(c_bits), float64_of(floor_bits)
    q, p = q.to(tl.float64), p.to(tl.float64)
    if CENTER:
        q, p = _centered(q, d, D, P), _centered(p, d, D, P)
    q_unit, p_unit = _unit(q, c, floor), _unit(p, c, floor)
    padded = valid[:, None] & (d < PADDED)[None, :]
    tl.store(z + row[:, None] * PADDED + d[None, :], round_numbers(q_unit, ROUNDED), mask=padded)
    tl.store(h + row[:, None] * PADDED + d[None, :], round_numbers(p_unit, ROUNDED), mask=padded)

    if column_of_row is None:
        tl.store(position + patch, row, mask=valid)
    else:
        column = row
        if position is not None:
            column = tl.load(position + start + patch, mask=valid, other=0)
        tl.store(column_of_row + i, column, mask=valid)
        # |p_i - p_j| >= sqrt(D) |mean_i - mean_j|. Both means are off by half an ulp, and so are these bounds.
        width_of_band = band * (1 + 1e-5)
        margin = 4.76837158203125e-07 * (tl.abs(center) + width_of_band)
        lower, upper = center - width_of_band - margin, center + width_of_band + margin
        begin, end = _position(mean + group * m, lower, upper, m, highest)
        finite = tl.abs(center) < float("inf")  # otherwise every column, so that the rows beside it keep their band
        tl.store(first + i, tl.where(finite, begin, 0), mask=valid)
        tl.store(last + i, tl.where(finite, end, m), mask=valid)


@triton.jit(do_not_specialize=["n", "r", "splits"])
def sums_kernel(
    positive, negative, order, sums, n, r, splits, t_pos: tl.float32, t_neg: tl.float32, BLOCK: tl.constexpr
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < n
    part = negative + i
    total = tl.load(part, mask=valid, other=0.0)
    for _ in range(1, splits):
        part += n
        total += tl.load(part, mask=valid, other=0.0)
    patch = i // r * r + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    tl.store(sums + patch, tl.load(positive + i, mask=valid, other=0.0) / t_pos, mask=valid)
    tl.store(sums + n + patch, total / t_neg, mask=valid)


@triton.jit(do_not_specialize=["n", "columns", "m"])
def weights_kernel(
    weights, order, column_of_row, alpha, beta, n, columns, m, t_pos: tl.float32, t_neg: tl.float32, BLOCK: tl.constexpr
):  # fmt: skip
    """Of n columns; or of n rows, which are columns `column_of_row`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < n
    column = i
    if column_of_row is not None:
        column = tl.load(column_of_row + i, mask=valid, other=0).to(tl.int32)
    patch = column // m * m + tl.load(order + column, mask=valid, other=0).to(tl.int32)
    tl.store(alpha + i, tl.load(weights + patch, mask=valid, other=0.0) / t_pos, mask=valid)
    tl.store(beta + i, tl.load(weights + columns + patch, mask=valid, other=0.0) / t_neg, mask=valid)


@triton.jit(do_not_specialize=["n", "r", "splits", "height", "width", "floor_bits"])
def images_kernel(
    dz, sr, order, images, n, r, splits, height, width, stride_b, stride_c, stride_h, stride_w,
    sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w, floor_bits: tl.int64,
    D: tl.constexpr, P: tl.constexpr, CENTER: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = i // r * r + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    # In float64: g lies mostly along z, and what is left of it is small. z comes from q itself, since z' is rounded.
    q = tl.load(sr + _pixels(patch, d, height, width, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w, P),
                mask=inside, other=0.0).to(tl.float64)  # fmt: skip
    if CENTER:
        q = _centered(q, d, D, P)
    square, floor = tl.sum(q * q, 1), float64_of(floor_bits)
    below = tl.sqrt(square) <= floor
    norm = tl.where(below, floor, tl.sqrt(square)).to(tl.float32)
    inverse = 1 / tl.where(norm == 0, 1.0, norm)
    inverse = tl.where((norm == 0) | (inverse == float("inf")), 0.0, inverse)
    part = dz + i.to(tl.int64)[:, None] * D + d[None, :]
    total = tl.load(part, mask=inside, other=0.0)
    for _ in range(1, splits):
        part += tl.cast(n, tl.int64) * D
        total += tl.load(part, mask=inside, other=0.0)
    g = total.to(tl.float64)
    along = tl.where(below, 0.0, tl.sum(g * q, 1) / tl.where(square == 0, 1.0, square))
    pixels = _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P)
    tl.store(images + pixels, ((g - along[:, None] * q) * inverse[:, None]).to(tl.float32), mask=inside)


@triton.jit
def _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P: tl.constexpr):
    """Offsets (rows, columns) of the values d of patches, in images of height x width patches."""
    image = (patch // (height * width)).to(tl.int64)
    row, column = patch // width % height, patch % width
    base = image * stride_b + row.to(tl.int64) * P * stride_h + column.to(tl.int64) * P * stride_w
    within = (
        (d // (P * P)).to(tl.int64) * stride_c + (d // P % P).to(tl.int64) * stride_h + (d % P).to(tl.int64) * stride_w
    )
    return base[:, None] + within[None, :]


@triton.jit
def _centered(rows, d, D: tl.constexpr, P: tl.constexpr):
    """Rows of D values, and zeros behind them, less the mean of each channel."""
    for channel in range(D // (P * P)):
        within = (d // (P * P) == channel)[None, :]
        mean = tl.sum(tl.where(within, rows, 0.0), 1) * (1 / (P * P))
        rows -= tl.where(within, mean[:, None], 0.0)
    return rows


@triton.jit
def _unit(rows, c, floor):
    norm = tl.sqrt(tl.sum(rows * rows, 1))
    norm = tl.where(norm < floor, floor, norm)  # NaN stays
    return (rows * (c / tl.where(norm == 0, 1.0, norm))[:, None]).to(tl.float32)


@triton.jit
def _position(means, lower, upper, m, highest):
    """How many of the m sorted means are below `lower`, and how many up to `upper`; NaNs come last.

    `highest` is the largest power of 2 that is not above m.
    """
    start, stop = tl.zeros(lower.shape, tl.int32), tl.zeros(lower.shape, tl.int32)
    half = highest
    while half > 0:
        ahead = start + half
        below = tl.load(means + ahead - 1, mask=ahead <= m, other=float("inf")) < lower
        start = tl.where((ahead <= m) & below, ahead, start)
        ahead = stop + half
        up_to = tl.load(means + ahead - 1, mask=ahead <= m, other=float("inf")) <= upper
        stop = tl.where((ahead <= m) & up_to, ahead, stop)
        half = half // 2
    return start, stop
