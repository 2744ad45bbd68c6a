import re
from math import erf, exp, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.data import RandomCrops, SRDataModule
from dec_kernels.trainer.data.degradation import GaussianNoise


def flat(value: int, side: int = 200, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.full((3, side, side), value, dtype=torch.int32).to(dtype)


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@pytest.mark.parametrize("sigma", [5.0, 25.0])
@pytest.mark.parametrize(("dtype", "unit"), [(torch.uint8, 1), (torch.uint16, 257)])
def test_has_the_standard_deviation_in_8_bit_units(sigma: float, dtype: torch.dtype, unit: int) -> None:
    lr = GaussianNoise(sigma)(flat(128 * unit, dtype=dtype), 1, stream())
    assert lr.dtype == dtype
    noise = lr.double() / unit - 128
    rounding = 1 / 12 / unit**2
    assert noise.std().item() == pytest.approx(sqrt(sigma**2 + rounding), rel=0.01)
    assert abs(noise.mean().item()) < 4 * sigma / sqrt(noise.numel())
    # Neither neighbours nor channels have anything in common.
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1]), (noise[1:], noise[:-1])):
        assert abs((a * b).mean().item()) < 4 * sigma**2 / sqrt(a.numel())


def test_is_clipped_and_not_wrapped() -> None:
    sigma = 20.0
    black, white = (GaussianNoise(sigma)(flat(value), 1, stream()).double() for value in (0, 255))
    assert black.min() == 0
    assert white.max() == 255
    # Half a Gaussian lies at the end of the range: its mean is sigma / sqrt(2 pi), and half of the pixels stay.
    for distance in (black, 255 - white):
        assert distance.mean().item() == pytest.approx(sigma / sqrt(2 * pi), rel=0.02)
        assert (distance == 0).double().mean().item() == pytest.approx(0.5 + 0.5 * erf(0.5 / sigma / sqrt(2)), abs=0.01)
    near = GaussianNoise(sigma)(flat(20), 1, stream()).double()
    # E[max(0, 20 + n)] for one sigma above the end.
    assert near.mean().item() == pytest.approx(
        20 * 0.5 * (1 + erf(1 / sqrt(2))) + sigma * exp(-0.5) / sqrt(2 * pi), rel=0.01
    )


def test_draws_sigma_from_a_range_for_each_image() -> None:
    degradation = GaussianNoise((10.0, 30.0))
    found = [(degradation(flat(128, 64), 1, stream(seed)).double() - 128).std().item() for seed in range(200)]
    assert 9.5 < min(found) < 10.7
    assert 29.3 < max(found) < 31
    assert sum(found) / 200 == pytest.approx(20, abs=1.5)
    assert len({round(value, 6) for value in found}) == 200


def test_depends_on_the_stream_alone() -> None:
    hr, degradation = flat(100, 16), GaussianNoise((5.0, 50.0))
    assert torch.equal(degradation(hr, 1, stream(1)), degradation(hr, 1, stream(1)))
    assert not torch.equal(degradation(hr, 1, stream(1)), degradation(hr, 1, stream(2)))
    assert torch.equal(hr, flat(100, 16))
    assert torch.equal(GaussianNoise(0.0)(hr, 1, stream()), hr)


def test_training_and_evaluation_draw_it_each_in_their_way(photographs: Path) -> None:
    def data(seed: int) -> SRDataModule:
        folder = str(photographs)
        module = SRDataModule([folder], [folder], scale=1, crop_size=16, seed=seed, degradation=GaussianNoise(10.0))
        module.setup("fit")
        return module

    first, again, other = data(1), data(1), data(2)
    for a, b, c in zip(*(module.pairs["val"] for module in (first, again, other)), strict=True):
        assert torch.equal(a.lr, b.lr)
        assert torch.equal(a.lr, c.lr)  # every run is measured on the same images
        assert torch.equal(a.hr, c.hr)
        assert not torch.equal(a.hr, a.lr)
    crops = [RandomCrops(module.pairs["train"], 16, module.seed)[7] for module in (first, again, other)]
    assert torch.equal(crops[0]["lr"], crops[1]["lr"])
    assert not torch.equal(crops[0]["lr"], crops[2]["lr"])
    assert (crops[0]["lr"] - crops[0]["hr"]).std().item() * 255 == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(
    "sigma", [-1.0, (5.0, 2.0), (-1.0, 2.0), float("inf"), float("nan"), (1, 2, 3), (5.0,), "25", None]
)
def test_refuses_bad_sigmas(sigma: object) -> None:
    with pytest.raises(ValueError, match=rf"sigma must be.*{re.escape(repr(sigma))}"):
        GaussianNoise(sigma)  # type: ignore[arg-type]


def test_refuses_other_scales() -> None:
    with pytest.raises(ValueError, match="GaussianNoise needs scale 1, got 2"):
        GaussianNoise()(flat(0, 4), 2, stream())


@pytest.mark.parametrize(("value", "wanted"), [("15", (15.0, 15.0)), ("[0, 50]", (0.0, 50.0))])
def test_is_named_by_a_config(tiny_config: Path, value: str, wanted: tuple[float, float]) -> None:
    arguments = [
        *("--config", str(tiny_config), "--data.scale=1", "--data.degradation=dec_kernels.trainer.data.GaussianNoise"),
        f"--data.degradation.sigma={value}",
    ]
    degradation = TrainerCLI(arguments, run=False).datamodule.degradation
    assert isinstance(degradation, GaussianNoise)
    assert degradation.sigma == wanted
