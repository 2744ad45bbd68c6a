"""The fused Triton kernels: nothing of size n x n is ever stored, and every row's results have one owner: no atomics.

`rows` brings images into the kernels' rows and gradients back; `forward_kernels` and `backward_kernels` hold a kernel
for the tiles without positives and one for the band, `walk` what these share; `tiles` says in which blocks they run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants

if TYPE_CHECKING:
    from dec_kernels.backends.triton.rows import Launch, Operand, Rows, Size


WIDTHS = tiles.WIDTHS


class Triton:
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
        found = []
        if not installed():
            found.append(
                "Triton is not installed; CUDA builds of PyTorch for Linux bring it along, or pip install triton"
            )
        elif (text := version()) and numbers_of(text) < (oldest := tiles.oldest_triton(architecture(device))):
            found.append(f"its kernels take Triton {_dotted(oldest)}, and this is {text}")
        if device.type == "cuda":
            if torch.version.hip:
                found.append("its tiles are made for CUDA devices, not for ROCm")
            elif (capability := torch.cuda.get_device_capability(device)) < (8, 0):
                found.append(f"it takes compute capability 8.0, and {device} has {_dotted(capability)}")
        elif not (device.type == "cpu" and _interpreted()):
            found.append(
                f"it runs on CUDA devices, not on {device.type} (or on the CPU, slowly, with TRITON_INTERPRET=1)"
            )
        if dtype == torch.float64:
            found.append("it computes in float32, and float64 images ask for float64")
        if dim > WIDTHS[-1]:
            found.append(f"its rows hold at most {WIDTHS[-1]} values, and these patches have more")
        return found

    def prepare(self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype) -> Rows:
        from dec_kernels.backends.triton import rows

        operand = _operand(batch.own, patch_size, constants)
        with rows.current_device(batch.sr):
            return rows.prepare(batch, patch_size, per_image, constants, operand)

    def kept_bytes(self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants) -> int:
        from dec_kernels.backends.triton import rows

        operand = _operand(own, patch_size, constants)
        return rows.memory_layout(rows.Size.of(own, columns, patch_size, per_image, operand), operand)[1]

    def restore(
        self, kept: Tensor, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants
    ) -> Rows:
        from dec_kernels.backends.triton import rows

        operand = _operand(own, patch_size, constants)
        return rows.restore(kept, rows.Size.of(own, columns, patch_size, per_image, operand), operand)

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int) -> Tensor:
        from dec_kernels.backends.triton import rows

        with rows.current_device(own):
            return rows.to_images(gradients, order, own, patch_size)

    def forward(self, rows: Rows, constants: Constants) -> Tensor:
        from dec_kernels.backends.triton.rows import current_device, sums_of

        with current_device(rows.z):
            return sums_of(rows, *forward_in(_tiles(rows, constants), rows, constants), constants)

    def backward(self, rows: Rows, constants: Constants, weights: Tensor) -> Tensor:
        from dec_kernels.backends.triton.rows import current_device, weights_of

        with current_device(rows.z):
            return backward_in(_tiles(rows, constants), rows, constants, *weights_of(rows, weights, constants))


BACKEND = Triton()


def crossover(device: torch.device, width: int, precision: str) -> int | None:
    """The number of columns in a group from which C++ was measured to be faster; None if there is no such number."""
    return tiles.CROSSOVER.get((architecture(device), width, precision))


def forward_in(chosen: tiles.Tiles, rows: Rows, constants: Constants) -> tuple[Tensor, Tensor]:
    """Sums of exponentials, not yet over t: of positives, (G, r), and parts of those of negatives, (splits, G, r)."""
    from dec_kernels.backends.triton.forward_kernels import forward_band, forward_plain

    splits = _splits(rows, chosen.forward, shares=1)
    positive, negative = rows.mean.new_empty(rows.order.shape), rows.mean.new_empty((splits, *rows.order.shape))
    tensors = {**vars(rows), "positive": positive, "negative": negative}
    _launch(forward_plain, rows, constants, chosen.forward, chosen.forward, splits)(tensors)
    _launch(forward_band, rows, constants, chosen.forward, chosen.forward_band, 1)(tensors)
    return positive, negative


def backward_in(
    chosen: tiles.Tiles, rows: Rows, constants: Constants, alpha: Tensor, beta: Tensor, *of_rows: Tensor
) -> Tensor:
    """Parts of dL/dz, (splits, G, r, D), for alpha / t_pos and beta / t_neg of the columns, (G, m) each.

    Where not all columns are rows, `of_rows` are those of the rows, (G, r) each.
    """
    from dec_kernels.backends.triton.backward_kernels import backward_band, backward_plain

    shares = _shares(backward_plain, tiles.shape_of(rows.size.width, constants.precision, architecture(rows.z.device)))
    splits = _splits(rows, chosen.backward, shares)
    dz = rows.mean.new_empty((splits, *rows.order.shape, rows.size.dim))
    row_alpha, row_beta = of_rows or (alpha, beta)
    tensors = {
        **vars(rows), "alpha": alpha, "beta": beta, "row_alpha": row_alpha, "row_beta": row_beta, "dz": dz
    }  # fmt: skip
    _launch(backward_plain, rows, constants, chosen.backward, chosen.backward, splits)(tensors)
    _launch(backward_band, rows, constants, chosen.backward, chosen.backward_band, 1)(tensors)
    return dz


def _launch(
    kernel: Any, rows: Rows, constants: Constants, plain: tiles.Tile, tile: tiles.Tile, splits: int
) -> Launch:  # fmt: skip
    """`kernel` in tiles of `tile`, for such rows."""
    return _planned(kernel, rows.size, constants, rows.z.device, plain, tile, splits)


@functools.lru_cache(maxsize=1024)
def _planned(
    kernel: Any,
    size: Size,
    constants: Constants,
    device: torch.device,
    plain: tiles.Tile,
    tile: tiles.Tile,
    splits: int,
) -> Launch:
    from dec_kernels.backends.triton.rows import Launch, bits_of, scale_of

    blocks = -(-size.r // tile.rows)
    shape = tiles.shape_of(size.width, constants.precision, architecture(device), "STRIP" in kernel.arg_names)
    numbers = {
        **shape, "r": size.r, "m": size.m, "blocks": blocks, "splits": splits, "D": size.dim,
        "limit_bits": bits_of(constants.radius * constants.radius),
        "positive_ratio": constants.t_neg / constants.t_pos if constants.inside else 1.0,
        "scale": 1 / scale_of(constants),
        "ROWS": plain.rows, "COLUMNS": plain.columns, "BAND_ROWS": tile.rows, "STRIP": tile.columns,
        "POLYNOMIAL": plain.polynomial and tiles.takes_polynomial(constants.precision, constants.inside),
    }  # fmt: skip
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
    return Launch(kernel, size.groups * blocks * splits * _shares(kernel, shape), numbers, options)


def _operand(own: Tensor, patch_size: int, constants: Constants) -> Operand:
    from dec_kernels.backends.triton.rows import Operand

    width = tiles.width_of(own.shape[1] * patch_size**2)
    rounded = int(tiles.shape_of(width, constants.precision, architecture(own.device))["ROUNDED"])
    bf16 = constants.precision == "bf16" and not rounded
    return Operand(width, torch.bfloat16 if bf16 else torch.float32, rounded)


def _tiles(rows: Rows, constants: Constants) -> tiles.Tiles:
    key = architecture(rows.z.device), rows.size.width, constants.precision
    if os.environ.get(AUTOTUNE) != "1":
        return tiles.tiles_for(*key)
    if key not in _tuned:
        from dec_kernels.backends.triton import tune

        _tuned[key] = tune.fastest(rows, constants)
    return _tuned[key]


# With "1" in the environment, the first call of each architecture, width and precision measures candidates, at its own
# number of rows, instead of trusting the table.
AUTOTUNE = "DEC_KERNELS_AUTOTUNE"
_tuned: dict[tuple[str, int, str], tiles.Tiles] = {}


def _shares(kernel: Any, shape: dict[str, int | str]) -> int:
    """How many programs share the dz of a block of rows."""
    return int(shape["CHUNKS"]) // int(shape["OWNED"]) if "OWNED" in kernel.arg_names else 1


def _splits(rows: Rows, tile: tiles.Tile, shares: int) -> int:
    """Into how many parts the walk of a block of rows is cut."""
    groups, m, r, _, _ = rows.size
    return tiles.splits_of(tile, groups * -(-r // tile.rows) * shares, m, _multiprocessors(rows.z.device))


@functools.cache
def installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def version() -> str | None:
    """Of Triton; None where it is not installed, or not as a package."""
    for package in ("triton", "pytorch-triton"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def numbers_of(version: str) -> tuple[int, ...]:
    """The first two."""
    return tuple(map(int, version.split(".")[:2]))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def architecture(device: torch.device) -> str:
    """The name in the tile table for a CUDA device; for all others the interpreter's."""
    if device.type != "cuda":
        return tiles.INTERPRETER
    return tiles.architecture_of(torch.cuda.get_device_capability(device))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return 2 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count
