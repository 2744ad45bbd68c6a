"""The tile loop of `csrc/`: products by ATen, everything between them in one vectorised pass of our own.

`csrc/walk_cpu.cpp` says how the tiles are walked, `csrc/arithmetic.h` what is computed for each pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision
from dec_kernels.patches import Patches
from dec_kernels.spec import Constants

try:
    from dec_kernels import _C
except ImportError as error:
    _C = None
    _missing = f"the extension dec_kernels._C cannot be loaded ({error}); it is built at installation where PyTorch and "
    _missing += "a C++ compiler are present: pip install --no-build-isolation --force-reinstall --no-deps dec-kernels"


def reasons(device: torch.device, dtype: torch.dtype) -> list[str]:
    found = []
    if _C is None:
        found.append(_missing)
    if device.type != "cpu":
        found.append(f"this build of it runs on the CPU, not on {device.type}")
    return found


def forward(patches: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
    with matmul_precision(constants.precision, patches.z.device):
        return _C.forward_cpu(*_rows(patches), *_constants(constants))


def backward(patches: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
    with matmul_precision(constants.precision, patches.z.device):
        return _C.backward_cpu(*_rows(patches), *_constants(constants), alpha, beta)


def _rows(patches: Patches) -> tuple[Tensor, ...]:
    return patches.z, patches.p, patches.p_scale, patches.first, patches.last


def _constants(constants: Constants) -> tuple[float, float, float, bool, bool]:
    return *constants[:4], constants.precision == "bf16"
