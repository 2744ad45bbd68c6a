"""Pixels as whole numbers and as floating ones."""

from __future__ import annotations

import torch
from torch import Tensor


class NonFiniteImageError(ValueError):
    """Pixels are NaN or infinite: there is no whole value that stands for them, and no figure."""


def quantize(image: Tensor, dtype: torch.dtype) -> Tensor:
    """[0, 1] floating to the rounded and clipped whole values of `dtype`, uint8 or uint16; any shape.

    Raises:
        NonFiniteImageError: a pixel is NaN or infinite. Rounded, NaN would be black and infinity white.
    """
    if image.numel() and not torch.stack(torch.aminmax(image)).isfinite().all():  # both are NaN where one pixel is
        count = int(image.isfinite().logical_not().sum())
        raise NonFiniteImageError(f"{count} of {image.numel()} values of the image are NaN or infinite")
    return (image.clamp(0, 1) * torch.iinfo(dtype).max).round().to(dtype)


def to_uint8(image: Tensor) -> Tensor:
    """[0, 1] floating, or uint16, to rounded and clipped 8-bit values, any shape; uint8 stays as it is.

    Raises:
        NonFiniteImageError: see `quantize`.
    """
    return quantize(image if image.is_floating_point() else to_float(image), torch.uint8)


def to_float(image: Tensor) -> Tensor:
    """uint8 or uint16 values to float32 in [0, 1], any shape.

    Raises:
        TypeError: `image` has another dtype.
    """
    if image.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"image must be uint8 or uint16, got {image.dtype}")
    return image.float() / torch.iinfo(image.dtype).max
