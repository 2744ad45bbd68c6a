"""Gaussian noise, for denoising."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dec_kernels.trainer.data.degradation.base import Degradation
from dec_kernels.trainer.data.degradation.draws import are_finite


class GaussianNoise(Degradation):
    """Adds white Gaussian noise: $lr = hr + \\mathcal{N}(0, \\sigma^2)$ for every pixel and channel by itself; scale 1.

    The result is rounded to the whole values of the image's 8 or 16 bits, and clipped to their range, as in a file.
    Papers on denoising that add the noise in floating point do neither. Rounding adds a variance of 1/12 in 8-bit
    units. Clipping takes noise away from what is nearly black or white. PSNR of the same network therefore differs
    from theirs where images have such parts, above all at large sigma.

    Args:
        sigma: standard deviation in 8-bit units, as papers give it: 15, 25 and 50 are usual. Images of 16 bits get 257
            times as much, which looks the same. Or a range `[low, high]`, from which each image draws its own,
            uniformly.

    Raises:
        ValueError: sigma is negative or not finite, or the range is empty; or, when called, the scale is not 1.
    """

    def __init__(self, sigma: float | tuple[float, float] = 25.0) -> None:
        interval = sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma)
        if not are_finite(interval, 2) or not 0 <= interval[0] <= interval[1]:
            raise ValueError(
                f"sigma must be a finite number of at least 0, or a range [low, high] of such, got {sigma!r}"
            )
        self.sigma = (float(interval[0]), float(interval[1]))

    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        """See `Degradation`; random numbers are drawn in the order sigma, if it is a range, then channels, rows and
        columns."""
        if scale != 1:
            raise ValueError(f"GaussianNoise needs scale 1, got {scale}")
        clean = hr.numpy()
        largest = np.iinfo(clean.dtype).max
        low, high = self.sigma
        sigma = float(low if low == high else rng.uniform(low, high)) * int(largest) / 255
        noisy = clean + sigma * rng.standard_normal(clean.shape, dtype=np.float32)
        return torch.from_numpy(noisy.round().clip(0, largest).astype(clean.dtype))
