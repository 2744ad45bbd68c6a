"""The ways to compute the loss on a device, each in every preset that it can be had in.

Those that are not ours get a preset as PyTorch offers it: "ieee" and "tf32" are the process's setting for float32
products, and with "bf16" S, A and all that is made of them are bfloat16, while their mask stays in float32, with TF32
products. Nobody else has "tf32x3".
"""

from functools import partial

import torch
from torch import Tensor
from torch import dtype as Dtype

from benchmarks.competitors import (
    LANDMARKS,
    RADIUS,
    T_NEG,
    T_POS,
    Competitor,
    chunked,
    compiled,
    eager,
    ours,
    unit_rows,
)
from benchmarks.gpu.device import Device

PRESETS = ("bf16", "tf32", "ieee", "tf32x3")
FUSED = {"triton": "dec_kernels, Triton", "cpp": "dec_kernels, C++/CUDA"}
OURS = FUSED | {"torch": "dec_kernels, PyTorch"}
APPROXIMATE = {"landmarks": f"dec_kernels, Triton, {LANDMARKS} landmarks"}  # ours as well, and in no claim
CHUNKS = (64, 256, 1024)  # MiB of one chunk of float32 similarities
CACHED = (16, 32, 64)  # MiB of a chunk's three matrices, around the size of an L2 cache
LABELS = {
    **OURS,
    **APPROXIMATE,
    "eager": "eager PyTorch",
    "compile": "torch.compile",
    **{f"chunked_{mib}": f"{mib} MiB checkpoints" for mib in CHUNKS},
    **{f"cublas_triton_{mib}": f"cuBLAS + Triton, {mib} MiB" for mib in CACHED},
    "keops": "KeOps",
}


def competitors(precision: str, device: Device) -> dict[str, Competitor]:
    """All that exist in that preset, whether or not they can run here, under the names of `LABELS`."""
    losses = {name: partial(ours, backend=name, precision=precision) for name in OURS}
    losses |= {name: partial(ours, backend="triton", precision=precision, landmarks=LANDMARKS) for name in APPROXIMATE}
    if precision != "tf32x3":
        operands = torch.bfloat16 if precision == "bf16" else torch.float32
        losses |= {
            "eager": partial(eager, operands=operands),
            "compile": partial(compiled, operands=operands, compiler=device.compiler),
            **{f"chunked_{mib}": partial(chunked, mib=mib, operands=operands) for mib in CHUNKS},
            **{f"cublas_triton_{mib}": partial(cublas_triton, mib=mib, operands=operands) for mib in CACHED},
        }
    if precision == "ieee":
        losses["keops"] = keops
    return {name: Competitor(LABELS[name], name in OURS | APPROXIMATE, loss) for name, loss in losses.items()}


def setting(precision: str) -> str:
    """What `torch.set_float32_matmul_precision` is to be while the competitors of a preset run."""
    return "highest" if precision in ("ieee", "tf32x3") else "high"


def cublas_triton(sr: Tensor, hr: Tensor, patch_size: int, *, mib: int, operands: Dtype) -> Tensor:
    from benchmarks.gpu.cublas_triton import positive_and_negative_sums  # not every machine has Triton

    qpos, qneg = positive_and_negative_sums(*unit_rows(sr, hr, patch_size, operands), RADIUS, mib)
    return (qpos / T_POS / (qneg / T_NEG)).log().mean().neg()


def keops(sr: Tensor, hr: Tensor, patch_size: int) -> Tensor:
    """Symbolic n x n tensors, reduced without ever being formed; distances from differences."""
    from pykeops.torch import LazyTensor  # not every machine has it

    z, h, p = unit_rows(sr, hr, patch_size, torch.float32)
    (z_i, h_i, p_i), (z_j, p_j) = ([LazyTensor(x[:, None]) for x in (z, h, p)], [LazyTensor(x[None]) for x in (z, p)])
    e = (z_i | z_j).exp() + 2 * (h_i | z_j).exp()
    positive = (RADIUS**2 - p_i.sqdist(p_j)).step()
    qpos, qneg = LazyTensor.cat((positive * e, (1 - positive) * e), dim=-1).sum(dim=1).unbind(1)
    return (qpos / T_POS / (qneg / T_NEG)).log().mean().neg()
