import math

import pytest
import torch
from torch import Tensor

from benchmarks.spectrum import beyond_lr


def wave(vertical: float, horizontal: float, amplitude: float, phase: float = 0.0) -> Tensor:
    """A gray wave of so many cycles a pixel: (3, 128, 96) uint8."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(96), indexing="ij")
    values = 128 + amplitude * torch.sin(2 * math.pi * (vertical * rows + horizontal * columns) + phase)
    return values.round().to(torch.uint8).expand(3, -1, -1)


@pytest.mark.parametrize("frequency", [(0.3, 0.0), (0.0, 0.2), (0.05, 0.4), (0.25, 0.25)])
def test_a_wave_beyond_lr(frequency: tuple[float, float]) -> None:
    hr = wave(*frequency, amplitude=100)
    energy, correlation = beyond_lr(wave(*frequency, amplitude=50), hr, scale=4)
    assert energy == pytest.approx(0.25, rel=0.01)
    assert correlation == pytest.approx(1, abs=0.001)
    energy, correlation = beyond_lr(wave(*frequency, amplitude=100, phase=math.pi / 2), hr, scale=4)
    assert energy == pytest.approx(1, rel=0.02)
    assert correlation == pytest.approx(0, abs=0.02)
    assert beyond_lr(wave(*frequency, amplitude=100, phase=math.pi), hr, scale=4)[1] == pytest.approx(-1, abs=0.01)


def test_what_lr_shows_does_not_count() -> None:
    hr = wave(0.3, 0, 40)
    low = (wave(0.05, 0.1, 80).int() - 128 + hr).to(torch.uint8)
    energy, correlation = beyond_lr(low, hr, scale=4)
    assert energy == pytest.approx(1, rel=0.02)
    assert correlation == pytest.approx(1, abs=0.01)
    assert beyond_lr(wave(0.3, 0, 20), wave(0.3, 0, 40), scale=2)[0] == pytest.approx(0.25, rel=0.02)
    assert beyond_lr(wave(0.2, 0, 40), hr, scale=2)[0] < 0.01  # up to 1/4 cycles, LR of half the size shows it


def test_all_coefficients_count_once_by_parseval() -> None:
    torch.manual_seed(0)
    for width in (96, 97):
        noise = torch.randint(0, 256, (3, 64, width), dtype=torch.uint8)
        energy, correlation = beyond_lr(noise // 2, noise, scale=10**6)
        assert energy == pytest.approx(0.25, rel=0.02)
        assert correlation == pytest.approx(1, abs=0.001)


def test_nothing_beyond_lr() -> None:
    flat = torch.full((3, 128, 96), 7, dtype=torch.uint8)
    assert beyond_lr(flat, wave(0.3, 0, 40), scale=4)[0] == pytest.approx(0, abs=1e-20)
