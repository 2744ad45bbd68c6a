import math

import pytest
import torch
from torch import Tensor

from dec_kernels.coo import neighbours
from dec_kernels.coo.neighbours import Neighbours


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 7)
    monkeypatch.setattr(neighbours, "COLUMNS", 11)


def alike(m: int, dim: int) -> Tensor:
    """Rows of which some lie near each other, and some are equal."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(m // 4, dim, generator=generator, dtype=torch.float64).repeat(4, 1)
    noise = torch.randn(base.shape, generator=generator, dtype=torch.float64)
    return (base + 0.02 * noise * torch.arange(len(base))[:, None] / m).clamp(0, 1)


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.6, 10.0])
def test_every_pair_of_neighbours_is_found_once(small_tiles: None, radius: float) -> None:
    rows = alike(100, 12)
    found = Neighbours(rows, radius)
    counts, looked_at = torch.zeros(100, 100), 0
    for tile in found.tiles():
        assert tile.near.shape[0] <= 7
        assert tile.near.shape[1] <= 11
        counts[tile.rows[:, None], tile.columns] += tile.near
        looked_at += tile.near.numel()
    wanted = torch.cdist(rows, rows) <= radius
    assert torch.equal(counts, wanted.float())
    assert looked_at == found.pairs
    for row in (0, 17, 99):
        assert found.of(row).sort().values.tolist() == wanted[row].nonzero()[:, 0].tolist()


def test_of_a_hundred_thousand_rows_few_pairs_are_looked_at() -> None:
    """Rows with means all over [0, 1], at 34 dB: a band of 2 * 10^(-34 / 20) = 4 %, and a tile more."""
    m = 100_000
    rows = torch.linspace(0, 1, m, dtype=torch.float64)[torch.randperm(m)][:, None].expand(m, 12)
    found = Neighbours(rows, math.sqrt(12) * 10 ** (-34 / 20))
    assert 0.035 * m**2 < found.pairs < 0.045 * m**2
