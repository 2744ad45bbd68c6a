"""Eqs. 37-42 as dense tensors, as one reads them: O(n^2) memory, differentiable by autograd, any float dtype.

This is the truth that every backend is tested against, so it shares nothing with them: no sorting, no tiles, no saved
norms. In float64 the direct differences of Eq. 37 take n * n * D values at once, so keep n small.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.spec import Constants, Spec


def patch_rows(images: Tensor, patch_size: int) -> Tensor:
    """Non-overlapping patches as rows: (B, C, H, W) -> (B, L, C * P * P), L = floor(H / P) * floor(W / P)."""
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


def positives(p: Tensor, radius: float) -> Tensor:
    """Eq. 37, in the form `|p_i - p_j| <= radius`: (..., n, D) -> (..., n, n) bool."""
    i = torch.arange(p.shape[-2], device=p.device)
    return (torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist") <= radius) | (i[:, None] == i)


def similarity_sums(z: Tensor, h: Tensor, m: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
    """Eqs. 38-41: unit SR and HR rows, (..., n, D), and the mask, (..., n, n) -> Qpos and Qneg, (..., n) each."""
    similarity_a = h @ z.transpose(-1, -2)
    similarity_s = z @ z.transpose(-1, -2)

    def exp_sum(mask: Tensor, t: float) -> Tensor:
        inner, outer = (t, 1.0) if constants.inside else (1.0, t)
        terms = (similarity_s / inner).exp() + 2 * (similarity_a / inner).exp()
        return torch.where(mask, terms, 0).sum(-1) / outer

    return exp_sum(m, constants.t_pos), exp_sum(~m, constants.t_neg)


def dec_loss(sr: Tensor, hr: Tensor, spec: Spec) -> Tensor:
    """Eq. 42 from images (B, C, H, W), before reduction: (n,) values in the order of the patches of the images."""
    q, p = patch_rows(sr, spec.patch_size), patch_rows(hr, spec.patch_size)
    if spec.scope == "batch":
        q, p = q.flatten(0, 1)[None], p.flatten(0, 1)[None]
    constants = spec.constants(p.shape[-1], "ieee")
    z, h = (unit_rows(rows, spec.patch_size, constants) for rows in (q, p))
    qpos, qneg = similarity_sums(z, h, positives(p, constants.radius), constants)
    complete = (qpos != 0) & (qneg != 0)  # a row without positives or without negatives contributes 0
    terms = -(torch.where(complete, qpos, 1) / torch.where(complete, qneg, 1)).log()
    return spec.loss_weight * terms.flatten()


def unit_rows(rows: Tensor, patch_size: int, constants: Constants) -> Tensor:
    """Rows (..., D) as they are compared: over their norm or the floor, whichever is larger."""
    if constants.center:
        channels = rows.unflatten(-1, (-1, patch_size**2))
        rows = (channels - channels.mean(-1, keepdim=True)).flatten(-2)
    # Zero rows stay zero, and without a floor their gradient is zero: sqrt is kept away from 0.
    squares = rows.square().sum(-1, keepdim=True)
    norm = torch.where(squares == 0, 1, squares).sqrt()
    above = (squares != 0) & (norm > constants.floor)
    return torch.where(above, rows / norm, rows / constants.floor if constants.floor else 0)
