"""The place of the fused Triton kernels, which this version does not have yet."""

import torch


def reasons(device: torch.device, dtype: torch.dtype) -> list[str]:
    return ["this version has no Triton kernels"]
