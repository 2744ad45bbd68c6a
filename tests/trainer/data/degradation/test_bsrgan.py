"""What is drawn, against the published `degradation_bsrgan`."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from dec_kernels.trainer.data.degradation import BSRGAN
from dec_kernels.trainer.data.degradation.base import sample_stream
from dec_kernels.trainer.data.degradation.steps import (
    AddCorrelatedNoise,
    AddGaussianNoise,
    Blur,
    Decimate,
    Jpeg,
    Resize,
    Step,
)
from tests.trainer.data.degradation.statistics import assert_probability, assert_uniform, assert_whole

DRAWS = 5000


class Drawn:
    """The steps of one draw by their roles, and the names of the shuffled ones in their order."""

    def __init__(self, steps: list[Step]) -> None:
        self.halving = steps.pop(0) if isinstance(steps[0], Resize) and steps[0].factor == 0.5 else None
        self.scale = 2 if self.halving else 4
        *shuffled, self.last = steps
        self.order = [self._role(step) for step in shuffled]
        self.blurs = [step for step, role in zip(shuffled, self.order, strict=True) if role == "blur"]
        (self.down,) = (step for step, role in zip(shuffled, self.order, strict=True) if role == "down")
        (self.to_size,) = (step for step, role in zip(shuffled, self.order, strict=True) if role == "to_size")
        (self.noise,) = (step for step, role in zip(shuffled, self.order, strict=True) if role == "noise")
        self.jpegs = [step for step, role in zip(shuffled, self.order, strict=True) if role == "jpeg"]
        self.shifted = [step for step, role in zip(shuffled, self.order, strict=True) if role == "shifted"]
        assert all(b == "down" for a, b in pairwise(self.order) if a == "shifted")

    def _role(self, step: Step) -> str:
        if isinstance(step, Blur):
            return "shifted" if step.shift else "blur"
        if isinstance(step, Resize):
            return "to_size" if step.to_target else "down"
        return {Decimate: "down", AddGaussianNoise: "noise", AddCorrelatedNoise: "noise", Jpeg: "jpeg"}[type(step)]


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    degradation = BSRGAN()
    return [Drawn(degradation.draw(4, sample_stream(0, k))) for k in range(DRAWS)]


def test_halving_at_scale_4_alone(drawn: list[Drawn]) -> None:
    assert_probability([each.halving is not None for each in drawn], 0.25)
    kinds = [each.halving.interpolation for each in drawn if each.halving]
    assert_probability([kind == "matlab" for kind in kinds], 0.5)
    for kind in ("area", "bilinear", "bicubic"):
        assert_probability([found == kind for found in kinds], 1 / 6)
    for scale in (1, 2, 3):
        for k in range(50):
            first = BSRGAN(halve_prob=1).draw(scale, sample_stream(0, k))[0]
            assert not (isinstance(first, Resize) and first.interpolation == "matlab")


@pytest.mark.parametrize("scale", [2, 4])
def test_blurs(drawn: list[Drawn], scale: int) -> None:
    blurs = [blur for each in drawn if each.scale == scale for blur in each.blurs]
    assert len(blurs) == 2 * sum(each.scale == scale for each in drawn)
    assert_whole([blur.size for blur in blurs], range(7, 26, 2))
    aniso = [blur for blur in blurs if blur.sigma[0] != blur.sigma[1]]
    assert_probability([blur.sigma[0] != blur.sigma[1] for blur in blurs], 0.5)
    for axis in (0, 1):
        assert_uniform([blur.sigma[axis] ** 2 for blur in aniso], 0, 4 + scale)
    assert_uniform([blur.angle for blur in aniso], 0, math.pi)
    iso = [blur.sigma[0] for blur in blurs if blur.sigma[0] == blur.sigma[1]]
    assert_uniform(iso, 0, 2 + 0.2 * scale)
    assert {blur.shape for blur in blurs} == {"gaussian"}


@pytest.mark.parametrize("scale", [2, 4])
def test_downsampling(drawn: list[Drawn], scale: int) -> None:
    at = [each for each in drawn if each.scale == scale]
    resized = [each.down for each in at if isinstance(each.down, Resize)]
    decimated = [each for each in at if isinstance(each.down, Decimate)]
    assert_probability([isinstance(each.down, Resize) for each in at], 0.75)
    assert_uniform([1 / resize.factor for resize in resized], 1, 2 * scale)
    for kind in ("area", "bilinear", "bicubic"):
        assert_probability([resize.interpolation == kind for resize in resized], 1 / 3)
        assert_probability([each.to_size.interpolation == kind for each in at], 1 / 3)
    assert {each.down.step for each in decimated} == {scale}
    assert_uniform([each.shifted[0].sigma[0] for each in decimated], 0.1, 0.6 * scale)
    assert {(each.shifted[0].size, each.shifted[0].shift) for each in decimated} == {(25, (scale - 1) / 2)}
    assert {each.to_size.factor for each in at} == {1}


def test_noise(drawn: list[Drawn]) -> None:
    noises = [each.noise for each in drawn]
    gaussian = [noise for noise in noises if isinstance(noise, AddGaussianNoise)]
    assert_probability([isinstance(noise, AddCorrelatedNoise) for noise in noises], 0.2)
    assert_probability([isinstance(noise, AddGaussianNoise) and noise.gray for noise in noises], 0.4)
    assert_whole([noise.sigma for noise in gaussian if noise.gray], range(2, 26))
    assert_whole([noise.sigma for noise in gaussian if not noise.gray], range(2, 26))


def test_covariances(drawn: list[Drawn]) -> None:
    matrices = [np.array(each.noise.covariance) for each in drawn if isinstance(each.noise, AddCorrelatedNoise)]
    for matrix in matrices:
        np.testing.assert_allclose(matrix, matrix.T)
        assert matrix.min() >= 0
        # The absolute values of a 3 x 3 covariance are one again; its variances sum to 0 to 3 times the largest.
        assert np.linalg.eigvalsh(matrix).min() > -1e-9 * 25**2
    variances = np.array([np.trace(matrix) for matrix in matrices]) / 25**2
    assert 0 < variances.min() < variances.max() < 3
    # The sum of three uniform numbers: mean 3 / 2, variance 3 / 12.
    assert variances.mean() == pytest.approx(1.5, abs=5 * 0.5 / math.sqrt(len(variances)))
    assert variances.std() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(2 * len(variances)))


def test_jpeg(drawn: list[Drawn]) -> None:
    assert_probability([bool(each.jpegs) for each in drawn], 0.9)
    assert_whole([jpeg.quality for each in drawn for jpeg in each.jpegs], range(30, 96))
    assert_whole([each.last.quality for each in drawn], range(30, 96))


def test_all_orders_but_that_of_the_downsamplings(drawn: list[Drawn]) -> None:
    roles = ("blur", "down", "to_size", "noise", "jpeg")
    orders = [[role for role in each.order if role != "shifted"] for each in drawn if each.jpegs]
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted([*roles, "blur"]))}
    assert all(order.index("down") < order.index("to_size") for order in orders)
    # Six steps, two of them blurs: the noise and the JPEG are at each place equally often.
    for role in ("noise", "jpeg"):
        assert_whole([order.index(role) for order in orders], range(6))
    assert_probability([order.index("noise") < order.index("jpeg") for order in orders], 0.5)
    # Which of two downsamplings comes first is sorted: the first is at place i with (5 - i) / 15.
    for place in range(5):
        assert_probability([order.index("down") == place for order in orders], (5 - place) / 15)
    assert len(set(map(tuple, orders))) == 720 // 2 // 2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_sizes_types_and_repetition(scale: int, dtype: torch.dtype) -> None:
    degradation = BSRGAN(halve_prob=0.5)
    for k, (height, width) in enumerate([(1, 1), (1, 5), (13, 9), (24, 31)] * 3):
        hr = torch.randint(0, torch.iinfo(dtype).max + 1, (3, scale * height, scale * width)).to(dtype)
        before = hr.clone()
        lr = degradation(hr, scale, sample_stream(0, k))
        assert lr.shape == (3, height, width)
        assert lr.dtype == dtype
        assert torch.equal(degradation(hr, scale, sample_stream(0, k)), lr)
        assert torch.equal(hr, before)


def test_gray_images_stay_gray_with_gray_noise() -> None:
    gray = BSRGAN(noise_prob=(0, 1, 0))
    hr = torch.randint(0, 256, (1, 96, 80), dtype=torch.uint8).expand(3, -1, -1)
    for k in range(20):
        lr = gray(hr, 4, sample_stream(0, k))
        assert torch.equal(lr[0], lr[1])
        assert torch.equal(lr[0], lr[2])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_images_stay_in_their_place(scale: int) -> None:
    # A smooth image, so that all that a step could do to it is to move it.
    axis = torch.linspace(0, 4 * math.pi, 48 * scale)
    hr = (127 + 60 * (axis.sin()[:, None] + axis.cos()[None, :])).clamp(0, 255).to(torch.uint8).expand(3, -1, -1)
    still = BSRGAN(
        noise_prob=(1, 0, 0),
        noise_range=(0, 0),
        jpeg_range=(100, 100),
        aniso_variance=(0.5, 0),
        iso_sigma=(0.5, 0),
        decimation_sigma=(0.3, 0.3),
        resize_most=1.0,
    )
    wanted = hr.float().unfold(1, scale, scale).unfold(2, scale, scale).mean((3, 4))
    for k in range(40):
        lr = still(hr, scale, sample_stream(0, k)).float()
        assert (lr - wanted)[:, 4:-4, 4:-4].abs().mean() < 2.5


def test_settings_reach_the_steps() -> None:
    own = BSRGAN(
        halve_prob=0,
        blur_kernel_size=(9, 9),
        aniso_prob=0,
        iso_sigma=(0, 0),
        resize_prob=0,
        decimation_sigma=(0.5, 0.5),
        decimation_kernel_size=7,
        noise_prob=(1, 0, 0),
        noise_range=(3, 3),
        jpeg_prob=0,
        jpeg_range=(50, 50),
    )
    for k in range(10):
        *steps, last = own.draw(4, sample_stream(0, k))
        assert last == Jpeg(50)
        assert steps.count(Blur("gaussian", 9, (0, 0))) == 2
        (shifted,) = (step for step in steps if isinstance(step, Blur) and step.shift)
        assert shifted.size == 7
        assert 0.5 <= shifted.sigma[0] <= 2
        assert AddGaussianNoise(3, gray=False) in steps
        assert len(steps) == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("halve_prob", -0.1),
        ("blur_kernel_size", (8, 25)),
        ("aniso_prob", 1.5),
        ("aniso_variance", (-1.0, 1.0)),
        ("iso_sigma", (1.0, math.inf)),
        ("resize_prob", math.nan),
        ("resize_most", 0.5),
        ("decimation_sigma", (0.6, 0.1)),
        ("decimation_kernel_size", 24),
        ("noise_prob", (0.5, 0.5, 0.5)),
        ("noise_range", (25, 2)),
        ("jpeg_prob", 2),
        ("jpeg_range", (30, 200)),
        ("context", -1),
        ("blur_kernel_size", (7.0, 25.0)),
        ("aniso_variance", (1.0,)),
        ("decimation_sigma", 0.6),
        ("decimation_kernel_size", 25.0),
        ("noise_prob", 0.5),
        ("noise_range", (2.5, 25)),
        ("jpeg_range", (30.5, 95)),
        ("jpeg_range", 30),
    ],
)
def test_wrong_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} "):
        BSRGAN(**{name: value})  # type: ignore[arg-type]
