"""The fused Triton kernels: nothing of size n x n is ever stored, and every row's results have one owner: no atomics.

`rows` brings images into the kernels' rows and gradients back; `forward_kernels` and `backward_kernels` hold a kernel
for the tiles without positives and one for the band, `walk` what these share; `tiles` says in which blocks they run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import math
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants

if TYPE_CHECKING:
    from dec_kernels.backends.triton.rows import Rows


OLDEST = (3, 6)


def reasons(device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
    found = []
    if importlib.util.find_spec("triton") is None:
        found.append("Triton is not installed; CUDA builds of PyTorch for Linux bring it along, or pip install triton")
    elif (text := version()) and tuple(map(int, text.split(".")[:2])) < OLDEST:
        found.append(f"its kernels take Triton {_dotted(OLDEST)}, as PyTorch 2.11 has it, and this is {text}")
    if device.type == "cuda":
        if torch.version.hip:
            found.append("its tiles are made for CUDA devices, not for ROCm")
        elif (capability := torch.cuda.get_device_capability(device)) < (8, 0):
            found.append(f"it takes compute capability 8.0, and {device} has {_dotted(capability)}")
    elif not (device.type == "cpu" and _interpreted()):
        found.append(f"it runs on CUDA devices, not on {device.type} (or on the CPU, slowly, with TRITON_INTERPRET=1)")
    if dtype == torch.float64:
        found.append("it computes in float32, and float64 images ask for float64")
    if dim > tiles.WIDTHS[-1]:
        found.append(f"its rows hold at most {tiles.WIDTHS[-1]} values, and these patches have {dim}")
    return found


def loses_to_cpp(device: torch.device, dim: int, rows: int, precision: str) -> bool:
    """Whether the C++ backend was measured to be faster on such a device, at so many rows in a group."""
    if dim > tiles.WIDTHS[-1]:
        return True
    return rows >= tiles.CROSSOVER.get((architecture(device), tiles.width_of(dim), precision), math.inf)


def prepare(batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype) -> Rows:
    from dec_kernels.backends.triton import rows

    width = tiles.width_of(batch.sr.shape[1] * patch_size**2)
    shape = _shape(width, constants, batch.sr.device)
    bf16 = constants.precision == "bf16" and not shape["ROUNDED"]
    operand = rows.Operand(width, torch.bfloat16 if bf16 else torch.float32, int(shape["ROUNDED"]))
    with rows.current_device(batch.sr):
        return rows.prepare(batch, patch_size, per_image, constants, operand)


def to_images(rows: Tensor, order: Tensor, like: Tensor, patch_size: int) -> Tensor:
    from dec_kernels.backends.triton import rows as module

    with module.current_device(rows):
        return module.to_images(rows, order, like, patch_size)


def forward(rows: Rows, constants: Constants) -> tuple[Tensor, Tensor]:
    return forward_in(_tiles(rows, constants), rows, constants)


def backward(rows: Rows, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
    return backward_in(_tiles(rows, constants), rows, constants, alpha, beta)


def forward_in(chosen: tiles.Tiles, rows: Rows, constants: Constants) -> tuple[Tensor, Tensor]:
    from dec_kernels.backends.triton.forward_kernels import forward_band, forward_plain

    splits = _splits(rows, chosen.forward, shares=1)
    positive, negative = rows.mean.new_empty(rows.order.shape), rows.mean.new_empty((splits, *rows.order.shape))
    outputs = {"positive": positive, "negative": negative}
    _launch(forward_plain, rows, constants, chosen.forward, chosen.forward, splits, outputs)
    _launch(forward_band, rows, constants, chosen.forward, chosen.forward_band, 1, outputs)
    total = negative.sum(0)
    if not constants.inside:
        positive.div_(constants.t_pos)
        total.div_(constants.t_neg)
    return positive, total


def backward_in(chosen: tiles.Tiles, rows: Rows, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
    from dec_kernels.backends.triton.backward_kernels import backward_band, backward_plain

    splits = _splits(rows, chosen.backward, shares=_shares(backward_plain, rows, constants))
    dz = rows.mean.new_empty((splits, *rows.order.shape, rows.p.shape[-1]))
    alpha, beta = alpha / constants.t_pos, beta / constants.t_neg
    arguments = {
        "alpha": alpha, "beta": beta, "row_alpha": rows.of_rows(alpha), "row_beta": rows.of_rows(beta),
        "dz": dz, "scale": 1 / rows.c,
    }  # fmt: skip
    _launch(backward_plain, rows, constants, chosen.backward, chosen.backward, splits, arguments)
    _launch(backward_band, rows, constants, chosen.backward, chosen.backward_band, 1, arguments)
    return dz[0] if splits == 1 else dz.sum(0)


def _launch(
    kernel: Any,
    rows: Rows,
    constants: Constants,
    plain: tiles.Tile,
    tile: tiles.Tile,
    splits: int,
    more: dict[str, Any],
) -> None:
    """Starts `kernel` in tiles of `tile`, with those of all arguments that it has."""
    from dec_kernels.backends.triton.rows import bits_of, current_device

    groups, m, dim = rows.p.shape
    r = rows.order.shape[1]
    blocks = -(-r // tile.rows)
    shape = _shape(rows.z.shape[-1], constants, rows.z.device)
    arguments = {
        **vars(rows), **shape, **more, "r": r, "m": m, "blocks": blocks, "splits": splits, "D": dim,
        "limit_bits": bits_of(constants.radius * constants.radius),
        "positive_ratio": constants.t_neg / constants.t_pos if constants.inside else 1.0,
        "ROWS": plain.rows, "COLUMNS": plain.columns, "BAND_ROWS": tile.rows, "STRIP": tile.columns,
        "POLYNOMIAL": plain.polynomial and constants.precision in ("tf32", "bf16") and not constants.inside,
    }  # fmt: skip
    shares = _shares(kernel, rows, constants)
    with current_device(rows.z):
        kernel[(groups * blocks * splits * shares,)](
            **{name: arguments[name] for name in kernel.arg_names},
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )  # fmt: skip


def _shape(width: int, constants: Constants, device: torch.device) -> dict[str, int | str]:
    shape = tiles.shape_of(width, constants.precision)
    if device.type == "cpu" and constants.precision == "bf16":
        # The interpreter does not multiply bfloat16: float32 numbers with as few bits stand for them.
        shape["ROUNDED"] = 16
    return shape


def _tiles(rows: Rows, constants: Constants) -> tiles.Tiles:
    key = architecture(rows.z.device), rows.z.shape[-1], constants.precision
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


def _shares(kernel: Any, rows: Rows, constants: Constants) -> int:
    """How many programs share the dz of a block of rows."""
    shape = _shape(rows.z.shape[-1], constants, rows.z.device)
    return int(shape["CHUNKS"]) // int(shape["OWNED"]) if "OWNED" in kernel.arg_names else 1


def _splits(rows: Rows, tile: tiles.Tile, shares: int) -> int:
    """Into how many parts the walk of a block of rows is cut, so that every multiprocessor has two programs."""
    groups, m, _ = rows.z.shape
    programs = groups * -(-rows.order.shape[1] // tile.rows) * shares
    wanted = -(-2 * _multiprocessors(rows.z.device) // programs)
    return max(1, min(wanted, m // tile.columns, tile.splits))


@functools.cache
def version() -> str | None:
    """Of Triton; None where it is not installed, or not as a package."""
    for package in ("triton", "pytorch-triton"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def architecture(device: torch.device) -> str:
    if device.type == "cpu":
        return tiles.INTERPRETER
    return tiles.architecture_of(torch.cuda.get_device_capability(device))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return 2 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count
