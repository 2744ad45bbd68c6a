"""Real-ESRGAN's degradation: blur, resizing, noise and JPEG, twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dec_kernels.trainer.data.degradation.draws import (
    Interval,
    Whole,
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
    AddGaussianNoise,
    AddPoissonNoise,
    Blur,
    Filter,
    Interpolation,
    Jpeg,
    Resize,
    Shape,
    Sinc,
    Step,
    StepwiseDegradation,
)
from dec_kernels.trainer.ranges import NonNegativeInt, Probability, check_arguments

KERNELS: dict[str, Shape] = {
    "iso": "gaussian",
    "aniso": "gaussian",
    "generalized_iso": "generalized",
    "generalized_aniso": "generalized",
    "plateau_iso": "plateau",
    "plateau_aniso": "plateau",
}
DIRECTIONS = ("up", "down", "keep")
INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")

Six = tuple[float, float, float, float, float, float]
Three = tuple[float, float, float]

_LARGE = 13  # from this size on, a sinc kernel can carry lower cutoffs


class _Order(NamedTuple):
    """The settings of one of the two rounds."""

    kernel_prob: Six
    sinc_prob: float
    kernel_sizes: Whole
    blur_sigma: Interval
    betag_range: Interval
    betap_range: Interval
    resize_prob: Three
    resize_range: Interval
    gaussian_noise_prob: float
    noise_range: Interval
    poisson_scale_range: Interval
    gray_noise_prob: float
    jpeg_range: Whole


class RealESRGAN(StepwiseDegradation):
    """The second-order degradation of Real-ESRGAN (Wang et al., 2021).

    Blur, resizing, noise and JPEG, and then the same again with other settings; the second time, the image is resized
    to its final size and filtered by a sinc before or after the JPEG. The arguments have the names of the published
    options, of `train_realesrgan_x4plus.yml`, and their values as defaults; those of the second round end in 2.

    Args:
        kernel_prob: probabilities of the blur kernels iso, aniso, generalized_iso, generalized_aniso, plateau_iso and
            plateau_aniso, where it is no sinc.
        sinc_prob: probability of a sinc instead of those.
        blur_kernel_size: least and largest size of all kernels in pixels, odd.
        blur_sigma: standard deviations of the blur, in pixels.
        betag_range: the exponents of generalized Gaussians: half of them below 1, half above.
        betap_range: the exponents of plateaus, likewise; from 1 on, half of them are 1.
        resize_prob: probabilities that resizing enlarges, shrinks and does nothing.
        resize_range: the least and largest factor. The second round's are of the size that the low-resolution image has
            in the end.
        gaussian_noise_prob: probability that the noise is Gaussian; else it is Poisson noise.
        noise_range: standard deviations of Gaussian noise, in 255ths.
        poisson_scale_range: what Poisson noise is multiplied by.
        gray_noise_prob: probability that the noise is the same in the three channels.
        jpeg_range: JPEG qualities, 1 to 100.
        second_blur_prob: probability that the second round has a blur.
        final_sinc_prob: probability of the last sinc filter.
        context: see `Degradation`. The published crops of 400 pixels, cut to 256 after the degradation, have as much.

    Raises:
        ValueError: a probability, a range or a size is not one.
    """

    def __init__(
        self,
        kernel_prob: Six = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
        sinc_prob: Probability = 0.1,
        blur_kernel_size: Whole = (7, 21),
        blur_sigma: Interval = (0.2, 3.0),
        betag_range: Interval = (0.5, 4.0),
        betap_range: Interval = (1.0, 2.0),
        resize_prob: Three = (0.2, 0.7, 0.1),
        resize_range: Interval = (0.15, 1.5),
        gaussian_noise_prob: Probability = 0.5,
        noise_range: Interval = (1.0, 30.0),
        poisson_scale_range: Interval = (0.05, 3.0),
        gray_noise_prob: Probability = 0.4,
        jpeg_range: Whole = (30, 95),
        second_blur_prob: Probability = 0.8,
        kernel_prob2: Six = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
        sinc_prob2: Probability = 0.1,
        blur_sigma2: Interval = (0.2, 1.5),
        betag_range2: Interval = (0.5, 4.0),
        betap_range2: Interval = (1.0, 2.0),
        resize_prob2: Three = (0.3, 0.4, 0.3),
        resize_range2: Interval = (0.3, 1.2),
        gaussian_noise_prob2: Probability = 0.5,
        noise_range2: Interval = (1.0, 25.0),
        poisson_scale_range2: Interval = (0.05, 2.5),
        gray_noise_prob2: Probability = 0.4,
        jpeg_range2: Whole = (30, 95),
        final_sinc_prob: Probability = 0.8,
        context: NonNegativeInt = 72,
    ) -> None:
        given = dict(locals())
        check_arguments(RealESRGAN.__init__, given)
        check_kernel_sizes("blur_kernel_size", blur_kernel_size)
        for suffix in ("", "2"):
            check_mix(f"kernel_prob{suffix}", given[f"kernel_prob{suffix}"], tuple(KERNELS))
            check_mix(f"resize_prob{suffix}", given[f"resize_prob{suffix}"], DIRECTIONS)
            for name, least in (("blur_sigma", 0), ("noise_range", 0), ("poisson_scale_range", 0)):
                check_interval(name + suffix, given[name + suffix], least)
            for name in ("betag_range", "betap_range"):
                check_interval(name + suffix, given[name + suffix], 0)
                _check_around_one(name + suffix, given[name + suffix])
            check_interval(f"resize_range{suffix}", given[f"resize_range{suffix}"], 0.01)
            _check_around_one(f"resize_range{suffix}", given[f"resize_range{suffix}"])
            check_whole(f"jpeg_range{suffix}", given[f"jpeg_range{suffix}"], 1, 100)
        self._first = _Order(
            kernel_prob,
            sinc_prob,
            blur_kernel_size,
            blur_sigma,
            betag_range,
            betap_range,
            resize_prob,
            resize_range,
            gaussian_noise_prob,
            noise_range,
            poisson_scale_range,
            gray_noise_prob,
            jpeg_range,
        )
        self._second = _Order(
            kernel_prob2,
            sinc_prob2,
            blur_kernel_size,
            blur_sigma2,
            betag_range2,
            betap_range2,
            resize_prob2,
            resize_range2,
            gaussian_noise_prob2,
            noise_range2,
            poisson_scale_range2,
            gray_noise_prob2,
            jpeg_range2,
        )
        self.second_blur_prob = second_blur_prob
        self.final_sinc_prob = final_sinc_prob
        self.context = context

    def draw(self, scale: int, rng: np.random.Generator) -> list[Step]:
        first, second = self._first, self._second
        steps = [_blur(first, rng), _resize(first, rng), _noise(first, rng), _jpeg(first, rng)]
        if happens(self.second_blur_prob, rng):
            steps.append(_blur(second, rng))
        steps += [_resize(second, rng, to_target=True), _noise(second, rng)]
        last: list[Step] = [Resize(1, one_of(INTERPOLATIONS, rng), to_target=True)]
        if happens(self.final_sinc_prob, rng):
            last.append(_sinc(second.kernel_sizes, rng, lowest=3))
        jpeg = _jpeg(second, rng)
        return [*steps, *last, jpeg] if happens(0.5, rng) else [*steps, jpeg, *last]


def _blur(order: _Order, rng: np.random.Generator) -> Filter:
    if happens(order.sinc_prob, rng):
        return _sinc(order.kernel_sizes, rng, lowest=5)
    kind = one_of(tuple(KERNELS), rng, order.kernel_prob)
    size = whole(order.kernel_sizes, rng, step=2)
    sigma = uniform(order.blur_sigma, rng)
    other, angle = sigma, 0.0
    if kind.endswith("aniso"):
        other, angle = uniform(order.blur_sigma, rng), uniform((-np.pi, np.pi), rng)
    shape, beta = KERNELS[kind], 1.0
    if shape != "gaussian":
        least, most = order.betag_range if shape == "generalized" else order.betap_range
        beta = uniform((least, 1.0) if happens(0.5, rng) else (1.0, most), rng)
    return Blur(shape, size, (sigma, other), angle, beta)


def _sinc(sizes: Whole, rng: np.random.Generator, lowest: int) -> Sinc:
    """With a cutoff of at least pi / `lowest` where the kernel is large, and pi / 3 where it is small."""
    size = whole(sizes, rng, step=2)
    return Sinc(size, uniform((np.pi / (lowest if size >= _LARGE else 3), np.pi), rng))


def _resize(order: _Order, rng: np.random.Generator, to_target: bool = False) -> Step:
    least, most = order.resize_range
    direction = one_of(DIRECTIONS, rng, order.resize_prob)
    factor = 1.0 if direction == "keep" else uniform((1.0, most) if direction == "up" else (least, 1.0), rng)
    return Resize(factor, one_of(INTERPOLATIONS, rng), to_target)


def _noise(order: _Order, rng: np.random.Generator) -> Step:
    gray = happens(order.gray_noise_prob, rng)
    if happens(order.gaussian_noise_prob, rng):
        return AddGaussianNoise(uniform(order.noise_range, rng), gray)
    return AddPoissonNoise(uniform(order.poisson_scale_range, rng), gray)


def _jpeg(order: _Order, rng: np.random.Generator) -> Step:
    return Jpeg(whole(order.jpeg_range, rng))


def _check_around_one(name: str, interval: Interval) -> None:
    if not interval[0] <= 1 <= interval[1]:
        raise ValueError(f"{name} must hold 1, from which both directions are drawn, got {list(interval)}")
