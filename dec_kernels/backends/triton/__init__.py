"""The fused Triton kernels: nothing of size n x n is ever stored, and every row's results have one owner: no atomics.

- `__init__` runs without Triton: the backend, its reasons, versions, architectures.
- `layout` says where prepared rows lie in memory.
- `host` plans, allocates and launches.
- `kernels` run on the device.
- `far` has what landmarks stand for, in PyTorch's products.
- `tiles` says in which blocks they run, and `tune` measures such blocks.
- `aot` compiles the whole table without a device; `sass` and `hazards` read the machine code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dec_kernels.backends.protocol import Backend
from dec_kernels.backends.triton import layout, tiles
from dec_kernels.backends.triton.layout import PreparedRows, Size
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants

if TYPE_CHECKING:
    from dec_kernels.backends.triton.host import Host

WIDTHS = tiles.WIDTHS
# With "1" in the environment, the first call of each architecture, width and precision measures candidates, at its own
# number of rows, instead of trusting the table.
AUTOTUNE = "DEC_KERNELS_AUTOTUNE"


class Triton:
    """The backend itself, as `dec_kernels.backends.protocol.Backend` says."""

    keeps_rows = True

    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        found = []
        if not installed():
            found.append(
                "Triton is not installed; CUDA builds of PyTorch for Linux bring it along, or pip install triton"
            )
        elif (text := version()) and numbers_of(text) < (oldest := tiles.oldest_triton(architecture(device))):
            found.append(f"its kernels need Triton {_dotted(oldest)}, and this is {text}")
        if device.type == "cuda":
            if torch.version.hip:
                found.append("its tiles are made for CUDA devices, not for ROCm")
            elif (capability := torch.cuda.get_device_capability(device)) < (8, 0):
                found.append(f"it needs compute capability 8.0, and {device} has {_dotted(capability)}")
        elif not (device.type == "cpu" and _interpreted()):
            found.append(
                f"it runs on CUDA devices, not on {device.type} (or on the CPU, slowly, with TRITON_INTERPRET=1)"
            )
        if dtype == torch.float64:
            found.append("it computes in float32, and float64 images ask for float64")
        if dim > WIDTHS[-1]:
            found.append(f"its rows hold at most {WIDTHS[-1]} values, and these patches have more")
        return found

    def prepare(
        self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> PreparedRows:
        return host_of(batch.sr.device).prepare(batch, patch_size, per_image, constants)

    def kept_bytes(
        self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> int:
        size = Size.of(own, columns, patch_size, per_image, constants, architecture(own.device))
        return layout.places(size)[1]

    def restore(
        self,
        kept: Tensor,
        batch: Batch | None,
        own: Tensor,
        columns: int,
        patch_size: int,
        per_image: bool,
        constants: Constants,
        dtype: torch.dtype,
    ) -> PreparedRows:
        size = Size.of(own, columns, patch_size, per_image, constants, architecture(own.device))
        return layout.restore(kept, size)

    def forward(self, rows: PreparedRows, constants: Constants) -> Tensor:
        return host_of(rows.z.device).forward(rows, constants)

    def backward(self, rows: PreparedRows, constants: Constants, weights: Tensor) -> Tensor:
        return host_of(rows.z.device).backward(rows, constants, weights)

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int, constants: Constants) -> Tensor:
        return host_of(own.device).to_images(gradients, order, own, patch_size, constants)


BACKEND: Backend[PreparedRows] = Triton()


@functools.cache
def host_of(device: torch.device) -> Host:
    """What plans and launches for a device. Only here is imported what imports Triton."""
    from dec_kernels.backends.triton.host import Host

    return Host(architecture(device), _multiprocessors(device))


def crossover(device: torch.device, width: int, precision: str) -> int | None:
    """The number of columns in a group from which C++ was measured to be faster; None if there is no such number."""
    return tiles.CROSSOVER.get((architecture(device), width, precision))


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
