"""PSNR and SSIM as super-resolution papers report them: 8-bit images, border cropped, on RGB and on MATLAB's luma Y."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

METRICS = ("psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb")

_WINDOW = 11  # SSIM compares 11 x 11 pixels at a time,
_SIGMA = 1.5  # weighted by a Gaussian


def to_uint8(image: Tensor) -> Tensor:
    """[0, 1] floating to rounded and clipped 8-bit values, any shape."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def to_float(image: Tensor) -> Tensor:
    """8-bit values to float32 in [0, 1], any shape."""
    return image.float() / 255


def rgb_to_y(image: Tensor) -> Tensor:
    """MATLAB's luma (ITU-R BT.601, 16 to 235), not rounded: (..., 3, H, W) in [0, 255] to (..., 1, H, W) float64."""
    weight = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=image.device) / 255
    return 16 + torch.einsum("c,...chw->...hw", weight, image.double()).unsqueeze(-3)


def measure(sr: Tensor, hr: Tensor, border: int) -> dict[str, float]:
    """Compare an image with its ground truth.

    Args:
        sr, hr: (3, H, W), uint8.
        border: pixels to drop at each side, where the network saw less context; papers drop ``scale`` of them.

    Returns:
        psnr_y and psnr_rgb in dB (infinite for equal images), ssim_y and ssim_rgb (1 for equal images).

    Raises:
        TypeError: an image is not uint8.
        ValueError: the shapes differ, are not (3, H, W), or leave no 11 x 11 pixels (SSIM's window) after cropping.
    """
    for name, image in (("sr", sr), ("hr", hr)):
        if image.dtype != torch.uint8:
            raise TypeError(f"{name} must be uint8, got {image.dtype}: convert it by to_uint8()")
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"{name} must be (3, H, W), got {tuple(image.shape)}")
    if sr.shape != hr.shape:
        raise ValueError(f"sr and hr must have one shape, got {tuple(sr.shape)} and {tuple(hr.shape)}")
    smallest = 2 * border + _WINDOW
    if border < 0 or min(hr.shape[-2:]) < smallest:
        raise ValueError(
            f"border must be at least 0 and leave 11 x 11 pixels, got border {border} "
            f"for an image of {hr.shape[-2]} x {hr.shape[-1]}"
        )
    height, width = hr.shape[-2:]
    window = (..., slice(border, height - border), slice(border, width - border))
    rgb = sr[window].double()[None], hr[window].double()[None]
    y = rgb_to_y(rgb[0]), rgb_to_y(rgb[1])
    return {"psnr_y": _psnr(*y), "psnr_rgb": _psnr(*rgb), "ssim_y": _ssim(*y), "ssim_rgb": _ssim(*rgb)}


def _psnr(sr: Tensor, hr: Tensor) -> float:
    return peak_signal_noise_ratio(sr, hr, data_range=255.0).item()


def _ssim(sr: Tensor, hr: Tensor) -> float:
    # Wang et al., 2004: whole windows only, weights from a Gaussian, sums in float64. torchmetrics also averages over a
    # reflected border, which is not what papers report, and takes seconds for a photograph in float64.
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    rows, columns = (_window_matrix(size) for size in hr.shape[-2:])

    def blur(x: Tensor) -> Tensor:
        return rows.to(x) @ x @ columns.to(x).mT

    mean_sr, mean_hr = blur(sr), blur(hr)
    variances = blur(sr * sr) - mean_sr**2 + blur(hr * hr) - mean_hr**2
    covariance = blur(sr * hr) - mean_sr * mean_hr
    structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr**2 + mean_hr**2 + c1)
    return (luminance * structure).mean().item()


@lru_cache(maxsize=16)
def _window_matrix(size: int) -> Tensor:
    """(size - 10, size): row i holds SSIM's Gaussian window over samples i to i + 10."""
    taps = torch.arange(_WINDOW)
    weights = torch.exp(-((taps - _WINDOW // 2).double() ** 2) / (2 * _SIGMA**2))
    index = torch.arange(size - _WINDOW + 1)[:, None] + taps
    matrix = torch.zeros(len(index), size, dtype=torch.float64)
    return matrix.scatter_(1, index, (weights / weights.sum()).expand_as(index))
