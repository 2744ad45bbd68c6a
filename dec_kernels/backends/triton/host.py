"""The host's side of the kernels: it plans launches, allocates what they write, and starts them.

A plan depends on nothing but numbers, and is kept: what a step does not have to find out again. With columns of other
processes some kernels around the walks are launched twice: for the columns, and for the rows among them.
"""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from dec_kernels.backends.triton import AUTOTUNE, far, layout, tiles, tune
from dec_kernels.backends.triton.kernels.backward import backward_band, backward_plain
from dec_kernels.backends.triton.kernels.forward import forward_band, forward_plain
from dec_kernels.backends.triton.kernels.prepare import (
    images_kernel,
    means_kernel,
    rows_kernel,
    sums_kernel,
    weights_kernel,
)
from dec_kernels.backends.triton.layout import PreparedRows, Size, patches_in
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants


class Host:
    """The host of one kind of device.

    Args:
        architecture: as the tile table has it.
        multiprocessors: of the device.
    """

    def __init__(self, architecture: str, multiprocessors: int) -> None:
        self.architecture, self.multiprocessors = architecture, multiprocessors
        self.tuned: dict[tuple[int, str], tiles.Tiles] = {}  # by width and precision

    def prepare(self, batch: Batch, patch_size: int, per_image: bool, constants: Constants) -> PreparedRows:
        """Rows and columns of images of any strides and float dtype, as `Backend.prepare`."""
        with current_device(batch.sr):
            columns = batch.hr.shape[0] * math.prod(patches_in(batch.hr, patch_size))
            size = Size.of(batch.own, columns, patch_size, per_image, constants, self.architecture)
            rows = _prepare(batch, patch_size, constants, size)
            if rows.far:
                far.fill_in_(rows, rows.far, constants)
            return rows

    def forward(self, rows: PreparedRows, constants: Constants) -> Tensor:
        """Qpos and Qneg, (2, G * r) in image order, as `Backend.forward`."""
        with current_device(rows.z):
            positive, negative = self.forward_in(self.tiles_for(rows, constants), rows, constants)
            return _sums(rows, positive, negative, constants)

    def backward(self, rows: PreparedRows, constants: Constants, weights: Tensor) -> Tensor:
        """Parts of dL/dz, (splits, G, r, D), for alpha and beta (2, G * m) in image order, as `Backend.backward`."""
        with current_device(rows.z):
            of_columns, of_rows = _weights(rows, weights, constants)
            return self.backward_in(self.tiles_for(rows, constants), rows, constants, of_columns, of_rows)

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int, constants: Constants) -> Tensor:
        """Parts of dL/dz, (splits, G, r, D), to be added up -> dL/down, as `Backend.to_images`.

        It is what `dec_kernels.patches.Patches.project_` says. Pixels that no patch covers are zero.
        """
        with current_device(own):
            covered = own.shape[2] % patch_size == own.shape[3] % patch_size == 0
            images = torch.empty_like(own) if covered else torch.zeros_like(own)
            launch = _images_launch(
                patches_in(own, patch_size),
                own.stride(),
                images.stride(),
                order.numel(),
                order.shape[1],
                gradients.shape[0],
                gradients.shape[-1],
                patch_size,
                constants.floor,
                constants.center,
            )
            launch(gradients, own, order, images)
            return images

    def tiles_for(self, rows: PreparedRows, constants: Constants) -> tiles.Tiles:
        """Of the table, or, where the environment asks for it, measured once with such rows."""
        width = rows.size.operand.width
        if os.environ.get(AUTOTUNE) != "1":
            return tiles.tiles_for(self.architecture, width, constants.precision)
        if (width, constants.precision) not in self.tuned:
            without_landmarks = replace(rows, far=None)  # where the plain kernels run as well
            self.tuned[width, constants.precision] = tune.fastest(self, without_landmarks, constants)
        return self.tuned[width, constants.precision]

    def forward_in(self, chosen: tiles.Tiles, rows: PreparedRows, constants: Constants) -> tuple[Tensor, Tensor]:
        """Sums of exponentials in some tiles, not yet over t.

        Returns:
            Those of positives, (G, r), and parts of those of negatives, (splits, G, r).
        """
        walks = forward_walks(rows.size, constants, self.architecture, self.multiprocessors, chosen)
        positive = rows.mean.new_empty(rows.order.shape)
        if rows.far:
            negative = far.sums(rows, rows.far)[None]
        else:
            negative = rows.mean.new_empty((walks.splits, *rows.order.shape))
            walks.plain(rows.row_z, rows.row_h, rows.z, rows.first, rows.last, negative)
        walks.band(
            rows.row_z, rows.row_h, rows.row_p, rows.row_mean, rows.row_square, rows.column_of_row, rows.z, rows.p,
            rows.mean, rows.square, rows.first, rows.last, positive, negative,
        )  # fmt: skip
        return positive, negative

    def backward_in(
        self, chosen: tiles.Tiles, rows: PreparedRows, constants: Constants, of_columns: Weights, of_rows: Weights
    ) -> Tensor:
        """Parts of dL/dz in some tiles, (splits, G, r, D)."""
        walks = backward_walks(rows.size, constants, self.architecture, self.multiprocessors, chosen)
        (alpha, beta), (row_alpha, row_beta) = of_columns, of_rows
        if rows.far:
            dz = far.gradient(rows, rows.far, constants.precision, beta, 1 / constants.scale)[None]
        else:
            dz = rows.mean.new_empty((walks.splits, *rows.order.shape, rows.size.dim))
            walks.plain(rows.row_z, row_beta, rows.z, rows.h, rows.first, rows.last, beta, dz)
        walks.band(
            rows.row_z, rows.row_p, rows.row_mean, rows.row_square, row_alpha, row_beta, rows.column_of_row, rows.z,
            rows.h, rows.p, rows.mean, rows.square, rows.first, rows.last, alpha, beta, dz,
        )  # fmt: skip
        return dz


