"""What degradations are made of: blur, resizing, noise and JPEG, each with the numbers that were drawn for it.

Images are (H, W, 3) float32 in [0, 1], RGB. OpenCV filters, resizes and encodes JPEG; NumPy draws the noise; SciPy has
the Bessel function of the sinc filter. A step changes nothing of the image that it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
import torch
from scipy.special import j1
from torch import Tensor

from dec_kernels.resize import imresize
from dec_kernels.trainer.data.degradation.base import Degradation
from dec_kernels.trainer.pixels import quantize, to_float

Size = tuple[int, int]
"""Height and width."""

Shape = Literal["gaussian", "generalized", "plateau"]
Interpolation = Literal["area", "bilinear", "bicubic", "matlab"]

_OPENCV = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Step(ABC):
    """One step of a degradation."""

    @abstractmethod
    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        """Applies the step.

        Args:
            image: (H, W, 3) float32 in [0, 1].
            target: the size of the low-resolution image that is to come out at the end.
            rng: for the noise of single pixels.

        Returns:
            (H', W', 3) float, which may exceed [0, 1].
        """

    @abstractmethod
    def __str__(self) -> str:
        """The step in a few words."""


class StepwiseDegradation(Degradation):
    """A degradation that draws its steps, and then takes them one after the other.

    Values are clipped to [0, 1] after each step, and rounded to 8 or 16 bits after the last.
    """

    @abstractmethod
    def draw(self, scale: int, rng: np.random.Generator) -> Sequence[Step]:
        """The steps for one image."""

    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        return take(self.draw(scale, rng), hr, scale, rng)


def take(steps: Sequence[Step], hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
    """Takes `steps`, which make an image `scale` times smaller, one after the other; see `Degradation`."""
    target = hr.shape[-2] // scale, hr.shape[-1] // scale
    image = np.ascontiguousarray(to_float(hr).permute(1, 2, 0).numpy())
    for step in steps:
        image = np.clip(step(image, target, rng), 0, 1).astype(np.float32)
    return quantize(torch.from_numpy(image).permute(2, 0, 1), hr.dtype)


class Filter(Step):
    """A step that filters with a kernel; the image is reflected at its border (... c b | a b c ...)."""

    @property
    @abstractmethod
    def kernel(self) -> np.ndarray:
        """(size, size) float64 with the sum 1."""

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        return cv2.filter2D(image, -1, self.kernel, borderType=cv2.BORDER_REFLECT_101)


@dataclass(frozen=True)
class Blur(Filter):
    r"""Blur with a kernel of elliptic contours.

    With $q = x^T \Sigma^{-1} x$, and $\Sigma$ of the standard deviations `sigma` turned by `angle`, the kernel is
    $\exp(-q / 2)$ for a Gaussian, $\exp(-q^\beta / 2)$ for a generalized one, and $1 / (1 + q^\beta)$ for a plateau,
    each divided by its sum.

    Attributes:
        shape: which of them.
        size: height and width of the kernel in pixels, odd.
        sigma: standard deviations along the two axes, in pixels.
        angle: of the first axis to the image's rows, in radians.
        beta: of the two latter shapes; 1 for a Gaussian.
        shift: how far right of and below the middle of the kernel its centre lies, in pixels.
    """

    shape: Shape
    size: int
    sigma: tuple[float, float]
    angle: float = 0.0
    beta: float = 1.0
    shift: float = 0.0

    @cached_property
    def kernel(self) -> np.ndarray:
        x, y = _grid(self.size, self.shift)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        # A Gaussian narrower than 1e-3 pixels is one pixel in float64; of 0, the quotient would be NaN.
        across, along = (max(sigma, 1e-3) for sigma in self.sigma)
        q = ((cos * x + sin * y) / across) ** 2 + ((cos * y - sin * x) / along) ** 2
        if self.shape == "plateau":
            kernel = 1 / (1 + q**self.beta)
        else:
            power = q**self.beta / 2
            kernel = np.exp(power.min() - power)  # of a narrow one between pixels, all would be 0
        return kernel / kernel.sum()

    def __str__(self) -> str:
        sigma = " x ".join(f"{sigma:.1f}" for sigma in dict.fromkeys(self.sigma))
        beta = "" if self.shape == "gaussian" else f", beta {self.beta:.1f}"
        return f"{self.shape} blur {sigma}{beta}"


@dataclass(frozen=True)
class Sinc(Filter):
    r"""The ideal low-pass filter of circular support in frequency, cut off at `size` pixels: it makes edges ring.

    The kernel is $\omega J_1(\omega r) / (2 \pi r)$, divided by its sum.

    Attributes:
        size: height and width of the kernel in pixels, odd.
        cutoff: $\omega$, in radians for each pixel, above 0 and at most pi.
    """

    size: int
    cutoff: float

    @cached_property
    def kernel(self) -> np.ndarray:
        radius = np.hypot(*_grid(self.size))
        middle = self.size // 2
        radius[middle, middle] = 1
        kernel = self.cutoff * j1(self.cutoff * radius) / (2 * np.pi * radius)
        kernel[middle, middle] = self.cutoff**2 / (4 * np.pi)  # the limit
        return kernel / kernel.sum()

    def __str__(self) -> str:
        return f"sinc {self.cutoff / np.pi:.2f} pi"


@dataclass(frozen=True)
class Resize(Step):
    """Resizes by `factor`: the image as it is, or to the size that the low-resolution image is to have, times `factor`.

    Attributes:
        interpolation: "matlab" is MATLAB's bicubic with antialiasing, and the others are OpenCV's, of which "area"
            alone removes what the smaller grid cannot carry.
    """

    factor: float
    interpolation: Interpolation
    to_target: bool = False

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        if self.interpolation == "matlab":
            return imresize(torch.from_numpy(image).permute(2, 0, 1), self.factor).permute(1, 2, 0).numpy()
        height, width = (max(1, int(side * self.factor)) for side in (target if self.to_target else image.shape[:2]))
        return cv2.resize(image, (width, height), interpolation=_OPENCV[self.interpolation])

    def __str__(self) -> str:
        if self.to_target and self.factor == 1:
            return f"{self.interpolation} to size"
        return f"{self.interpolation} x{self.factor:.2f}{' of size' if self.to_target else ''}"


@dataclass(frozen=True)
class Decimate(Step):
    """Keeps the first of every `step` rows and columns."""

    step: int

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        return image[:: self.step, :: self.step]

    def __str__(self) -> str:
        return f"every {self.step}th"


@dataclass(frozen=True)
class GaussianNoise(Step):
    """Adds Gaussian noise.

    Attributes:
        sigma: its standard deviation in 255ths.
        gray: whether the three channels of a pixel get the same.
    """

    sigma: float
    gray: bool

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        shape = (*image.shape[:2], 1 if self.gray else 3)
        return image + self.sigma / 255 * rng.standard_normal(shape, np.float32)

    def __str__(self) -> str:
        return f"{'gray ' if self.gray else ''}noise {self.sigma:.0f}"


@dataclass(frozen=True)
class CorrelatedNoise(Step):
    """Adds Gaussian noise that differs between the channels, and is correlated between them.

    Attributes:
        covariance: of the three channels, in 255ths squared.
    """

    covariance: tuple[tuple[float, float, float], ...]

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        root = vectors * np.sqrt(values.clip(0)) / 255
        return image + rng.standard_normal(image.shape, np.float32) @ root.T.astype(np.float32)

    def __str__(self) -> str:
        return f"correlated noise {np.sqrt(np.trace(np.array(self.covariance)) / 3):.0f}"


@dataclass(frozen=True)
class PoissonNoise(Step):
    """Adds the noise of counted photons: its variance grows with the brightness.

    A white pixel is as many photons as the image has different values of 8 bits, raised to a power of two.

    Attributes:
        strength: what the noise is multiplied by.
        gray: whether the three channels of a pixel get the same, that of their luminance.
    """

    strength: float
    gray: bool

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        mean = np.rint(255 * (image @ _LUMA[:, None] if self.gray else image)) / 255
        photons = 2 ** np.ceil(np.log2(len(np.unique(mean))))
        return image + self.strength * (rng.poisson(mean * photons) / photons - mean)

    def __str__(self) -> str:
        return f"{'gray ' if self.gray else ''}Poisson {self.strength:.1f}"


@dataclass(frozen=True)
class Jpeg(Step):
    """Compresses as JPEG of 8 bits, with chroma at half the size as OpenCV does, and decompresses."""

    quality: int

    def __call__(self, image: np.ndarray, target: Size, rng: np.random.Generator) -> np.ndarray:
        pixels = np.rint(255 * image[..., ::-1]).astype(np.uint8)  # OpenCV's order is BGR
        _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert decoded is not None
        return decoded[..., ::-1] / np.float32(255)

    def __str__(self) -> str:
        return f"JPEG {self.quality}"


def _grid(size: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """How far right of and below the centre each pixel of a kernel lies."""
    axis = np.arange(size) - (size - 1) / 2 - shift
    x, y = np.meshgrid(axis, axis)
    return x, y
