"""The one place where the doctor needs more of the loss than its public face."""

from __future__ import annotations

import torch
from torch import Tensor

from dec_kernels.backends import Resolved, resolve
from dec_kernels.distributed import ALONE
from dec_kernels.loss import evaluate
from dec_kernels.spec import Spec


@torch.no_grad()
def sums(sr: Tensor, hr: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg (Eqs. 40, 41) of each patch, (n,) each, of images (B, C, H, W) float32."""
    qpos, qneg = evaluate(sr, hr, spec, ALONE).sums
    return qpos, qneg


def resolved(sr: Tensor, spec: Spec) -> Resolved:
    """What the loss runs on for images like `sr`, (B, C, H, W).

    Raises:
        RuntimeError, ValueError: as `dec_kernels.backends.resolve`.
    """
    dim, columns = spec.sizes(sr.shape)
    return resolve(
        spec.backend, spec.precision, sr.device, sr.dtype, dim, columns, spec.landmarks_among(columns)
    )  # fmt: skip
