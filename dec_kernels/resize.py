"""Bicubic resizing that agrees with MATLAB's `imresize`, the down-scaling on which super-resolution papers report.

The cubic kernel is Keys' (Cubic convolution interpolation for digital image processing, 1981) with a = -1/2; when
shrinking, it is widened by 1/scale so that it also removes what the smaller grid cannot carry (antialiasing).
`imresize` resizes floating images by any scale. `downscale` makes the low-resolution images of a training:
8-bit or 16-bit pixels in and out, whole images or windows of them.

No library is used: PyTorch's antialiased bicubic cuts the kernel off at the border, where MATLAB reflects the image;
its plain bicubic and OpenCV's have another kernel, which they do not widen. Figures on images that they made cannot be
compared with published ones. Nor do they make a window that is bit for bit what the whole image holds there, as crops
need it that are made when they are drawn.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_KERNEL_WIDTH = 4.0  # the cubic kernel is zero outside [-2, 2]


def imresize(image: Tensor, scale: float) -> Tensor:
    """Resizes `image` by `scale` as MATLAB's `imresize(image, scale, "bicubic")` does.

    Resizing is linear and separable, so it is two matrix products: `rows @ image @ columns.T`.

    Args:
        image: (..., H, W), any floating dtype and range. Integer images must be converted first, since the result of
            bicubic resizing is neither whole nor within the input's range: rounding and clipping are the caller's.
        scale: output size / input size, > 0; 1/4 for the usual x4 low-resolution image.

    Returns:
        (..., ceil(H * scale), ceil(W * scale)), with the input's dtype and device.

    Raises:
        TypeError: `image` is not floating-point.
        ValueError: `image` has fewer than two dimensions or an empty one, or `scale` is not a positive number.
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
    """The (ceil(size * scale), size) float64 matrix that resizes a signal of `size` samples; its rows sum to 1.

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
    return torch.zeros(out_size, size, dtype=torch.float64).scatter_add_(1, _reflect(taps.long(), size), weights)


def downscale(image: Tensor, scale: int, rows: range | None = None, columns: range | None = None) -> Tensor:
    """Shrinks `image` by the whole number `scale` with MATLAB's bicubic, rounded to the image's own whole values.

    All sums are of whole numbers below 2^53 and so exact in float64, in whatever order: a window of the low-resolution
    image is bit for bit what the whole one holds there, and no rounding error decides a tie. Ties are rounded up, as
    MATLAB does.

    Args:
        image: (..., H, W), uint8 or uint16. Its last H mod `scale` rows and W mod `scale` columns are left out.
        scale: high-resolution size / low-resolution size, 1 to 11.
        rows: the rows of the low-resolution image to compute, with steps of 1; None for all of them.
        columns: its columns, likewise.

    Returns:
        (..., len(rows), len(columns)), (..., H // scale, W // scale) for all of it, with the input's dtype.

    Raises:
        TypeError: `image` is neither uint8 nor uint16.
        ValueError: `scale` is out of its range.
    """
    if image.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"image must be uint8 or uint16, got {image.dtype}")
    if not 1 <= scale <= 11:
        raise ValueError(f"scale must be 1 to 11, got {scale}")
    height, width = (size // scale for size in image.shape[-2:])
    across = _taps(columns or range(width), width, scale)
    down = _taps(rows or range(height), height, scale)
    sums = _shrink(image[..., down[:, None], across].double(), scale)
    sums = _shrink(sums.mT, scale).mT
    total = _integer_kernel(scale).sum() ** 2
    return torch.floor((sums + total / 2) / total).clamp(0, torch.iinfo(image.dtype).max).to(image.dtype)


def _taps(window: range, size: int, scale: int) -> Tensor:
    """Which input samples the outputs in `window` are sums of: 3 * scale more than lie under them."""
    before = 3 * scale // 2
    taps = torch.arange(window.start * scale - before, (window.stop + 3) * scale - before)
    return _reflect(taps, size * scale)


def _shrink(x: Tensor, scale: int) -> Tensor:
    """(..., (n + 3) * scale) to (..., n) along the last dimension: sums weighted by the integer kernel.

    The kernel spans four blocks of `scale` samples. Each block is multiplied by all four of its parts at once; an
    output is the sum of four consecutive blocks' products with the parts in turn.
    """
    parts = x.unflatten(-1, (-1, scale)) @ _integer_kernel(scale).view(4, scale).T
    first, second, third, fourth = parts.unbind(-1)
    return first[..., :-3] + second[..., 1:-2] + third[..., 2:-1] + fourth[..., 3:]


@lru_cache(maxsize=16)
def _integer_kernel(scale: int) -> Tensor:
    """The cubic kernel at the 4 * scale input samples around an output, times 16 * scale^3: whole numbers, as float64.

    Distances are whole multiples of 1 / (2 * scale), so 2 * (2 * scale)^3 times a cubic with halves is whole.
    """
    n = (2 * (torch.arange(4 * scale) - 3 * scale // 2) - (scale - 1)).abs()
    near = 3 * n**3 - 10 * scale * n**2 + 16 * scale**3
    far = -(n**3) + 10 * scale * n**2 - 32 * scale**2 * n + 32 * scale**3
    return torch.where(n <= 2 * scale, near, far).double()


def _reflect(index: Tensor, size: int) -> Tensor:
    """Where samples beyond the border are taken from: reflected with the border repeated (... b a | a b c ...)."""
    index = index % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2."""
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
