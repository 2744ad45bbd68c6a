"""Images -> rows as the kernels want them, sums and gradients to and from the order of the images, and the way back.

What `dec_kernels.patches` does in some thirty PyTorch calls takes two launches here and the sort by means; `sums_of`,
`weights_of` and `to_images` are one launch each. With columns of other processes some are launched twice: for the
columns, and for the rows among them. Beside the rows themselves the kernels get them rounded and scaled for the
products (`walk` says why): z' = c z and h' = c h, padded with zeros to a whole number of chunks.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from dec_kernels.backends.triton.walk import float64_of, round_bits
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants

_VALUES = 2048  # of a block of rows in the kernels here; half of it for wide rows, which would spill registers
LONG_BLOCK = 256  # of a block in the kernels for one or two numbers a row


def bits_of(number: float) -> int:
    """A float64 as an int64, for `walk.float64_of`."""
    return struct.unpack("q", struct.pack("d", number))[0]


def current_device(tensor: Tensor) -> torch.cuda.device:
    """Triton launches on the current device; -1 leaves it as it is."""
    return torch.cuda.device(tensor.device if tensor.is_cuda else -1)


class Launch:
    """A kernel with its grid and all of its arguments but the tensors: what a step does not have to find out again.

    Arguments go by position. Triton's binder takes 18 microseconds for thirty keywords, and 15 for thirty positions.

    Args:
        kernel: a function under `triton.jit`.
        programs: in the grid.
        numbers: name -> value of every argument that is no tensor; more names than the kernel has do not matter.
        options: of the compiler.
    """

    def __init__(self, kernel: Any, programs: int, numbers: dict[str, Any], options: dict[str, Any]) -> None:
        self._start, self._options = kernel[(programs,)], options
        self._arguments = [numbers.get(name) for name in kernel.arg_names]
        self._tensors = [(i, name) for i, name in enumerate(kernel.arg_names) if name not in numbers]

    def __call__(self, tensors: dict[str, Tensor | None]) -> None:
        """Starts the kernel with those of `tensors` that it names."""
        arguments = self._arguments.copy()
        for i, name in self._tensors:
            arguments[i] = tensors[name]
        self._start(*arguments, **self._options)


class Operand(NamedTuple):
    """How z' and h' are kept: padded to `width` values of `dtype`, with the low `rounded` bits of a float32 zero."""

    width: int
    dtype: torch.dtype
    rounded: int


class Size(NamedTuple):
    """Of rows: G groups of m columns and r rows; `dim` = D values each, padded to `width`."""

    groups: int
    m: int
    r: int
    dim: int
    width: int

    @classmethod
    def of(cls, own: Tensor, columns: int, patch_size: int, per_image: bool, operand: Operand) -> Size:
        """Of the images `own`, (B, C, H, W), among so many columns in all."""
        groups = own.shape[0] if per_image else 1
        rows = own.shape[0] * math.prod(_patches(own, patch_size))
        return cls(groups, columns // groups, rows // groups, own.shape[1] * patch_size**2, operand.width)


@dataclass(frozen=True)
class Rows:
    """Sorted columns of a batch, in G groups of m, and which r of them are rows, as `dec_kernels.patches.Patches`.

    Attributes:
        size: G, m, r, D and D'.
        kept: the memory of all tensors here but `row_h`, (bytes,) uint8.
        z, h: c z and c h, (G, m, D'), as an `Operand` says.
        p: HR columns, (G, m, D) float32.
        mean, square: mean of p and |p - mean|^2, (G, m) float32.
        column_order: (G, m) int64: column j is patch column_order[j] of its group, counted in image order.
        row_z, row_h, row_p, row_mean, row_square, order: the same of the rows, (G, r, ...), counted among the patches
            of this process: the same tensors where all columns are rows. The backward has no `row_h`.
        own: (G, r) int64: row i is column own[i], counted over all groups.
        first, last: the band, (G, r) int32: positives of row i are columns first[i] <= j < last[i] of its group.
    """

    size: Size
    kept: Tensor
    z: Tensor
    h: Tensor
    p: Tensor
    mean: Tensor
    square: Tensor
    column_order: Tensor
    row_z: Tensor
    row_p: Tensor
    row_mean: Tensor
    row_square: Tensor
    order: Tensor
    own: Tensor
    first: Tensor
    last: Tensor
    row_h: Tensor | None = None

    @property
    def alone(self) -> bool:
        """Whether all columns are rows."""
        return self.size.r == self.size.m


class Place(NamedTuple):
    """Where a tensor of `Rows` begins in `Rows.kept`: at value `offset` of its dtype."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def memory_layout(size: Size, operand: Operand) -> tuple[list[Place], int]:
    """The tensors in `Rows.kept`, and how many bytes they take."""
    float32, int32, int64 = torch.float32, torch.int32, torch.int64
    columns, rows = (size.groups, size.m), (size.groups, size.r)
    tensors: list[tuple[str, torch.dtype, tuple[int, ...]]] = [
        ("z", operand.dtype, (*columns, size.width)), ("h", operand.dtype, (*columns, size.width)),
        ("p", float32, (*columns, size.dim)), ("mean", float32, columns), ("square", float32, columns),
        ("column_order", int64, columns), ("own", int64, rows), ("first", int32, rows), ("last", int32, rows),
    ]  # fmt: skip
    if size.r != size.m:
        tensors += [
            ("row_z", operand.dtype, (*rows, size.width)), ("row_p", float32, (*rows, size.dim)),
            ("row_mean", float32, rows), ("row_square", float32, rows), ("order", int64, rows),
        ]  # fmt: skip
    places, end = [], 0
    for name, dtype, shape in tensors:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        places.append(Place(name, dtype, shape, strides, end // dtype.itemsize))
        end += -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    return places, end


# Bytes: with less, Triton would compile the kernels again, for pointers that it cannot load vectors from.
_ALIGNMENT = 16
_memory_layout = functools.lru_cache(memory_layout)  # for numbers: sizes that torch.compile leaves open have no hash


def restore(kept: Tensor, size: Size, operand: Operand) -> Rows:
    """The rows that lie in `Rows.kept`, without `row_h` where not all columns are rows."""
    of_dtype = {dtype: kept.view(dtype) for dtype in {operand.dtype, torch.float32, torch.int32, torch.int64}}
    tensors: dict[str, Tensor] = {
        place.name: of_dtype[place.dtype].as_strided(place.shape, place.strides, place.offset)
        for place in _memory_layout(size, operand)[0]
    }
    if size.r == size.m:
        names = ("z", "h", "p", "mean", "square")
        tensors |= {f"row_{name}": tensors[name] for name in names} | {"order": tensors["column_order"]}
    return Rows(size=size, kept=kept, **tensors)


def prepare(batch: Batch, patch_size: int, per_image: bool, constants: Constants, operand: Operand) -> Rows:
    """Rows and columns of images of any strides and float dtype."""
    hr = batch.hr
    columns = hr.shape[0] * math.prod(_patches(hr, patch_size))
    size = Size.of(batch.own, columns, patch_size, per_image, operand)
    rows = restore(hr.new_empty(_memory_layout(size, operand)[1], dtype=torch.uint8), size, operand)
    groups, m, r, dim, _ = size
    numbers = (patch_size, dim, operand.width, operand.rounded, constants.radius, scale_of(constants))
    means = torch.empty_like(rows.mean)
    _means_launch(_means_kernel, *_places(hr, patch_size), groups * m, dim, patch_size)({"hr": hr, "means": means})
    torch.sort(means, dim=1, stable=True, out=(rows.mean, rows.column_order))
    of_columns = {
        "sr": batch.sr, "hr": hr, "order": rows.column_order, "row_mean": rows.mean, "mean": rows.mean,
        "z": rows.z, "h": rows.h, "p_out": rows.p, "square": rows.square,
    }  # fmt: skip
    band = {"own": rows.own, "first": rows.first, "last": rows.last}
    if rows.alone:
        launch = _rows_launch(_rows_kernel, _places(hr, patch_size), batch.sr.stride(), groups * m, m, m, 0, *numbers)
        launch({**of_columns, **band, "position": None})
        return rows

    rows = replace(rows, row_h=torch.empty_like(rows.row_z))
    # The columns first, which note where each patch went; then the rows among them, in the same order.
    position = torch.empty_like(rows.column_order)
    launch = _rows_launch(_rows_kernel, _places(hr, patch_size), batch.sr.stride(), m, m, m, 0, *numbers)
    launch({**of_columns, **dict.fromkeys(band), "position": position})
    start = batch.start * (m // hr.shape[0])
    torch.sort(means[:, start : start + r], dim=1, stable=True, out=(rows.row_mean, rows.order))
    hr = hr[batch.start : batch.start + batch.own.shape[0]]
    launch = _rows_launch(_rows_kernel, _places(hr, patch_size), batch.own.stride(), r, r, m, start, *numbers)
    of_rows = {
        "sr": batch.own, "hr": hr, "order": rows.order, "row_mean": rows.row_mean, "mean": rows.mean,
        "z": rows.row_z, "h": rows.row_h, "p_out": rows.row_p, "square": rows.row_square,
    }  # fmt: skip
    launch({**of_rows, **band, "position": position})
    return rows


def scale_of(constants: Constants) -> float:
    """c, the factor in z' and h'."""
    return math.sqrt(math.log2(math.e) / (constants.t_neg if constants.inside else 1))


def sums_of(rows: Rows, positive: Tensor, negative: Tensor, constants: Constants) -> Tensor:
    """Qpos and Qneg, (2, G * r) in image order, of sums over exponentials: (G, r) and (splits, G, r)."""
    sums = positive.new_empty((2, positive.numel()))
    t_pos, t_neg = (1.0, 1.0) if constants.inside else (constants.t_pos, constants.t_neg)
    launch = _sums_launch(_sums_kernel, positive.numel(), positive.shape[1], negative.shape[0], t_pos, t_neg)
    launch({"positive": positive, "negative": negative, "order": rows.order, "sums": sums})
    return sums


def weights_of(rows: Rows, weights: Tensor, constants: Constants) -> list[Tensor]:
    """alpha / t_pos and beta / t_neg of the columns, (G, m) each, of `weights` (2, G * m) in image order.

    Where not all columns are rows, also those of the rows, (G, r) each.
    """
    groups, m, r, _, _ = rows.size
    found: list[Tensor] = []
    for count, own in ((m, None),) if rows.alone else ((m, None), (r, rows.own)):
        alpha, beta = (weights.new_empty((groups, count)) for _ in "ab")
        launch = _weights_launch(_weights_kernel, groups * count, groups * m, m, constants.t_pos, constants.t_neg)
        launch({"weights": weights, "order": rows.column_order, "own": own, "alpha": alpha, "beta": beta})
        found += (alpha, beta)
    return found


def to_images(dz: Tensor, order: Tensor, own: Tensor, patch_size: int) -> Tensor:
    """Parts of dL/dz, (splits, G, r, D) in the order of `Rows.order`, to be added up -> dL/down, as `own` is laid out.

        dL/dq = (g - (g . z) z) / |q|        g = dL/dz

    Pixels that no patch covers are zero.
    """
    covered = own.shape[2] % patch_size == own.shape[3] % patch_size == 0
    images = torch.empty_like(own) if covered else torch.zeros_like(own)
    launch = _images_launch(
        _images_kernel,
        *_places(own, patch_size),
        images.stride(),
        order.numel(),
        order.shape[1],
        dz.shape[0],
        dz.shape[-1],
        patch_size,
    )
    launch({"dz": dz, "sr": own, "order": order, "images": images})
    return images


def _patches(images: Tensor, patch_size: int) -> tuple[int, int]:
    """Patches in a column and in a row of an image."""
    return images.shape[2] // patch_size, images.shape[3] // patch_size


def _places(images: Tensor, patch_size: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Where patches lie: how many in a column and in a row of an image, and the strides of the images."""
    return _patches(images, patch_size), images.stride()


@functools.lru_cache
def _means_launch(
    kernel: Any, patches: tuple[int, int], strides: tuple[int, ...], n: int, dim: int, patch_size: int
) -> Launch:
    numbers = {"n": n, "D": dim, "P": patch_size, **_layout(patches, strides)}
    return _of_blocks(kernel, n, dim, numbers)


@functools.lru_cache
def _rows_launch(
    kernel: Any,
    places: tuple[tuple[int, int], tuple[int, ...]],
    sr_strides: tuple[int, ...],
    n: int,
    r: int,
    m: int,
    start: int,
    patch_size: int,
    dim: int,
    width: int,
    rounded: int,
    radius: float,
    scale: float,
) -> Launch:
    numbers = {
        "n": n, "r": r, "m": m, "start": start, "highest": 1 << m.bit_length() - 1, "c_bits": bits_of(scale),
        "band": radius / math.sqrt(dim), "D": dim, "PADDED": width, "P": patch_size, "ROUNDED": rounded,
        **_layout(*places), **_strides("sr_stride", sr_strides),
    }  # fmt: skip
    return _of_blocks(kernel, n, width, numbers)


@functools.lru_cache
def _sums_launch(kernel: Any, n: int, r: int, splits: int, t_pos: float, t_neg: float) -> Launch:
    numbers = {"n": n, "r": r, "splits": splits, "t_pos": t_pos, "t_neg": t_neg, "BLOCK": LONG_BLOCK}
    return Launch(kernel, triton.cdiv(n, LONG_BLOCK), numbers, _OPTIONS)


@functools.lru_cache
def _weights_launch(kernel: Any, n: int, columns: int, m: int, t_pos: float, t_neg: float) -> Launch:
    numbers = {"n": n, "columns": columns, "m": m, "t_pos": t_pos, "t_neg": t_neg, "BLOCK": LONG_BLOCK}
    return Launch(kernel, triton.cdiv(n, LONG_BLOCK), numbers, _OPTIONS)


@functools.lru_cache
def _images_launch(
    kernel: Any,
    patches: tuple[int, int],
    sr_strides: tuple[int, ...],
    strides: tuple[int, ...],
    n: int,
    r: int,
    splits: int,
    dim: int,
    patch_size: int,
) -> Launch:
    numbers = {
        "n": n, "r": r, "splits": splits, "D": dim, "P": patch_size,
        **_layout(patches, strides), **_strides("sr_stride", sr_strides),
    }  # fmt: skip
    return _of_blocks(kernel, n, dim, numbers)


def _layout(patches: tuple[int, int], strides: Iterable[int]) -> dict[str, int]:
    return {"height": patches[0], "width": patches[1], **_strides("stride", strides)}


def _strides(name: str, strides: Iterable[int]) -> dict[str, int]:
    return {f"{name}_{axis}": stride for axis, stride in zip("bchw", strides, strict=True)}


_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


def _of_blocks(kernel: Any, n: int, dim: int, numbers: dict[str, Any]) -> Launch:
    rows, columns = block_of(dim)
    return Launch(kernel, triton.cdiv(n, rows), {**numbers, "ROWS": rows, "COLUMNS": columns}, _OPTIONS)


def block_of(dim: int) -> tuple[int, int]:
    """The block of a program of the kernels here, for rows of that many values: (rows, columns)."""
    columns = triton.next_power_of_2(dim)
    return max(1, (_VALUES if columns <= 256 else _VALUES // 2) // columns), columns


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


@triton.jit(do_not_specialize=["n", "r", "m", "height", "width", "start", "highest", "c_bits"])
def _rows_kernel(
    sr, hr, order, row_mean, mean, position, z, h, p_out, square, own, first, last, n, r, m, height, width,
    stride_b, stride_c, stride_h, stride_w, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w,
    start, highest, c_bits: tl.int64, band: tl.float32, D: tl.constexpr, PADDED: tl.constexpr, P: tl.constexpr,
    ROUNDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """n rows in groups of r, among columns in groups of m, whose means are `mean`; or columns alone, without `own`.

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
    c = float64_of(c_bits)
    q_unit, p_unit = _unit(q.to(tl.float64), c), _unit(p.to(tl.float64), c)
    padded = valid[:, None] & (d < PADDED)[None, :]
    tl.store(z + row[:, None] * PADDED + d[None, :], _rounded(q_unit, ROUNDED), mask=padded)
    tl.store(h + row[:, None] * PADDED + d[None, :], _rounded(p_unit, ROUNDED), mask=padded)

    if own is None:
        tl.store(position + patch, row, mask=valid)
    else:
        column = row
        if position is not None:
            column = tl.load(position + start + patch, mask=valid, other=0)
        tl.store(own + i, column, mask=valid)
        # |p_i - p_j| >= sqrt(D) |mean_i - mean_j|. Both means are off by half an ulp, and so are these bounds.
        width_of_band = band * (1 + 1e-5)
        margin = 4.76837158203125e-07 * (tl.abs(center) + width_of_band)
        lower, upper = center - width_of_band - margin, center + width_of_band + margin
        begin, end = _position(mean + group * m, lower, upper, m, highest)
        finite = tl.abs(center) < float("inf")  # otherwise every column, so that the rows beside it keep their band
        tl.store(first + i, tl.where(finite, begin, 0), mask=valid)
        tl.store(last + i, tl.where(finite, end, m), mask=valid)


@triton.jit
def _unit(rows, c):
    norm = tl.sqrt(tl.sum(rows * rows, 1))
    return (rows * (c / tl.where(norm == 0, 1.0, norm))[:, None]).to(tl.float32)


@triton.jit
def _rounded(x, ROUNDED: tl.constexpr):
    return tl.where(x == x, round_bits(x, ROUNDED), x)  # a NaN stays one


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


@triton.jit(do_not_specialize=["n", "r", "splits"])
def _sums_kernel(
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
def _weights_kernel(
    weights, order, own, alpha, beta, n, columns, m, t_pos: tl.float32, t_neg: tl.float32, BLOCK: tl.constexpr
):  # fmt: skip
    """Of n columns; or of n rows, which are columns `own`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < n
    column = i
    if own is not None:
        column = tl.load(own + i, mask=valid, other=0).to(tl.int32)
    patch = column // m * m + tl.load(order + column, mask=valid, other=0).to(tl.int32)
    tl.store(alpha + i, tl.load(weights + patch, mask=valid, other=0.0) / t_pos, mask=valid)
    tl.store(beta + i, tl.load(weights + columns + patch, mask=valid, other=0.0) / t_neg, mask=valid)


@triton.jit(do_not_specialize=["n", "r", "splits", "height", "width"])
def _images_kernel(
    dz, sr, order, images, n, r, splits, height, width, stride_b, stride_c, stride_h, stride_w,
    sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w,
    D: tl.constexpr, P: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = i < n
    d = tl.arange(0, COLUMNS)
    inside = valid[:, None] & (d < D)[None, :]
    patch = i // r * r + tl.load(order + i, mask=valid, other=0).to(tl.int32)
    # In float64: g lies mostly along z, and what is left of it is small. z comes from q itself, since z' is rounded.
    q = tl.load(sr + _pixels(patch, d, height, width, sr_stride_b, sr_stride_c, sr_stride_h, sr_stride_w, P),
                mask=inside, other=0.0).to(tl.float64)  # fmt: skip
    square = tl.sum(q * q, 1)
    norm = tl.sqrt(square).to(tl.float32)
    inverse = 1 / tl.where(norm == 0, 1.0, norm)
    inverse = tl.where((norm == 0) | (inverse == float("inf")), 0.0, inverse)
    part = dz + i.to(tl.int64)[:, None] * D + d[None, :]
    total = tl.load(part, mask=inside, other=0.0)
    for _ in range(1, splits):
        part += tl.cast(n, tl.int64) * D
        total += tl.load(part, mask=inside, other=0.0)
    g = total.to(tl.float64)
    along = tl.sum(g * q, 1) / tl.where(square == 0, 1.0, square)
    pixels = _pixels(patch, d, height, width, stride_b, stride_c, stride_h, stride_w, P)
    tl.store(images + pixels, ((g - along[:, None] * q) * inverse[:, None]).to(tl.float32), mask=inside)
