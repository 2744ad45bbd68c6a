"""PSNR and SSIM as super-resolution papers report them: 8-bit images, border cropped, on RGB and on MATLAB's luma Y.

PSNR is computed by torchmetrics. SSIM is not: torchmetrics also averages over a reflected border, which papers leave
out, and takes seconds for a photograph in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from dec_kernels.trainer.pixels import to_float, to_uint8


class Metric(NamedTuple):
    """How a metric is shown, and which of its values is the best."""

    heading: str
    digits: int
    higher_is_better: bool

    def text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"

    def best(self, values: Iterable[float]) -> float:
        """Infinity is a value like others; NaN is none, and what there is without values."""
        numbers = [value for value in values if not math.isnan(value)]
        return max(numbers, default=math.nan) if self.higher_is_better else min(numbers, default=math.nan)


MetricName = Literal["psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb", "lpips"]

METRICS: dict[str, Metric] = {
    "psnr_y": Metric("PSNR Y", digits=2, higher_is_better=True),
    "psnr_rgb": Metric("PSNR RGB", digits=2, higher_is_better=True),
    "ssim_y": Metric("SSIM Y", digits=4, higher_is_better=True),
    "ssim_rgb": Metric("SSIM RGB", digits=4, higher_is_better=True),
    "lpips": Metric("LPIPS", digits=4, higher_is_better=False),
}

_WINDOW = 11  # SSIM compares 11 x 11 pixels at a time,
_SIGMA = 1.5  # weighted by a Gaussian; normalising exp(-x^2 / 2 sigma^2) is a softmax
_WEIGHTS = torch.softmax(-((torch.arange(_WINDOW).double() - _WINDOW // 2) ** 2) / (2 * _SIGMA**2), dim=0).tolist()


def rgb_to_y(image: Tensor) -> Tensor:
    """MATLAB's luma (ITU-R BT.601, 16 to 235), not rounded: (..., 3, H, W) in [0, 255] to (..., 1, H, W) float64."""
    weight = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=image.device) / 255
    return 16 + torch.einsum("c,...chw->...hw", weight, image.double()).unsqueeze(-3)


def border_of(scale: int) -> int:
    """Pixels at each side that papers leave out of PSNR and SSIM: `scale`, where the network saw less context; but none
    at scale 1, since papers on denoising and deblurring measure every pixel."""
    return 0 if scale == 1 else scale


def measure(
    sr: Tensor, hr: Tensor, border: int, lpips: Callable[[Tensor, Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Compares an image with its ground truth.

    Args:
        sr: (3, H, W), uint8, or uint16, which is rounded to 8 bits first: published figures are of 8-bit images.
        hr: as `sr`.
        border: pixels to drop at each side, see `border_of`. LPIPS is that of the whole images.
        lpips: the perceptual distance of batches (B, 3, H, W) in [0, 1], as (B,); see `dec_kernels.trainer.lpips`.

    Returns:
        psnr_y and psnr_rgb in dB (infinite for equal images), ssim_y and ssim_rgb (1 for equal images); and, where
        `lpips` is given, lpips (0 for equal images). The keys are those of `METRICS`, in their order.

    Raises:
        TypeError: an image is neither uint8 nor uint16.
        ValueError: the shapes differ, are not (3, H, W), or leave no 11 x 11 pixels (SSIM's window) after cropping.
    """
    for name, image in (("sr", sr), ("hr", hr)):
        if image.dtype not in (torch.uint8, torch.uint16):
            raise TypeError(f"{name} must be uint8 or uint16, got {image.dtype}: convert it by to_uint8()")
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
    rgb = _cut(to_uint8(sr), border).double()[None], _cut(to_uint8(hr), border).double()[None]
    y = rgb_to_y(rgb[0]), rgb_to_y(rgb[1])
    figures = {"psnr_y": _psnr(*y), "psnr_rgb": _psnr(*rgb), "ssim_y": _ssim(*y), "ssim_rgb": _ssim(*rgb)}
    if lpips is not None:
        figures["lpips"] = lpips(to_float(to_uint8(sr))[None], to_float(to_uint8(hr))[None]).item()
    return figures


def psnr_y(sr: Tensor, hr: Tensor, border: int) -> float:
    """`measure`'s PSNR on Y alone, in dB, of (3, H, W) uint8."""
    return _psnr(rgb_to_y(_cut(sr, border)), rgb_to_y(_cut(hr, border)))


def _cut(image: Tensor, border: int) -> Tensor:
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def _psnr(sr: Tensor, hr: Tensor) -> float:
    return peak_signal_noise_ratio(sr, hr, data_range=255.0).item()


def _ssim(sr: Tensor, hr: Tensor) -> float:
    # Wang et al., 2004: whole windows only, weights from a Gaussian, sums in float64.
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_sr, mean_hr = _blur(sr), _blur(hr)
    variances = _blur(sr * sr) - mean_sr**2 + _blur(hr * hr) - mean_hr**2
    covariance = _blur(sr * hr) - mean_sr * mean_hr
    structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr**2 + mean_hr**2 + c1)
    return (luminance * structure).mean().item()


def _blur(x: Tensor) -> Tensor:
    """(..., H, W) to (..., H - 10, W - 10): SSIM's weighted mean of each window."""
    for dim in (-2, -1):
        size = x.shape[dim] - _WINDOW + 1
        mean = torch.zeros_like(x.narrow(dim, 0, size))
        for first, weight in enumerate(_WEIGHTS):
            mean.add_(x.narrow(dim, first, size), alpha=weight)
        x = mean
    return x
