"""Each step against what it is said to do."""

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.special import j1

from dec_kernels.resize import downscale
from dec_kernels.trainer.data.degradation.steps import (
    Blur,
    CorrelatedNoise,
    Decimate,
    Filter,
    GaussianNoise,
    Interpolation,
    Jpeg,
    PoissonNoise,
    Resize,
    Shape,
    Sinc,
    Step,
    take,
)

SIZE = (16, 16)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(value: float, side: int = 200) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


FILTERS: list[Filter] = [
    Blur("gaussian", 21, (3.0, 3.0)),
    Blur("gaussian", 7, (0.2, 3.0), angle=2.0),
    Blur("gaussian", 9, (0.0, 0.0)),
    Blur("gaussian", 25, (0.01, 0.01), shift=1.5),
    Blur("generalized", 21, (1.5, 0.2), angle=-3.0, beta=0.5),
    Blur("generalized", 13, (3.0, 3.0), beta=4.0),
    Blur("plateau", 21, (0.2, 0.2), beta=2.0),
    Blur("plateau", 7, (3.0, 1.0), angle=1.0, beta=1.0),
    Sinc(21, math.pi / 5),
    Sinc(7, math.pi),
]


@pytest.mark.parametrize("step", FILTERS, ids=str)
def test_kernels_sum_to_one_and_keep_what_is_flat(step: Filter) -> None:
    kernel = step.kernel
    assert kernel.shape == (kernel.shape[0],) * 2
    assert np.isfinite(kernel).all()
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(step(flat(0.5, 31), SIZE, generator()), 0.5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_round_gaussians_are_opencv_s(sigma: float) -> None:
    line = cv2.getGaussianKernel(15, sigma, cv2.CV_64F)
    np.testing.assert_allclose(Blur("gaussian", 15, (sigma, sigma)).kernel, line @ line.T, atol=1e-8)


def test_elliptic_kernels_have_the_variances_along_their_axes() -> None:
    angle = 0.7
    kernel = Blur("gaussian", 61, (4.0, 2.0), angle).kernel
    y, x = np.mgrid[-30:31, -30:31]
    covariance = np.array([[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)])
    axis = np.array([math.cos(angle), math.sin(angle)])
    assert axis @ covariance @ axis == pytest.approx(16, rel=1e-3)
    assert np.linalg.det(covariance) == pytest.approx(16 * 4, rel=1e-3)


def test_shapes_at_some_distance() -> None:
    def ratio(shape: Shape, beta: float) -> float:
        kernel = Blur(shape, 7, (2.0, 2.0), beta=beta).kernel
        return kernel[3, 6] / kernel[3, 3]  # 3 pixels from the centre: q = (3 / 2)^2

    assert ratio("gaussian", 1.0) == pytest.approx(math.exp(-(1.5**2) / 2))
    assert ratio("generalized", 0.5) == pytest.approx(math.exp(-1.5 / 2))
    assert ratio("generalized", 4.0) == pytest.approx(math.exp(-(1.5**8) / 2))
    assert ratio("plateau", 2.0) == pytest.approx(1 / (1 + 1.5**4))


def test_a_shifted_blur_is_centred_on_the_block_that_is_kept() -> None:
    for scale in (2, 3, 4):
        kernel = Blur("gaussian", 25, (1.0, 1.0), shift=(scale - 1) / 2).kernel
        axis = np.arange(25) - 12
        assert (kernel.sum(0) * axis).sum() == pytest.approx((scale - 1) / 2)
        ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None] / 64, (64, 64, 3)).copy()
        step = Blur("gaussian", 25, (1.0, 1.0), shift=(scale - 1) / 2)
        kept = Decimate(scale)(step(ramp, SIZE, generator()), SIZE, generator())
        blocks = ramp[0, : 64 // scale * scale, 0].reshape(-1, scale).mean(1)
        middle = slice(16 // scale, 48 // scale)
        np.testing.assert_allclose(kept[32 // scale, middle, 0], blocks[middle], atol=1e-5)


def test_the_sinc_passes_below_its_cutoff_and_stops_above() -> None:
    cutoff = math.pi / 3
    kernel = Sinc(101, cutoff).kernel
    frequencies = np.abs(np.fft.fft2(kernel, (256, 256)))[0] / 1.0
    omega = 2 * math.pi * np.arange(256) / 256
    assert frequencies[omega < 0.8 * cutoff].min() > 0.9
    assert frequencies[(omega > 1.2 * cutoff) & (omega < math.pi)].max() < 0.1
    kernel = Sinc(7, cutoff).kernel
    limit = 0.5 * cutoff * cutoff / (2 * math.pi)  # J1(x) is x / 2 near 0
    assert kernel[3, 5] / kernel[3, 3] == pytest.approx(cutoff * j1(2 * cutoff) / (4 * math.pi) / limit)


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_resizes_by_a_factor_or_to_the_size(interpolation: Interpolation) -> None:
    image = generator().random((30, 41, 3), np.float32)
    assert Resize(0.43, interpolation)(image, SIZE, generator()).shape == (12, 17, 3)
    assert Resize(1.5, interpolation)(image, SIZE, generator()).shape == (45, 61, 3)
    assert Resize(0.01, interpolation)(image, SIZE, generator()).shape == (1, 1, 3)
    assert Resize(1, interpolation, to_target=True)(image, (7, 11), generator()).shape == (7, 11, 3)
    assert Resize(0.5, interpolation, to_target=True)(image, (7, 11), generator()).shape == (3, 5, 3)
    # A ramp stays one, and its middle where it is: pixels are where their centres are.
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None], (64, 64, 3)).copy()
    half = Resize(0.5, interpolation)(ramp, SIZE, generator())[10, 4:-4, 0]
    np.testing.assert_allclose(half, np.arange(32)[4:-4] * 2 + 0.5, atol=1e-4)


def test_area_alone_removes_what_the_smaller_grid_cannot_carry() -> None:
    stripes = np.broadcast_to((np.arange(64) // 2 % 2).astype(np.float32)[None, :, None], (64, 64, 3)).copy()
    spread = {
        kind: np.ptp(Resize(0.25, kind)(stripes, SIZE, generator())[:, 2:-2])  # type: ignore[arg-type]
        for kind in ("area", "bilinear", "bicubic", "matlab")
    }
    assert spread["area"] < 0.01
    assert spread["matlab"] < 0.01


def test_matlab_s_bicubic_is_the_trainer_s() -> None:
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    half = take([Resize(0.5, "matlab")], image, 2, generator())
    assert (half.int() - downscale(image, 2).int()).abs().max() <= 1
    assert (half == downscale(image, 2)).float().mean() > 0.99


@pytest.mark.parametrize("gray", [False, True])
def test_gaussian_noise_has_its_strength(gray: bool) -> None:
    noise = 255 * (GaussianNoise(12.0, gray)(flat(0.5), SIZE, generator()) - 0.5)
    assert noise.mean() == pytest.approx(0, abs=5 * 12 / 200)
    assert noise.std() == pytest.approx(12, rel=0.03)
    across = np.corrcoef(noise.reshape(-1, 3).T)
    assert across[0, 1] == pytest.approx(1 if gray else 0, abs=0.03)


def test_correlated_noise_has_its_covariance() -> None:
    wanted = np.array([[100.0, 60.0, 10.0], [60.0, 80.0, 20.0], [10.0, 20.0, 50.0]])
    step = CorrelatedNoise(tuple(map(tuple, wanted.tolist())))
    noise = 255 * (step(flat(0.5), SIZE, generator()) - 0.5)
    np.testing.assert_allclose(np.cov(noise.reshape(-1, 3).T), wanted, atol=4)


def test_poisson_noise_grows_with_the_brightness() -> None:
    # Two values: 2 photons are white. The variance of a mean of n photons of 2 is n / 4, times the strength squared.
    image = flat(1.0)
    image[:100] = 128 / 255
    noise = PoissonNoise(0.5, gray=False)(image, SIZE, generator()) - image
    assert noise[100:].var() == pytest.approx(0.25 * 2 / 4, rel=0.05)
    assert noise[:100].var() == pytest.approx(0.25 * 2 * 128 / 255 / 4, rel=0.05)
    assert np.abs(noise.mean((0, 1))).max() < 0.02


def test_photons_are_counted_by_the_values_of_8_bits() -> None:
    # 200 different values: white is 256 photons, so that the relative error is a sixteenth.
    image = np.broadcast_to(np.linspace(56, 255, 200, dtype=np.float32)[None, :, None] / 255, (200, 200, 3)).copy()
    noise = PoissonNoise(1.0, gray=False)(image, SIZE, generator()) - image
    assert noise[:, -20:].std() == pytest.approx(1 / 16, rel=0.1)


@pytest.mark.parametrize("step", [GaussianNoise(20.0, gray=True), PoissonNoise(2.0, gray=True), Jpeg(30)], ids=str)
def test_gray_stays_gray(step: Step) -> None:
    image = np.repeat(generator().random((40, 56, 1), np.float32), 3, axis=2)
    result = step(image, SIZE, generator())
    assert np.ptp(result, axis=2).max() < 1e-6


def test_jpeg_is_as_coarse_as_its_quality() -> None:
    image = cv2.GaussianBlur(generator().random((64, 64, 3), np.float32), (0, 0), 2)
    errors = [np.abs(Jpeg(quality)(image, SIZE, generator()) - image).mean() for quality in (95, 60, 30, 5)]
    assert errors == sorted(errors)
    assert errors[0] < 0.02
    # Red stays red: the channels are not taken for one another.
    red = flat(0.0, 32)
    red[..., 0] = 1
    assert np.abs(Jpeg(95)(red, SIZE, generator()) - red).max() < 0.05


@pytest.mark.parametrize(
    "step",
    [*FILTERS, Resize(0.6, "area"), GaussianNoise(9, gray=False), PoissonNoise(1, gray=False), Jpeg(50)],
    ids=str,
)
def test_steps_leave_their_input_alone(step: Step) -> None:
    image = generator().random((24, 24, 3), np.float32)
    before = image.copy()
    step(image, SIZE, generator())
    assert (image == before).all()


def test_steps_are_taken_in_order_and_clipped() -> None:
    image = torch.full((3, 8, 8), 255, dtype=torch.uint8)

    class Add(Step):
        def __init__(self, value: float) -> None:
            self.value = value

        def __call__(self, image: np.ndarray, target: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
            return image + self.value

        def __str__(self) -> str:
            return ""

    steps = [Add(3.0), Add(-0.4), Resize(1, "area", to_target=True)]
    assert take(steps, image, 2, generator()).unique().tolist() == [153]
    assert take(steps, image.to(torch.uint16) * 257, 2, generator()).unique().tolist() == [39321]
