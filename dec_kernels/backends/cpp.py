"""The tile loop of `csrc/`: products by ATen, everything between them in one vectorised pass of our own.

`csrc/walk_cpu.cpp` says how the tiles are walked, `csrc/arithmetic.h` what is computed for each pair.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.backends.precision import matmul_precision
from dec_kernels.backends.torch import TorchCalls
from dec_kernels.patches import Patches
from dec_kernels.spec import Constants

extension: ModuleType | None = None
load_error: ImportError | None = None
try:
    extension = importlib.import_module("dec_kernels._C")
except ImportError as error:
    load_error = error


class Cpp(OnPatches):
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        found = []
        if extension is None:
            found.append(_missing())
        elif device.type == "cuda" and not hasattr(extension, "forward_cuda"):
            found.append("the extension was built without CUDA, which needs nvcc and a CUDA build of PyTorch")
        elif device.type == "cuda" and landmarks:
            found.append("its CUDA kernels compute every pair: no landmarks")
        if device.type not in ("cpu", "cuda"):
            found.append(f"it runs on the CPU and on CUDA devices, not on {device.type}")
        return found

    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        return _call("forward", rows, constants)

    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        return _call("backward", rows, constants, (rows.of_rows(alpha), rows.of_rows(beta), alpha, beta))

    near_sums = TorchCalls.near_sums
    near_gradients_ = TorchCalls.near_gradients_


BACKEND = Cpp()


def _call(direction: str, patches: Patches, constants: Constants, *gradients: tuple[Tensor, ...]) -> Any:
    device = patches.z.device
    if extension is None:  # a graph that was exported where it is runs here
        raise RuntimeError(f"backend='cpp' cannot run: {_missing()}")
    function = getattr(extension, f"{direction}_{device.type}")
    columns = (patches.z, patches.p, patches.p_scale)
    rows = tuple(patches.of_rows(x) for x in columns)
    numbers = (
        constants.radius, constants.t_pos, constants.t_neg, constants.inside, constants.precision == "bf16"
    )  # fmt: skip
    arguments = (rows, columns, patches.first, patches.last, *numbers, *gradients)
    with matmul_precision(constants.precision, patches.z):
        if device.type == "cpu":
            return function(*arguments)
        with torch.cuda.device(device):
            return function(*arguments, torch.cuda.current_stream().cuda_stream)


def _missing() -> str:
    return (
        f"the extension dec_kernels._C cannot be loaded ({load_error}); it is built at installation where PyTorch and "
        "a C++ compiler are present; in a checkout of dec-kernels: "
        "pip install --no-build-isolation --force-reinstall --no-deps ."
    )