def current_device(tensor: Tensor) -> torch.cuda.device:
    """Triton launches on the current device; -1 leaves it as it is."""
    return torch.cuda.device(tensor.device if tensor.is_cuda else -1)


class Launch:
    """A kernel with its grid and all of its arguments but the tensors.

    Arguments go by position, which Triton binds faster than keywords.

    Args:
        kernel: a function under `triton.jit`, which takes tensors first and then numbers.
        programs: in the grid.
        numbers: name -> value of every argument that is no tensor.
        options: of the compiler.

    Raises:
        TypeError: the kernel's last arguments are others than `numbers`.
    """

    def __init__(self, kernel: Any, programs: int, numbers: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        last = kernel.arg_names[len(kernel.arg_names) - len(numbers) :]
        if set(last) != set(numbers):
            wrong = sorted(set(last) ^ set(numbers))
            raise TypeError(f"{kernel} takes {', '.join(last)} after its tensors; not the same in both: {wrong}")
        self.programs = programs
        self._start, self._options = kernel[(programs,)], dict(options)
        self._numbers = tuple(numbers[name] for name in last)

    def __call__(self, *tensors: Tensor | None) -> None:
        """Starts the kernel with its tensors, in its own order."""
        self._start(*tensors, *self._numbers, **self._options)


# The kernels around the walks

_VALUES = 2048  # of a block of rows in these kernels; half of it for wide rows, which would spill registers
LONG_BLOCK = 256  # of a block in those for one or two numbers a row
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}

Weights = tuple[Tensor, Tensor]  # alpha / t_pos and beta / t_neg, in sorted order


