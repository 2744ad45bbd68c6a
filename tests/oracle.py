"""The truth that the backends are held against, and data on which it is hard to be right by accident."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels import dec_loss, reference
from dec_kernels.spec import Spec

NOISE = 0.02


class Result(NamedTuple):
    loss: Tensor
    gradient: Tensor


def images(
    batch: int, channels: int, height: int, width: int, patch_size: int, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """SR and HR with many near-duplicates of few patches, so that rows have 1 to n / 5 positives; values in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = math.ceil(height / patch_size), math.ceil(width / patch_size)
    kinds = torch.rand(5, channels, patch_size, patch_size, generator=generator)
    kind = torch.randint(5, (batch, rows, columns), generator=generator)
    noise = torch.randn(batch, rows, columns, channels, patch_size, patch_size, generator=generator)
    spread = 2 * NOISE * torch.rand(batch, rows, columns, 1, 1, 1, generator=generator)
    tiles = (kinds[kind] + spread * noise).clamp(0, 1)
    hr = tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, rows * patch_size, columns * patch_size)
    hr = hr[:, :, :height, :width]
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    return sr.to(dtype), hr.to(dtype)


def threshold(distance: str, channels: int, patch_size: int) -> float:
    """In dB: about the median distance of two near-duplicates of `images`."""
    radius = NOISE * math.sqrt(2) * (math.sqrt(channels) * patch_size if distance == "l2" else 1)
    return -20 * math.log10(radius)


def evaluate(sr: Tensor, hr: Tensor, weights: Tensor | None = None, **arguments: object) -> Result:
    """The loss of the package, "none" reduced with `weights` where given, and its gradient."""
    sr = sr.detach().requires_grad_()
    loss = dec_loss(sr, hr, **arguments)
    (loss if weights is None else (loss * weights).sum()).backward()
    assert sr.grad is not None
    return Result(loss.detach(), sr.grad)


def truth(
    sr: Tensor, hr: Tensor, spec: Spec, dtype: torch.dtype = torch.float64, weights: Tensor | None = None
) -> Result:
    """Eq. 42 from dense tensors in `dtype`, by autograd; reduced as the spec says, or with `weights`."""
    sr = sr.detach().to(dtype, copy=True).requires_grad_()
    terms = reference.dec_loss(sr, hr.to(dtype), spec)
    loss = {"none": lambda: terms, "sum": terms.sum, "mean": terms.mean}[spec.reduction]()
    (loss if weights is None else (loss * weights).sum()).backward()
    assert sr.grad is not None
    return Result(loss.detach(), sr.grad)


def error(value: Tensor, true: Tensor) -> float:
    """Relative, in the 2-norm."""
    return float((value.double() - true.double()).norm() / true.double().norm())
