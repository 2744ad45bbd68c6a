"""Images -> rows as the kernels want them, and row gradients -> images; two kernels each way, beside the sort.

What `dec_kernels.patches` does in some thirty PyTorch calls takes four launches here and the sort by means. Beside the
rows themselves the kernels get them rounded and scaled for the products (`walk` says why): z' = c z and h' = c h,
padded with zeros to a whole number of chunks.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from dec_kernels.backends.triton.walk import float64_of, round_bits
from dec_kernels.patches import Batch, of_rows, rows_among, sort, unsort
from dec_kernels.spec import Constants

_VALUES = 2048  # of a block of rows in the kernels here; half of it for wide rows, which would spill registers


def bits_of(number: float) -> int:
    """A float64 as an int64, for `walk.float64_of`."""
    return struct.unpack("q", struct.pack("d", number))[0]


def current_device(tensor: Tensor) -> torch.cuda.device:
    """Triton launches on the current device; -1 leaves it as it is."""
    return torch.cuda.device(tensor.device if tensor.is_cuda else -1)


class Operand(NamedTuple):
    """How z' and h' are kept: padded to `width` values of `dtype`, with the low `rounded` bits of a float32 zero."""

    width: int
    dtype: torch.dtype
    rounded: int


@dataclass(frozen=True)
class Rows:
    """Sorted columns of a batch, in G groups of m, and which r of them are rows, as `dec_kernels.patches.Patches`.

    Attributes:
        z, h: c z and c h, (G, m, D'), as an `Operand` says.
        p: HR columns, (G, m, D) float32.
        mean, square: mean of p and |p - mean|^2, (G, m) float32.
        row_z, row_h, row_p, row_mean, row_square: the same of the rows, (G, r, ...).
        own: (G, r) int64: row i is column own[i], counted over all groups.
        first, last: the band, (G, r) int32: positives of row i are columns first[i] <= j < last[i] of its group.
        column_order: (G, m) int64: column j is patch column_order[j] of its group, counted in image order.
        order: (G, r) int64: row i is patch order[i] of its group, counted in the order of `sr`.
        sr: the SR images of the rows, (B, C, H, W).
        patch_size: P, pixels.
        c: the factor in z and h.
    """

    z: Tensor
    h: Tensor
    p: Tensor
    mean: Tensor
    square: Tensor
    row_z: Tensor
    row_h: Tensor
    row_p: Tensor
    row_mean: Tensor
    row_square: Tensor
    own: Tensor
    first: Tensor
    last: Tensor
    column_order: Tensor
    order: Tensor
    sr: Tensor
    patch_size: int
    c: float

    def of_rows(self, columns: Tensor) -> Tensor:
        """(G, m, ...) -> (G, r, ...); the same tensor where all columns are rows."""
        return of_rows(columns, self.own[0])  # of one group only where some columns are no rows

    def sort(self, values: Tensor) -> Tensor:
        """Values of all patches in image order -> (G, m) in the order of the columns."""
        return sort(values, self.column_order)

    def unsort(self, values: Tensor) -> Tensor:
        """(G, r) values in the order of the rows -> (G * r,) in image order."""
        return unsort(values, self.order)

    def project_(self, dz: Tensor) -> Tensor:
        """dL/dz (G, r, D), overwritten with dL/dq = (g - (g . z) z) / |q|, g = dL/dz."""
        n, dim = self.order.numel(), dz.shape[-1]
        with current_device(dz):
            _project_kernel[_grid(n, dim)](
                dz, self.sr, self.order, n, self.order.shape[1],
                *_places(self.sr, self.patch_size), dim, self.patch_size, **block_of(dim),
            )  # fmt: skip
        return dz


def prepare(batch: Batch, patch_size: int, per_image: bool, constants: Constants, operand: Operand) -> Rows:
    """Rows and columns of images of any strides and float dtype."""
    sr, hr = batch.sr, batch.hr
    height, width = sr.shape[2] // patch_size, sr.shape[3] // patch_size
    groups = batch.groups(per_image)
    n, dim = sr.shape[0] * height * width, sr.shape[1] * patch_size**2
    shape, device = (groups, n // groups), sr.device

    means = torch.empty(shape, dtype=torch.float32, device=device)
    block = block_of(dim)
    _means_kernel[_grid(n, dim)](hr, means, n, *_places(hr, patch_size), dim, patch_size, **block)
    mean, column_order = means.sort(dim=1, stable=True)
    rows, order = rows_among(column_order, batch)

    c = math.sqrt(math.log2(math.e) / (constants.t_neg if constants.inside else 1))
    z, h = (torch.empty((*shape, operand.width), dtype=operand.dtype, device=device) for _ in "zh")
    p = torch.empty((*shape, dim), dtype=torch.float32, device=device)
    square = torch.empty_like(mean)
    first, last = (torch.empty(shape, dtype=torch.int32, device=device) for _ in "fl")
    _rows_kernel[_grid(n, operand.width)](
        sr, hr, column_order, mean, z, h, p, square, first, last, n, shape[1], *_places(hr, patch_size), *sr.stride(),
        bits_of(c), constants.radius / math.sqrt(dim), dim, operand.width, patch_size,
        shape[1].bit_length(), operand.rounded, **block_of(operand.width),
    )  # fmt: skip
    row_z, row_h, row_p, row_mean, row_square = (of_rows(x, rows) for x in (z, h, p, mean, square))
    own = torch.arange(n, device=device).view(shape)[:, rows]
    first, last = of_rows(first, rows), of_rows(last, rows)
    return Rows(
        z, h, p, mean, square, row_z, row_h, row_p, row_mean, row_square, own, first, last,
        column_order, order, batch.own, patch_size, c,
    )  # fmt: skip


def to_images(rows: Tensor, order: Tensor, like: Tensor, patch_size: int) -> Tensor:
    """Rows (G, r, D) in the order of `Rows.order` -> images of the shape, dtype and memory format of `like`.

    Pixels that no patch covers are zero.
    """
    covered = like.shape[2] % patch_size == like.shape[3] % patch_size == 0
    images = torch.empty_like(like) if covered else torch.zeros_like(like)
    n, dim = order.numel(), rows.shape[-1]
    _images_kernel[_grid(n, dim)](
        rows, order, images, n, order.shape[1], *_places(images, patch_size), dim, patch_size, **block_of(dim)
    )
    return images


def _places(images: Tensor, patch_size: int) -> tuple[int, ...]:
    """Patches in a column and in a row of an image, and the strides of the images."""
    return images.shape[2] // patch_size, images.shape[3] // patch_size, *images.stride()


def block_of(dim: int) -> dict[str, Any]:
    """The block of a program of the kernels here, for rows of that many values."""
    columns = triton.next_power_of_2(dim)
    return {
        "ROWS": max(1, (_VALUES if columns <= 256 else _VALUES // 2) // columns),
        "COLUMNS": columns,
        "num_warps": 4,
        "enable_fp_fusion": True,
    }


def _grid(n: int, dim: int) -> tuple[int]:
    return (triton.cdiv(n, block_of(dim)["ROWS"]),)


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


@triton.jit(do_not_specialize=["n", "height", "width"])
def _means_kernel(
    hr, means, n, height, width, stride_b, stride_c, stride_h, stride_w,
    D: tl.constexpr, P: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, COLUMNS)
    inside = (i < n)[:, None] & (d < D)[None, :]
    p = tl.load(hr + _pixels(i, d, height, width, stride_b, stride_c, stride_h, stride_w, P), mask=inside, other=0.0)
    # In float64, so that the mean is off by no more than its own rounding.
    tl.store(means + i, (tl.sum(p.to(tl.float64), 1) / D).to(tl.float32), mask=i < n)


@triton.jit(do_not_specialize=["n", "m", "height", "width", "c_bits"])
def _rows_kernel(
    sr, hr, order, mean, z, h, p_out, square, first, last, n, m, height, width,
    stride_b, stride_c, stride_h, stride_w, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w,
    c_bits: tl.int64, band: tl.float32, D: tl.constexpr, PADDED: tl.constexpr, P: tl.constexpr, STEPS: tl.constexpr,
    ROUNDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    group = tl.where(valid, i // m, 0)  # rows past the end look for their band too
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = group * m + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    q = tl.load(sr + _pixels(patch, d, height, width, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w, P),
                mask=inside, other=0.0).to(tl.float32)  # fmt: skip
    p = tl.load(hr + _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P),
                mask=inside, other=0.0).to(tl.float32)  # fmt: skip
    row = i.to(tl.int64)
    tl.store(p_out + row[:, None] * D + d[None, :], p, mask=inside)
    center = tl.load(mean + i, mask=valid, other=0.0)
    rest = tl.where(inside, p - center[:, None], 0.0)
    tl.store(square + i, tl.sum(rest * rest, 1), mask=valid)

    # In float64, where the square of any float32 has room, and so that z' and h' are rounded only once.
    c = float64_of(c_bits)
    q_unit, p_unit = _unit(q.to(tl.float64), c), _unit(p.to(tl.float64), c)
    padded = valid[:, None] & (d < PADDED)[None, :]
    tl.store(z + row[:, None] * PADDED + d[None, :], _rounded(q_unit, ROUNDED), mask=padded)
    tl.store(h + row[:, None] * PADDED + d[None, :], _rounded(p_unit, ROUNDED), mask=padded)

    # |p_i - p_j| >= sqrt(D) |mean_i - mean_j|. Both means are off by half an ulp, and so are these bounds.
    width_of_band = band * (1 + 1e-5)
    margin = 4.76837158203125e-07 * (tl.abs(center) + width_of_band)
    start, stop = _position(
        mean + group * m, center - width_of_band - margin, center + width_of_band + margin, m, STEPS
    )
    finite = tl.abs(center) < float("inf")  # otherwise every column, so that the rows beside it keep their band
    tl.store(first + i, tl.where(finite, start, 0), mask=valid)
    tl.store(last + i, tl.where(finite, stop, m), mask=valid)


@triton.jit
def _unit(rows, c):
    norm = tl.sqrt(tl.sum(rows * rows, 1))
    return (rows * (c / tl.where(norm == 0, 1.0, norm))[:, None]).to(tl.float32)


@triton.jit
def _rounded(x, ROUNDED: tl.constexpr):
    return tl.where(x == x, round_bits(x, ROUNDED), x)  # a NaN stays one


@triton.jit
def _position(means, lower, upper, m, STEPS: tl.constexpr):
    """How many of the m sorted means, m < 2^STEPS, are below `lower`, and how many up to `upper`; NaNs come last."""
    start, stop = tl.zeros(lower.shape, tl.int32), tl.zeros(lower.shape, tl.int32)
    for step in tl.static_range(STEPS):
        half = 1 << (STEPS - 1 - step)
        ahead = start + half
        below = tl.load(means + ahead - 1, mask=ahead <= m, other=float("inf")) < lower
        start = tl.where((ahead <= m) & below, ahead, start)
        ahead = stop + half
        up_to = tl.load(means + ahead - 1, mask=ahead <= m, other=float("inf")) <= upper
        stop = tl.where((ahead <= m) & up_to, ahead, stop)
    return start, stop


@triton.jit(do_not_specialize=["n", "m", "height", "width"])
def _project_kernel(
    dz, sr, order, n, m, height, width, stride_b, stride_c, stride_h, stride_w,
    D: tl.constexpr, P: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = i // m * m + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    # In float64: g lies mostly along z, and what is left of it is small. z comes from q itself, since z' is rounded.
    q = tl.load(
        sr + _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P), mask=inside, other=0.0
    )
    q = q.to(tl.float64)
    square = tl.sum(q * q, 1)
    norm = tl.sqrt(square).to(tl.float32)
    inverse = 1 / tl.where(norm == 0, 1.0, norm)
    inverse = tl.where((norm == 0) | (inverse == float("inf")), 0.0, inverse)
    pointers = dz + i.to(tl.int64)[:, None] * D + d[None, :]
    g = tl.load(pointers, mask=inside, other=0.0).to(tl.float64)
    along = tl.sum(g * q, 1) / tl.where(square == 0, 1.0, square)
    tl.store(pointers, ((g - along[:, None] * q) * inverse[:, None]).to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["n", "m", "height", "width"])
def _images_kernel(
    rows, order, images, n, m, height, width, stride_b, stride_c, stride_h, stride_w,
    D: tl.constexpr, P: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = i // m * m + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    values = tl.load(rows + i.to(tl.int64)[:, None] * D + d[None, :], mask=inside, other=0.0)
    pixels = _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P)
    tl.store(images + pixels, values, mask=inside)