def _prepare(batch: Batch, patch_size: int, constants: Constants, size: Size) -> PreparedRows:
    hr, (groups, m, r, dim, operand) = batch.hr, size[:5]
    rows = layout.allocate(hr, size)
    numbers = (
        patch_size, dim, operand.width, operand.rounded, constants.radius, constants.scale, constants.floor,
        constants.center,
    )  # fmt: skip
    patches, means = patches_in(hr, patch_size), torch.empty_like(rows.mean)
    _means_launch(patches, hr.stride(), groups * m, dim, patch_size)(hr, means)
    torch.sort(means, dim=1, stable=True, out=(rows.mean, rows.column_order))
    of_columns = batch.sr, hr, rows.column_order, rows.mean, rows.mean
    columns = rows.z, rows.h, rows.p, rows.square
    if rows.alone:
        launch = _rows_launch(patches, hr.stride(), batch.sr.stride(), groups * m, m, m, 0, *numbers)
        launch(*of_columns, None, *columns, rows.column_of_row, rows.first, rows.last)
        return rows

    # The columns first, which note where each patch went; then the rows among them, in the same order.
    position = torch.empty_like(rows.column_order)
    launch = _rows_launch(patches, hr.stride(), batch.sr.stride(), m, m, m, 0, *numbers)
    launch(*of_columns, position, *columns, None, None, None)
    row_h, start = torch.empty_like(rows.row_z), batch.start * (m // hr.shape[0])
    torch.sort(means[:, start : start + r], dim=1, stable=True, out=(rows.row_mean, rows.order))
    hr = hr[batch.start : batch.start + batch.own.shape[0]]
    launch = _rows_launch(patches, hr.stride(), batch.own.stride(), r, r, m, start, *numbers)
    launch(
        batch.own, hr, rows.order, rows.row_mean, rows.mean, position, rows.row_z, row_h, rows.row_p, rows.row_square,
        rows.column_of_row, rows.first, rows.last,
    )  # fmt: skip
    return replace(rows, row_h=row_h)


def _sums(rows: PreparedRows, positive: Tensor, negative: Tensor, constants: Constants) -> Tensor:
    """Qpos and Qneg, (2, G * r) in image order, of sums over exponentials: (G, r) and (splits, G, r)."""
    sums = positive.new_empty((2, positive.numel()))
    t_pos, t_neg = (1.0, 1.0) if constants.inside else (constants.t_pos, constants.t_neg)
    launch = _sums_launch(positive.numel(), positive.shape[1], negative.shape[0], t_pos, t_neg)
    launch(positive, negative, rows.order, sums)
    return sums


def _weights(rows: PreparedRows, weights: Tensor, constants: Constants) -> tuple[Weights, Weights]:
    """Of the columns, (G, m) each, and of the rows, (G, r) each, of `weights` (2, G * m) in image order."""
    groups, m, r, *_ = rows.size

    def sorted_(count: int, column_of_row: Tensor | None) -> Weights:
        alpha, beta = (weights.new_empty((groups, count)) for _ in "ab")
        launch = _weights_launch(groups * count, groups * m, m, constants.t_pos, constants.t_neg)
        launch(weights, rows.column_order, column_of_row, alpha, beta)
        return alpha, beta

    of_columns = sorted_(m, None)
    return of_columns, of_columns if rows.alone else sorted_(r, rows.column_of_row)


def bits_of(number: float) -> int:
    """A float64 as an int64, for `kernels.arithmetic.float64_of`."""
    bits: int = struct.unpack("q", struct.pack("d", number))[0]
    return bits


@functools.lru_cache
def _means_launch(patches: tuple[int, int], strides: tuple[int, ...], n: int, dim: int, patch_size: int) -> Launch:
    numbers = {"n": n, "D": dim, "P": patch_size, **_grid(patches), **_strides("stride", strides)}
    return _in_blocks(means_kernel, n, dim, numbers)


@functools.lru_cache
def _rows_launch(
    patches: tuple[int, int],
    strides: tuple[int, ...],
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
    floor: float,
    center: bool,
) -> Launch:
    numbers: dict[str, Any] = {
        "n": n, "r": r, "m": m, "start": start, "highest": 1 << m.bit_length() - 1, "c_bits": bits_of(scale),
        "floor_bits": bits_of(floor), "band": radius / math.sqrt(dim), "D": dim, "PADDED": width, "P": patch_size,
        "ROUNDED": rounded, "CENTER": center,
        **_grid(patches), **_strides("stride", strides), **_strides("sr_stride", sr_strides),
    }  # fmt: skip
    return _in_blocks(rows_kernel, n, width, numbers)


@functools.lru_cache
def _sums_launch(n: int, r: int, splits: int, t_pos: float, t_neg: float) -> Launch:
    numbers = {"n": n, "r": r, "splits": splits, "t_pos": t_pos, "t_neg": t_neg, "BLOCK": LONG_BLOCK}
    return Launch(sums_kernel, triton.cdiv(n, LONG_BLOCK), numbers, _OPTIONS)


@functools.lru_cache
def _weights_launch(n: int, columns: int, m: int, t_pos: float, t_neg: float) -> Launch:
    numbers = {"n": n, "columns": columns, "m": m, "t_pos": t_pos, "t_neg": t_neg, "BLOCK": LONG_BLOCK}
    return Launch(weights_kernel, triton.cdiv(n, LONG_BLOCK), numbers, _OPTIONS)


@functools.lru_cache
def _images_launch(
    patches: tuple[int, int],
    sr_strides: tuple[int, ...],
    strides: tuple[int, ...],
    n: int,
    r: int,
    splits: int,
    dim: int,
    patch_size: int,
    floor: float,
    center: bool,
) -> Launch:
    numbers: dict[str, Any] = {
        "n": n, "r": r, "splits": splits, "floor_bits": bits_of(floor), "D": dim, "P": patch_size, "CENTER": center,
        **_grid(patches), **_strides("stride", strides), **_strides("sr_stride", sr_strides),
    }  # fmt: skip
    return _in_blocks(images_kernel, n, dim, numbers)


def _grid(patches: tuple[int, int]) -> dict[str, int]:
    return {"height": patches[0], "width": patches[1]}


def _strides(name: str, strides: Iterable[int]) -> dict[str, int]:
    return {f"{name}_{axis}": stride for axis, stride in zip("bchw", strides, strict=True)}


def _in_blocks(kernel: Any, n: int, dim: int, numbers: dict[str, Any]) -> Launch:
    rows, columns = block_of(dim)
    return Launch(kernel, triton.cdiv(n, rows), {**numbers, "ROWS": rows, "COLUMNS": columns}, _OPTIONS)


def block_of(dim: int) -> tuple[int, int]:
    """The block of a program of the kernels around the walks, for rows of that many values: (rows, columns)."""
    columns: int = triton.next_power_of_2(dim)
    return max(1, (_VALUES if columns <= 256 else _VALUES // 2) // columns), columns


# The walks


class Walks(NamedTuple):
    """The launches of the forward or of the backward.

    Attributes:
        splits: into how many parts the walk of a block of rows is cut in the plain kernel.
        plain: for the tiles without positives, unless `far` does without them.
        band: for the others; it adds to the first part of what was written.
    """

    splits: int
    plain: Launch
    band: Launch


@functools.lru_cache(maxsize=1024)
def forward_walks(
    size: Size, constants: Constants, architecture: str, multiprocessors: int, chosen: tiles.Tiles
) -> Walks:
    """Those of the forward for rows of a size, in some tiles."""
    tile, band_tile, width = chosen.forward, chosen.forward_band, size.operand.width
    shape = tiles.shape_of(width, constants.precision, architecture)
    blocks = -(-size.r // tile.rows)
    splits = tiles.splits_of(tile, size.groups * blocks, size.m, multiprocessors)
    numbers: dict[str, Any] = {
        "r": size.r, "m": size.m, "blocks": blocks, "splits": splits,
        **_only(shape, "CHUNKS", "CHUNK", "RESIDENT", "PRODUCT", "ASYNCHRONOUS"),
        "ROWS": tile.rows, "COLUMNS": tile.columns,
        "POLYNOMIAL": tile.polynomial and tiles.takes_polynomial(constants.precision, constants.inside),
    }  # fmt: skip
    plain = Launch(forward_plain, size.groups * blocks * splits, numbers, _options(tile))

    shape = tiles.shape_of(width, constants.precision, architecture, band=True)
    blocks = -(-size.r // band_tile.rows)
    numbers = {
        "r": size.r, "m": size.m, "blocks": blocks, **_mask_numbers(constants), "D": size.dim,
        **_only(shape, "CHUNKS", "CHUNK", "PRODUCT"),
        "COLUMNS": tile.columns, "BAND_ROWS": band_tile.rows, "STRIP": band_tile.columns,
    }  # fmt: skip
    return Walks(splits, plain, Launch(forward_band, size.groups * blocks, numbers, _options(band_tile)))


@functools.lru_cache(maxsize=1024)
def backward_walks(
    size: Size, constants: Constants, architecture: str, multiprocessors: int, chosen: tiles.Tiles
) -> Walks:
    """Those of the backward for rows of a size, in some tiles."""
    tile, band_tile, width = chosen.backward, chosen.backward_band, size.operand.width
    shape = tiles.shape_of(width, constants.precision, architecture)
    blocks = -(-size.r // tile.rows)
    programs = size.groups * blocks * tiles.shares_of(shape)
    splits = tiles.splits_of(tile, programs, size.m, multiprocessors)
    numbers: dict[str, Any] = {
        "r": size.r, "m": size.m, "blocks": blocks, "splits": splits, "scale": 1 / constants.scale, "D": size.dim,
        **_only(shape, "CHUNKS", "CHUNK", "OWNED", "RESIDENT", "PRODUCT", "ASYNCHRONOUS", "ROUNDED"),
        "ROWS": tile.rows, "COLUMNS": tile.columns,
    }  # fmt: skip
    plain = Launch(backward_plain, programs * splits, numbers, _options(tile))

    shape = tiles.shape_of(width, constants.precision, architecture, band=True)
    blocks = -(-size.r // band_tile.rows)
    numbers = {
        "r": size.r, "m": size.m, "blocks": blocks, **_mask_numbers(constants), "scale": 1 / constants.scale,
        "D": size.dim, **_only(shape, "CHUNKS", "CHUNK", "OWNED", "PRODUCT", "ROUNDED"),
        "COLUMNS": tile.columns, "BAND_ROWS": band_tile.rows, "STRIP": band_tile.columns,
    }  # fmt: skip
    programs = size.groups * blocks * tiles.shares_of(shape)
    return Walks(splits, plain, Launch(backward_band, programs, numbers, _options(band_tile)))


def _only(shape: Mapping[str, int | str], *names: str) -> dict[str, int | str]:
    return {name: shape[name] for name in names}


def _mask_numbers(constants: Constants) -> dict[str, int | float]:
    return {
        "limit_bits": bits_of(constants.radius * constants.radius),
        "positive_ratio": constants.t_neg / constants.t_pos if constants.inside else 1.0,
    }


def _options(tile: tiles.Tile) -> dict[str, Any]:
    return {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
