"""BSRGAN's degradation: blur, downsampling, noise and JPEG in random order."""

from __future__ import annotations

import numpy as np

from dec_kernels.trainer.data.degradation.draws import (
    Whole,
    are_finite,
    check_interval,
    check_kernel_sizes,
    check_mix,
    check_whole,
    happens,
    one_of,
    uniform,
    whole,
)
from dec_kernels.trainer.data.degradation.steps import (
    AddCorrelatedNoise,
    AddGaussianNoise,
    Blur,
    Decimate,
    Interpolation,
    Jpeg,
    Resize,
    Step,
    StepwiseDegradation,
)
from dec_kernels.trainer.ranges import NonNegativeInt, Probability, check_arguments

INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "area")
NOISES = ("color", "gray", "correlated")

Linear = tuple[float, float]
"""a and b of a limit that grows with the scale: a + b * scale."""


class BSRGAN(StepwiseDegradation):
    """The shuffled degradation of BSRGAN (Zhang et al., 2021).

    Two blurs, a downsampling by a random factor and one to the final size, Gaussian noise and JPEG in random order,
    but that the downsamplings keep theirs; and then JPEG again. The defaults are the values of the published
    `degradation_bsrgan`. At scale 4 the image may be halved before all this, which then goes by scale 2.

    The noise of a camera's sensor and pipeline is left out. It needs a network that stands for the pipeline, and its
    weights; the published training leaves it out too.

    Args:
        halve_prob: probability that, at scale 4, the image is halved first; one half of them by OpenCV, the other by
            MATLAB's bicubic.
        blur_kernel_size: least and largest size of a blur's kernel in pixels, odd.
        aniso_prob: probability that a blur is anisotropic.
        aniso_variance: the variances of an anisotropic blur go from 0 to this a + b * scale, in square pixels.
        iso_sigma: the standard deviations of an isotropic blur go from 0 to this a + b * scale, in pixels.
        resize_prob: probability that the first downsampling resizes. Else it blurs, and keeps every scale-th pixel.
        resize_most: resizing divides the sides by 1 to this times the scale.
        decimation_sigma: a and b: the standard deviations of the blur before decimation go from a to b * scale, in
            pixels; a is at most b.
        decimation_kernel_size: size of that blur's kernel in pixels, odd.
        noise_prob: probabilities that the noise of the channels is independent, the same, and correlated.
        noise_range: standard deviations of the former two in 255ths, whole numbers. The variances of the latter go from
            0 to the square of the largest.
        jpeg_prob: probability of the JPEG among the shuffled steps.
        jpeg_range: JPEG qualities, 1 to 100.
        context: see `Degradation`. The published training has none, and reflects the crop.

    Raises:
        ValueError: a probability, a range or a size is not one.
    """

    def __init__(
        self,
        halve_prob: Probability = 0.25,
        blur_kernel_size: Whole = (7, 25),
        aniso_prob: Probability = 0.5,
        aniso_variance: Linear = (4.0, 1.0),
        iso_sigma: Linear = (2.0, 0.2),
        resize_prob: Probability = 0.75,
        resize_most: float = 2.0,
        decimation_sigma: tuple[float, float] = (0.1, 0.6),
        decimation_kernel_size: int = 25,
        noise_prob: tuple[float, float, float] = (0.4, 0.4, 0.2),
        noise_range: Whole = (2, 25),
        jpeg_prob: Probability = 0.9,
        jpeg_range: Whole = (30, 95),
        context: NonNegativeInt = 48,
    ) -> None:
        check_arguments(BSRGAN.__init__, locals())
        check_kernel_sizes("blur_kernel_size", blur_kernel_size)
        check_kernel_sizes("decimation_kernel_size", (decimation_kernel_size, decimation_kernel_size))
        check_linear("aniso_variance", aniso_variance)
        check_linear("iso_sigma", iso_sigma)
        check_interval("resize_most", (1, resize_most), 1)
        check_interval("decimation_sigma", decimation_sigma, 0)
        check_mix("noise_prob", noise_prob, NOISES)
        check_whole("noise_range", noise_range, 0)
        check_whole("jpeg_range", jpeg_range, 1, 100)
        self.halve_prob = halve_prob
        self.blur_kernel_size = blur_kernel_size
        self.aniso_prob = aniso_prob
        self.aniso_variance = aniso_variance
        self.iso_sigma = iso_sigma
        self.resize_prob = resize_prob
        self.resize_most = resize_most
        self.decimation_sigma = decimation_sigma
        self.decimation_kernel_size = decimation_kernel_size
        self.noise_prob = noise_prob
        self.noise_range = noise_range
        self.jpeg_prob = jpeg_prob
        self.jpeg_range = jpeg_range
        self.context = context

    def draw(self, scale: int, rng: np.random.Generator) -> list[Step]:
        first: list[Step] = []
        if scale == 4 and happens(self.halve_prob, rng):
            first = [Resize(0.5, one_of(INTERPOLATIONS, rng) if happens(0.5, rng) else "matlab")]
            scale = 2
        down = self._down(scale, rng)
        to_size: list[Step] = [Resize(1, one_of(INTERPOLATIONS, rng), to_target=True)]
        jpeg: list[Step] = [self._jpeg(rng)] if happens(self.jpeg_prob, rng) else []
        parts = [[self._blur(scale, rng)], [self._blur(scale, rng)], down, to_size, [self._noise(rng)], jpeg]
        order = list(rng.permutation(len(parts)))
        earlier, later = sorted((order.index(2), order.index(3)))
        order[earlier], order[later] = 2, 3
        return [*first, *(step for part in order for step in parts[part]), self._jpeg(rng)]

    def _blur(self, scale: int, rng: np.random.Generator) -> Step:
        size = whole(self.blur_kernel_size, rng, step=2)
        if happens(self.aniso_prob, rng):
            across, along = (uniform((0, limit(self.aniso_variance, scale)), rng) ** 0.5 for _ in range(2))
            return Blur("gaussian", size, (across, along), uniform((0, np.pi), rng))
        sigma = uniform((0, limit(self.iso_sigma, scale)), rng)
        return Blur("gaussian", size, (sigma, sigma))

    def _down(self, scale: int, rng: np.random.Generator) -> list[Step]:
        if happens(self.resize_prob, rng):
            return [Resize(1 / uniform((1, self.resize_most * scale), rng), one_of(INTERPOLATIONS, rng))]
        least, slope = self.decimation_sigma
        sigma = uniform((least, slope * scale), rng)
        # Centred on the middle of the block of which the first pixel is kept.
        shifted = Blur("gaussian", self.decimation_kernel_size, (sigma, sigma), shift=(scale - 1) / 2)
        return [shifted, Decimate(scale)]

    def _noise(self, rng: np.random.Generator) -> Step:
        kind = one_of(NOISES, rng, self.noise_prob)
        if kind != "correlated":
            return AddGaussianNoise(whole(self.noise_range, rng), gray=kind == "gray")
        axes = np.linalg.svd(rng.random((3, 3)))[0]
        covariance = self.noise_range[1] ** 2 * np.abs(axes.T * rng.random(3) @ axes)
        return AddCorrelatedNoise(tuple(map(tuple, covariance.tolist())))

    def _jpeg(self, rng: np.random.Generator) -> Step:
        return Jpeg(whole(self.jpeg_range, rng))


def limit(linear: Linear, scale: int) -> float:
    """The limit at `scale`."""
    return linear[0] + linear[1] * scale


def check_linear(name: str, linear: Linear) -> None:
    """Raises ValueError unless `linear` is two finite numbers of at least 0."""
    if not are_finite(linear, 2) or min(linear) < 0:
        raise ValueError(f"{name} must be two numbers of at least 0, a and b of a + b * scale, got {linear!r}")
