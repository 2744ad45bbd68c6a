"""What several networks have between their convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2  # of ESRGAN's leaky ReLUs, and of those that others have from it


def lrelu(x: Tensor) -> Tensor:
    """The leaky ReLU of ESRGAN; any shape."""
    return F.leaky_relu(x, negative_slope=SLOPE)


def upsample_nearest(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W): each pixel becomes four."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def upsample_bilinear(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W) by bilinear interpolation."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")
