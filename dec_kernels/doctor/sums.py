"""The one place where the doctor needs more of the loss than its public face."""

from __future__ import annotations

import torch
from torch import Tensor

from dec_kernels import op
from dec_kernels.spec import Spec


@torch.no_grad()
def sums(sr: Tensor, hr: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg (Eqs. 40, 41) of each patch, (n,) each, of images (B, C, H, W) float32."""
    constants = spec.constants(sr.shape[1] * spec.patch_size**2, spec.precision)
    per_image = spec.scope == "image"
    return op.similarity_sums(sr, sr, hr, "", spec.patch_size, per_image, *constants, spec.backend)


def choose(sr: Tensor, spec: Spec) -> None:
    """Raises RuntimeError or ValueError where the loss finds no backend for images like `sr`, (B, C, H, W)."""
    op._choose(spec.backend, sr, spec.patch_size, spec.scope == "image", preset(spec))


def preset(spec: Spec) -> str:
    """What `precision` stands for: itself, or for "auto" what PyTorch's setting of the moment says."""
    return op._preset(spec.precision)
