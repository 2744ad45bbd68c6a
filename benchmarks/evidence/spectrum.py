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
    of_sr, of_hr = _spectrum(sr), _spectrum(hr)
    height, width = hr.shape[-2:]
    rows = torch.fft.fftfreq(height, device=hr.device).abs()[:, None]
    columns = torch.fft.rfftfreq(width, device=hr.device)[None]
    beyond = torch.maximum(rows, columns) > 1 / (2 * scale)
    # Of the coefficients that a real image has twice, rfft2 keeps one.
    twice = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=hr.device)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    weights = twice * beyond
    energy_sr, energy_hr = ((weights * of_each.abs().square()).sum() for of_each in (of_sr, of_hr))
    common = (weights * (of_sr * of_hr.conj()).real).sum()
    return (energy_sr / energy_hr).item(), (common / (energy_sr * energy_hr).sqrt()).item()


def _spectrum(image: Tensor) -> Tensor:
    luma = rgb_to_y(image)[0]
    height, width = (
        torch.hann_window(side, periodic=False, dtype=torch.float64, device=image.device) for side in luma.shape
    )
    return torch.fft.rfft2((luma - luma.mean()) * height[:, None] * width)
