"""Bicubic resizing that agrees with MATLAB's ``imresize``, the down-scaling on which super-resolution papers report.

Resizing is linear and separable, so it is two matrix products: ``rows @ image @ columns.T``. Each matrix holds, for
every output pixel, the cubic kernel's weights at the input pixels; when shrinking, the kernel is widened by 1/scale so
that it also removes what the smaller grid cannot carry (antialiasing).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_KERNEL_WIDTH = 4.0  # the cubic kernel is zero outside [-2, 2]


def imresize(image: Tensor, scale: float) -> Tensor:
    """Resize ``image`` by ``scale`` as MATLAB's ``imresize(image, scale, "bicubic")`` does.

    Args:
        image: (..., H, W), any floating dtype and range. Integer images must be converted first, since the result of
            bicubic resizing is neither whole nor within the input's range: rounding and clipping are the caller's.
        scale: output size / input size, > 0; 1/4 for the usual x4 low-resolution image.

    Returns:
        (..., ceil(H * scale), ceil(W * scale)), with the input's dtype and device.

    Raises:
        TypeError: ``image`` is not floating-point.
        ValueError: ``image`` has fewer than two dimensions or an empty one, or ``scale`` is not a positive number.
    """
    if not image.is_floating_point():
        raise TypeError(f"image must have a floating dtype, got {image.dtype}: convert it, e.g. image.float() / 255")
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise ValueError(f"image must be (..., H, W) with H, W >= 1, got shape {tuple(image.shape)}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, got {scale}")
    rows, columns = (resize_matrix(size, scale).to(image) for size in image.shape[-2:])
    return rows @ image @ columns.mT


@lru_cache(maxsize=64)
def resize_matrix(size: int, scale: float) -> Tensor:
    """The (ceil(size * scale), size) float64 matrix that resizes a signal of ``size`` samples; its rows sum to 1.

    Samples beyond the border are reflected with the border sample repeated (... b a | a b c ...).
    """
    out_size = math.ceil(size * scale - 1e-6)  # 1e-6: a scale such as 1/3 is not exact in binary
    shrink = min(scale, 1.0)
    width = _KERNEL_WIDTH / shrink
    # Where each output pixel's centre lies on the input grid, both grids counting pixel centres from 0.
    centre = (torch.arange(out_size, dtype=torch.float64) + 0.5) / scale - 0.5
    first = torch.floor(centre - width / 2)
    taps = first[:, None] + torch.arange(math.ceil(width) + 2)
    weights = _cubic((centre[:, None] - taps) * shrink)
    weights /= weights.sum(dim=1, keepdim=True)
    index = taps.long() % (2 * size)  # reflection has period 2 * size
    index = torch.where(index < size, index, 2 * size - 1 - index)
    return torch.zeros(out_size, size, dtype=torch.float64).scatter_add_(1, index, weights)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
