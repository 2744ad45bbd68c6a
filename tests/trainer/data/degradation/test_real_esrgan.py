"""What is drawn, against the published options."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from dec_kernels.trainer.data.degradation import RealESRGAN
from dec_kernels.trainer.data.degradation.base import sample_stream
from dec_kernels.trainer.data.degradation.steps import (
    AddGaussianNoise,
    AddPoissonNoise,
    Blur,
    Filter,
    Jpeg,
    Resize,
    Sinc,
    Step,
)
from tests.trainer.data.degradation.statistics import assert_probability, assert_uniform, assert_whole

DRAWS = 5000


class Drawn:
    """The steps of one draw by their roles."""

    def __init__(self, steps: list[Step]) -> None:
        self.first_blur, self.first_resize, self.first_noise, self.first_jpeg, *rest = steps
        self.second_blur = rest.pop(0) if isinstance(rest[0], Filter) else None
        self.second_resize, self.second_noise, *last = rest
        self.jpeg_last = isinstance(last[-1], Jpeg)
        (self.second_jpeg,) = (step for step in last if isinstance(step, Jpeg))
        (self.last_resize,) = (step for step in last if isinstance(step, Resize))
        self.last_sinc = next((step for step in last if isinstance(step, Sinc)), None)
        # The sinc follows the last resizing, and the JPEG comes before or after both.
        kinds = [type(step) for step in last if not isinstance(step, Jpeg)]
        assert kinds == ([Resize, Sinc] if self.last_sinc else [Resize])
        assert isinstance(last[0] if not self.jpeg_last else last[-1], Jpeg)


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    degradation = RealESRGAN()
    return [Drawn(degradation.draw(4, sample_stream(0, k))) for k in range(DRAWS)]


def kind(blur: Filter) -> str:
    if isinstance(blur, Sinc):
        return "sinc"
    assert isinstance(blur, Blur)
    # Of a plateau with beta 1 and of a round kernel of an aniso draw, the probability is 0.
    return f"{blur.shape} {'iso' if blur.sigma[0] == blur.sigma[1] else 'aniso'}"


@pytest.mark.parametrize("which", ["first", "second"])
def test_kernels(drawn: list[Drawn], which: str) -> None:
    blurs = [blur for each in drawn if (blur := getattr(each, f"{which}_blur"))]
    kinds = [kind(blur) for blur in blurs]
    probabilities = {
        "gaussian iso": 0.45,
        "gaussian aniso": 0.25,
        "generalized iso": 0.12,
        "generalized aniso": 0.03,
        "plateau iso": 0.12,
        "plateau aniso": 0.03,
    }
    assert_probability([each == "sinc" for each in kinds], 0.1)
    for each, probability in probabilities.items():
        assert_probability([found == each for found in kinds], 0.9 * probability)
    assert set(kinds) == {"sinc", *probabilities}
    assert_whole([blur.size for blur in blurs], range(7, 22, 2))
    sigma = [blur.sigma[0] for blur in blurs if isinstance(blur, Blur)]
    assert_uniform(sigma, 0.2, 3.0 if which == "first" else 1.5)
    aniso = [blur for blur, each in zip(blurs, kinds, strict=True) if each.endswith("aniso")]
    assert_uniform([blur.sigma[1] for blur in aniso], 0.2, 3.0 if which == "first" else 1.5)
    assert_uniform([blur.angle for blur in aniso], -math.pi, math.pi)
    assert all(blur.angle == 0 for blur, each in zip(blurs, kinds, strict=True) if each.endswith(" iso"))


@pytest.mark.parametrize("which", ["first", "second"])
def test_exponents(drawn: list[Drawn], which: str) -> None:
    blurs = [blur for each in drawn if isinstance(blur := getattr(each, f"{which}_blur"), Blur)]
    generalized = [blur.beta for blur in blurs if blur.shape == "generalized"]
    assert_probability([beta < 1 for beta in generalized], 0.5)
    assert_uniform([beta for beta in generalized if beta < 1], 0.5, 1)
    assert_uniform([beta for beta in generalized if beta > 1], 1, 4)
    plateaus = [blur.beta for blur in blurs if blur.shape == "plateau"]
    assert_probability([beta == 1 for beta in plateaus], 0.5)
    assert_uniform([beta for beta in plateaus if beta != 1], 1, 2)
    assert {blur.beta for blur in blurs if blur.shape == "gaussian"} == {1}


def test_sinc_filters(drawn: list[Drawn]) -> None:
    blurs = [blur for each in drawn for blur in (each.first_blur, each.second_blur) if isinstance(blur, Sinc)]
    assert_uniform([sinc.cutoff for sinc in blurs if sinc.size < 13], math.pi / 3, math.pi)
    assert_uniform([sinc.cutoff for sinc in blurs if sinc.size >= 13], math.pi / 5, math.pi)
    assert min(sinc.cutoff for sinc in blurs if sinc.size == 13) < math.pi / 3
    assert_probability([each.last_sinc is not None for each in drawn], 0.8)
    last = [each.last_sinc for each in drawn if each.last_sinc]
    assert_uniform([sinc.cutoff for sinc in last], math.pi / 3, math.pi)
    assert_whole([sinc.size for sinc in last], range(7, 22, 2))


@pytest.mark.parametrize(
    ("which", "up", "down", "least", "most"), [("first", 0.2, 0.7, 0.15, 1.5), ("second", 0.3, 0.4, 0.3, 1.2)]
)
def test_resizing(drawn: list[Drawn], which: str, up: float, down: float, least: float, most: float) -> None:
    resizes = [getattr(each, f"{which}_resize") for each in drawn]
    factors = [resize.factor for resize in resizes]
    assert_probability([factor > 1 for factor in factors], up)
    assert_probability([factor < 1 for factor in factors], down)
    assert_uniform([factor for factor in factors if factor > 1], 1, most)
    assert_uniform([factor for factor in factors if factor < 1], least, 1)
    assert {resize.to_target for resize in resizes} == {which == "second"}
    for interpolation in ("area", "bilinear", "bicubic"):
        assert_probability([resize.interpolation == interpolation for resize in resizes], 1 / 3)
        assert_probability([each.last_resize.interpolation == interpolation for each in drawn], 1 / 3)
    assert {(each.last_resize.factor, each.last_resize.to_target) for each in drawn} == {(1, True)}


@pytest.mark.parametrize(("which", "sigma", "strength"), [("first", 30, 3.0), ("second", 25, 2.5)])
def test_noise(drawn: list[Drawn], which: str, sigma: float, strength: float) -> None:
    noises = [getattr(each, f"{which}_noise") for each in drawn]
    gaussian = [noise for noise in noises if isinstance(noise, AddGaussianNoise)]
    poisson = [noise for noise in noises if isinstance(noise, AddPoissonNoise)]
    assert len(gaussian) + len(poisson) == DRAWS
    assert_probability([isinstance(noise, AddGaussianNoise) for noise in noises], 0.5)
    assert_uniform([noise.sigma for noise in gaussian], 1, sigma)
    assert_uniform([noise.strength for noise in poisson], 0.05, strength)
    assert_probability([noise.gray for noise in gaussian], 0.4)
    assert_probability([noise.gray for noise in poisson], 0.4)


def test_jpeg_and_order(drawn: list[Drawn]) -> None:
    assert_whole([each.first_jpeg.quality for each in drawn], range(30, 96))
    assert_whole([each.second_jpeg.quality for each in drawn], range(30, 96))
    assert_probability([each.second_blur is not None for each in drawn], 0.8)
    assert_probability([each.jpeg_last for each in drawn], 0.5)


def test_what_is_drawn_is_independent(drawn: list[Drawn]) -> None:
    numbers = np.array(
        [
            [
                each.first_resize.factor,
                each.first_jpeg.quality,
                each.second_resize.factor,
                each.second_jpeg.quality,
                each.first_noise.gray,
                each.second_noise.gray,
                each.jpeg_last,
            ]
            for each in drawn
        ],
        dtype=float,
    )
    correlations = np.corrcoef(numbers.T) - np.eye(numbers.shape[1])
    assert np.abs(correlations).max() < 5 / math.sqrt(DRAWS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_sizes_types_and_repetition(scale: int, dtype: torch.dtype) -> None:
    degradation = RealESRGAN()
    for k, (height, width) in enumerate([(1, 1), (1, 5), (13, 9), (24, 31)] * 3):
        hr = torch.randint(0, torch.iinfo(dtype).max + 1, (3, scale * height, scale * width)).to(dtype)
        before = hr.clone()
        lr = degradation(hr, scale, sample_stream(0, k))
        assert lr.shape == (3, height, width)
        assert lr.dtype == dtype
        assert torch.equal(degradation(hr, scale, sample_stream(0, k)), lr)
        assert torch.equal(hr, before)


def test_16_bits_are_kept_where_the_jpeg_is_not_last() -> None:
    hr = torch.randint(0, 65536, (3, 64, 64)).to(torch.uint16)
    degradation = RealESRGAN()
    fine = {bool((degradation(hr, 4, sample_stream(0, k)).int() % 257).any()) for k in range(20)}
    assert fine == {True, False}


def test_gray_images_stay_gray_with_gray_noise() -> None:
    gray = RealESRGAN(gray_noise_prob=1.0, gray_noise_prob2=1.0)
    hr = torch.randint(0, 256, (1, 96, 80), dtype=torch.uint8).expand(3, -1, -1)
    for k in range(20):
        lr = gray(hr, 4, sample_stream(0, k)).int()
        assert (lr.amax(0) - lr.amin(0)).max() <= 1


def test_settings_reach_the_steps() -> None:
    own = RealESRGAN(
        kernel_prob=(1, 0, 0, 0, 0, 0),
        sinc_prob=0,
        blur_kernel_size=(9, 9),
        blur_sigma=(0.7, 0.7),
        resize_prob=(0, 0, 1),
        gaussian_noise_prob=1,
        noise_range=(4, 4),
        gray_noise_prob=0,
        jpeg_range=(77, 77),
        second_blur_prob=0,
        resize_prob2=(0, 1, 0),
        resize_range2=(0.5, 1.0),
        gaussian_noise_prob2=0,
        poisson_scale_range2=(2, 2),
        gray_noise_prob2=1,
        jpeg_range2=(44, 44),
        final_sinc_prob=0,
    )
    for k in range(20):
        blur, resize, noise, jpeg, second, photons, *last = own.draw(2, sample_stream(0, k))
        assert blur == Blur("gaussian", 9, (0.7, 0.7))
        assert isinstance(resize, Resize)
        assert (resize.factor, resize.to_target) == (1, False)
        assert noise == AddGaussianNoise(4, gray=False)
        assert jpeg == Jpeg(77)
        assert isinstance(second, Resize)
        assert 0.5 <= second.factor < 1
        assert photons == AddPoissonNoise(2, gray=True)
        assert Counter(map(type, last)) == {Resize: 1, Jpeg: 1}
        assert Jpeg(44) in last


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_prob", (0.5, 0.5, 0, 0, 0, 0.1)),
        ("kernel_prob2", (0.5, 0.5)),
        ("sinc_prob", 1.5),
        ("blur_kernel_size", (7, 20)),
        ("blur_sigma2", (2.0, 1.0)),
        ("betag_range", (1.5, 4.0)),
        ("betap_range2", (0.5, 0.9)),
        ("resize_prob", (-0.1, 1.0, 0.1)),
        ("resize_range", (0.0, 1.5)),
        ("resize_range2", (1.1, 1.5)),
        ("gaussian_noise_prob2", -0.5),
        ("noise_range", (-1.0, 30.0)),
        ("noise_range2", (1.0, math.nan)),
        ("poisson_scale_range", (0.0, math.inf)),
        ("gray_noise_prob", 2),
        ("jpeg_range", (0, 95)),
        ("jpeg_range2", (30, 101)),
        ("second_blur_prob", 1.01),
        ("final_sinc_prob", math.nan),
        ("context", -1),
        ("kernel_prob", 0.5),
        ("blur_kernel_size", (7.0, 21.0)),
        ("blur_sigma", (0.2, 1.0, 3.0)),
        ("noise_range2", 25.0),
        ("jpeg_range", (30.5, 95)),
        ("jpeg_range2", ("30", "95")),
    ],
)
def test_wrong_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} "):
        RealESRGAN(**{name: value})  # type: ignore[arg-type]
