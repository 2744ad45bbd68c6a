"""The paper's high-frequency enhancement (Appendix B, Eqs. 46 to 51): a filter in front of a loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dec_kernels.trainer.ranges import Positive, check_arguments


class FrequencyEnhancement(nn.Module):
    r"""Multiplies the frequencies of images by a Gaussian around the highest one (Appendix B of the paper).

    The paper transforms an image of $H$ rows and $W$ columns by the DFT, multiplies frequency $(j, k)$ by
    $K^{(H)}_j K^{(W)}_k$, and transforms back (Eqs. 46 to 51), where

    $$ K^{(N)}_i = \alpha \exp \left( -\frac{(i - (N - 1) / 2)^2}{2 \mu^2} \right), \quad i = 0, \ldots, N - 1. $$

    **What is read into the print.** Eq. 50 transforms $Y_f$ back where the enhanced $Y'_f$ is meant, and Eq. 51 lacks
    the imaginary unit of the conjugate. The third point needs an argument. Frequency $i$ and frequency $N - i$ are one
    frequency with two signs, and an image stays real only if both have the same factor. The printed kernel is symmetric
    about $(N - 1) / 2$ and not about $N / 2$, so that the printed result is complex. Its real part is the result of the
    kernel made symmetric,

    $$ G_{jk} = \tfrac{1}{2} \left( K^{(H)}_j K^{(W)}_k + K^{(H)}_{-j} K^{(W)}_{-k} \right), $$

    with indices modulo $H$ and $W$. This module multiplies by $G$, in a real FFT. The filter is linear and its own
    adjoint: the gradient of a loss behind it is multiplied by $G$, too.

    **Units.** $\mu$ counts indices of frequency. The highest frequency of $N$ pixels is at $N / 2$, so that one $\mu$
    is another filter for another size. $\alpha$ counts twice, once for each direction.

    **Defaults.** The paper gives no values. $\mu = 64$ is half of its crops of 128 pixels. The default $\alpha$ leaves
    the mean of an image as it is at any size, so that images stay in about the same range, and `max_val` and
    `threshold` of DECLoss keep their meaning. Crops of 128 pixels then have factors from 1 to 2.7.

    The DFT takes an image as one period of a pattern. Where opposite borders differ, it sees an edge and enhances it.

    Args:
        alpha: $\alpha$, above 0; None takes the one that leaves the mean of an image as it is.
        mu: $\mu$, in indices of frequency, above 0. A larger one changes less.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, alpha: Positive | None = None, mu: Positive = 64.0) -> None:
        super().__init__()
        check_arguments(FrequencyEnhancement.__init__, locals())
        self.alpha = alpha
        self.mu = mu

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, mu={self.mu}"

    def kernel(
        self, height: int, width: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Tensor:
        """The factor of each frequency: $G$, (height, width), in the order of `torch.fft.fft2`.

        Raises:
            ValueError: a factor is beyond the range of `dtype`.
        """
        if self.alpha is None:
            exponent = ((height - 1) ** 2 + (width - 1) ** 2) / (8 * self.mu**2)
        else:
            exponent = 2 * math.log(self.alpha)
        if exponent > math.log(torch.finfo(dtype).max):
            raise ValueError(
                f"alpha {self.alpha} and mu {self.mu} multiply frequencies of {height} x {width} images by up to "
                f"exp({exponent:.3g}), which is beyond {dtype}: raise mu, or give a smaller alpha"
            )
        rows, columns = (self._factors(size, dtype, device) for size in (height, width))
        # Index -i, modulo the size, is that of the same frequency with the other sign.
        return (torch.outer(rows, columns) + torch.outer(*(k.flip(0).roll(1) for k in (rows, columns)))) / 2

    def _factors(self, size: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """$K$ of Eq. 49, (size,)."""
        i = torch.arange(size, dtype=dtype, device=device)
        if self.alpha is None:
            return torch.exp(i * (size - 1 - i) / (2 * self.mu**2))  # Eq. 49 with alpha such that the first one is 1
        return self.alpha * torch.exp(-((i - (size - 1) / 2) ** 2) / (2 * self.mu**2))

    def forward(self, images: Tensor) -> Tensor:
        """The enhanced images.

        Args:
            images: (..., H, W) floating, of any range. float16 and bfloat16 are computed in float32.

        Returns:
            as `images`, in shape and dtype. The range is not the one of `images`: nothing is clamped.

        Raises:
            TypeError: `images` is not floating.
            ValueError: `images` has fewer than two dimensions or no pixel, or a factor is beyond the dtype's range.
        """
        return self._filtered(images, inverse=False)

    def inverse(self, images: Tensor) -> Tensor:
        """The images whose enhanced form is `images`, which are as `forward` has them.

        The error is that of the FFT, multiplied by the largest factor over the smallest.

        Raises:
            TypeError: as in `forward`.
            ValueError: as in `forward`; or a frequency cannot be recovered, because rounding in the dtype of the images
                is as large as what its factor has left of it.
        """
        return self._filtered(images, inverse=True)

    def _filtered(self, images: Tensor, inverse: bool) -> Tensor:
        if not images.is_floating_point():
            raise TypeError(f"images must be floating, got {images.dtype}")
        if images.dim() < 2 or not images.numel():
            raise ValueError(f"images must be (..., H, W) with at least one pixel, got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        exact = images if images.dtype == torch.float64 else images.float()
        kernel = self.kernel(height, width, exact.dtype, exact.device)
        if inverse:
            self._check_invertible(kernel)
            kernel = 1 / kernel
        frequencies = torch.fft.rfft2(exact) * kernel[:, : width // 2 + 1]
        return torch.fft.irfft2(frequencies, s=(height, width)).to(images.dtype)

    def _check_invertible(self, kernel: Tensor) -> None:
        largest = kernel.max()
        # A tiny alpha makes all factors subnormal or 0. Their inverses are infinite, so that eps alone is no bound.
        vanishing = kernel <= (torch.finfo(kernel.dtype).eps * largest).clamp(min=torch.finfo(kernel.dtype).tiny)
        if vanishing.any():
            row, column = divmod(int(kernel.argmin()), kernel.shape[1])
            raise ValueError(
                f"alpha {self.alpha} and mu {self.mu} make the kernel vanish at {int(vanishing.sum())} of "
                f"{kernel.shape[0]} x {kernel.shape[1]} frequencies, to the precision of {kernel.dtype}: at "
                f"({row}, {column}) it is {kernel[row, column].item():.1e}, and its largest value is "
                f"{largest.item():.1e}. What was there cannot be recovered"
            )
