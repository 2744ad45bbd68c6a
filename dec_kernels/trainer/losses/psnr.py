"""The PSNR loss of HINet (Chen et al., CVPRW 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-8  # HINet's: keeps the logarithm of an exact image finite, at -80 dB


def psnr_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """The negative PSNR, in dB, the mean over the images of a batch: $10 \\log_{10}(\\mathrm{MSE} + 10^{-8})$.

    HINet trains with it at weight 0.5, on RGB and on both of its stages. A mean over images, and not the PSNR of all
    pixels at once: an image that is nearly right weighs as much as one that is far off.

    Args:
        sr: (B, C, H, W) floating in [0, 1].
        hr: as `sr`.

    Returns:
        a scalar, float32 for 16-bit images: -80 where all images are exact.
    """
    dtype = torch.promote_types(sr.dtype, torch.float32)
    mse = (sr.to(dtype) - hr.to(dtype)).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(mse + _FLOOR).mean()
