"""What images have at the frequencies that the low-resolution image lacks, and how much of it is right."""

from __future__ import annotations

import torch
from torch import Tensor

from dec_kernels.trainer.metrics import rgb_to_y


def beyond_lr(sr: Tensor, hr: Tensor, scale: int) -> tuple[float, float]:
    """Energy and correlation of luma at all frequencies above 1 / (2 scale) cycles a pixel in one direction or both.

    Args:
        sr, hr: (3, H, W) uint8.
        scale: of the network.

    Returns:
        The energy of SR divided by that of HR; and the correlation of SR with HR, from -1 to 1. For both it is Fourier
        coefficients that are compared, behind a Hann window.
    """
    outside = lr_lacks(hr.shape[-2], hr.shape[-1], scale).to(hr.device)
    of_sr, of_hr = (_spectrum(image)[outside] for image in (sr, hr))
    energy_sr, energy_hr = (of_each.abs().square().sum() for of_each in (of_sr, of_hr))
    common = (of_sr * of_hr.conj()).real.sum()
    return (energy_sr / energy_hr).item(), (common / (energy_sr * energy_hr).sqrt()).item()


def lr_lacks(height: int, width: int, scale: int) -> Tensor:
    """Which coefficients of `torch.fft.fft2` the low-resolution image cannot have: (H, W) bool."""
    rows, columns = (torch.fft.fftfreq(size).abs() > 0.5 / scale for size in (height, width))
    return rows[:, None] | columns


def _spectrum(image: Tensor) -> Tensor:
    luma = rgb_to_y(image)[0]
    height, width = (
        torch.hann_window(side, periodic=False, dtype=torch.float64, device=image.device) for side in luma.shape
    )
    return torch.fft.fft2((luma - luma.mean()) * height[:, None] * width)
