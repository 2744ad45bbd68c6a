"""How sharp images are, and an unsharp mask: what a loss that sharpens has to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from skimage import filters
from torch import Tensor

from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.metrics import border_of, psnr_y, rgb_to_y
from dec_kernels.trainer.pixels import to_float, to_uint8

RADIUS = 1.0  # pixels: the standard deviation of the unsharp mask's Gaussian
LARGEST = 4.0  # amount that `amount_at_psnr` returns
_HALVINGS = 10


def unsharp_mask(image: Tensor, amount: float) -> Tensor:
    """(3, H, W) uint8 through scikit-image's unsharp mask: x + amount * (x - blur(x))."""
    pixels = to_float(image).numpy()
    return to_uint8(torch.from_numpy(np.asarray(filters.unsharp_mask(pixels, RADIUS, amount, channel_axis=0))))  # type: ignore[no-untyped-call]


def amount_at_psnr(images: Mapping[str, Tensor], pairs: Sequence[Pair], psnr: float) -> float:
    """The strongest unsharp mask that leaves the mean Y-PSNR of `images` at `psnr` or more.

    Args:
        images: name -> (3, H, W) uint8.
        pairs: with the ground truth of each, by name.
        psnr: in dB.

    Returns:
        The mask's amount, at most `LARGEST`; 0 where the images are below `psnr` as they are.
    """

    def good_enough(amount: float) -> bool:
        masked = (psnr_y(unsharp_mask(images[p.name], amount), to_uint8(p.hr), border_of(p.scale)) for p in pairs)
        return fmean(masked) >= psnr

    if not good_enough(0.0):
        return 0.0
    if good_enough(LARGEST):
        return LARGEST
    low, high = 0.0, LARGEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if good_enough(middle) else (low, middle)
    return low


def gradient_energy(image: Tensor) -> float:
    """The sum of the squared differences between neighbours in luma (MATLAB's Y), rows and columns.

    Args:
        image: (3, H, W) uint8.
    """
    luma = rgb_to_y(image)
    return sum(luma.diff(dim=dim).square().sum().item() for dim in (-2, -1))
