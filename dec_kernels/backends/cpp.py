"""The tile loop of `csrc/`: products by ATen, everything between them in one vectorised pass of our own.

`csrc/walk_cpu.cpp` says how the tiles are walked, `csrc/arithmetic.h` what is computed for each pair.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision
from dec_kernels.patches import Patches
from dec_kernels.patches import kept_bytes as kept_bytes
from dec_kernels.patches import prepare as prepare
from dec_kernels.patches import to_images as to_images
from dec_kernels.spec import Constants

_C: ModuleType | None = None
_error: ImportError | None = None
try:
    _C = importlib.import_module("dec_kernels._C")
except ImportError as error:
    _error = error


def reasons(device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
    found = []
    if _C is None:
        found.append(
            f"the extension dec_kernels._C cannot be loaded ({_error}); it is built at installation where PyTorch and "
            "a C++ compiler are present: pip install --no-build-isolation --force-reinstall --no-deps dec-kernels"
        )
    elif device.type == "cuda" and not hasattr(_C, "forward_cuda"):
        found.append("the extension was built without CUDA; it takes nvcc and a CUDA build of PyTorch")
    if device.type not in ("cpu", "cuda"):
        found.append(f"it runs on the CPU and on CUDA devices, not on {device.type}")
    return found


def forward(patches: Patches, constants: Constants) -> Tensor:
    return patches.unsort(*sums(patches, constants))


def backward(patches: Patches, constants: Constants, weights: Tensor) -> Tensor:
    return patches.project_(gradients(patches, constants, *patches.sort(weights)))


def sums(patches: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg of the rows, (G, r) each."""
    return _call("forward", patches, constants)


def gradients(patches: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
    """dL/dz of the rows, (G, r, D), for alpha and beta of the columns, (G, m) each."""
    rows_first = (patches.of_rows(alpha), patches.of_rows(beta), alpha, beta)
    return _call("backward", patches, constants, rows_first)


def _call(direction: str, patches: Patches, constants: Constants, *gradients: tuple[Tensor, ...]) -> Any:
    device = patches.z.device
    function = getattr(_C, f"{direction}_{device.type}")
    columns = (patches.z, patches.p, patches.p_scale)
    rows = tuple(patches.of_rows(x) for x in columns)
    numbers = (*constants[:4], constants.precision == "bf16")
    arguments = (rows, columns, patches.first, patches.last, *numbers, *gradients)
    with matmul_precision(constants.precision, patches.z):
        if device.type == "cpu":
            return function(*arguments)
        with torch.cuda.device(device):
            return function(*arguments, torch.cuda.current_stream().cuda_stream)
