"""The one place where the doctor needs more of the loss than its public face."""

from __future__ import annotations

import torch
from torch import Tensor

from dec_kernels import op
from dec_kernels.backends import asked_for
from dec_kernels.backends.precision import preset_of
from dec_kernels.spec import Spec


@torch.no_grad()
def sums(sr: Tensor, hr: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg (Eqs. 40, 41) of each patch, (n,) each, of images (B, C, H, W) float32."""
    constants = spec.constants(sr.shape[1] * spec.patch_size**2, preset_of(spec.precision, sr.device))
    per_image = spec.scope == "image"
    backend = asked_for(spec.backend)
    _, (qpos, qneg), _ = op.row_losses(sr, sr, hr, "", spec.patch_size, per_image, *constants, backend)
    return qpos, qneg


def choose(sr: Tensor, spec: Spec) -> None:
    """Raises RuntimeError or ValueError where the loss finds no backend for images like `sr`, (B, C, H, W)."""
    precision = preset_of(spec.precision, sr.device)
    op.backend_for(asked_for(spec.backend), sr, spec.patch_size, spec.scope == "image", precision)
