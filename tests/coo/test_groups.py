"""Groups of synthetic patches, for which Theorems 1 and 2 are known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from dec_kernels.coo import groups
from dec_kernels.coo.gaussian import gaussian_entropy, shrunk_covariance
from dec_kernels.coo.groups import Groups, measure

DEVIATIONS = torch.tensor([0.01, 0.02, 0.04, 0.01, 0.03, 0.02], dtype=torch.float64)
TRACE = DEVIATIONS.square().sum().item()


def gaussians(count: int, size: int, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    """LR patches and null parts of `count` groups of `size` patches; v ~ N(mean, DEVIATIONS^2)."""
    generator = torch.Generator().manual_seed(0)
    low = torch.linspace(0, 1, count, dtype=torch.float64)[:, None].expand(count, 12).repeat_interleave(size, 0)
    null = mean + DEVIATIONS * torch.randn(count * size, 6, generator=generator, dtype=torch.float64)
    order = torch.randperm(count * size, generator=generator)
    return low[order], null[order]


def measured(low: Tensor, null: Tensor, theta: int = 10**6, threshold: float = 90) -> Groups:
    return measure(low, null, threshold=threshold, theta=theta, seed=0)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_theorem_1_the_center_comes_near_the_blurriest_point_as_n_grows(size: int) -> None:
    found = measured(*gaussians(500, size))
    assert (found.size == size).all()
    assert found.length.square().mean().item() == pytest.approx(TRACE / size, rel=0.15)
    torch.testing.assert_close(found.entropy, torch.full_like(found.entropy, math.log(size)))


def test_the_center_goes_to_the_mean_of_the_null_parts() -> None:
    found = measured(*gaussians(20, 1000, mean=0.05))
    torch.testing.assert_close(found.length, torch.full_like(found.length, 0.05 * math.sqrt(6)), rtol=0.03, atol=0)


@pytest.mark.parametrize("size", [2, 8, 64])
def test_theorem_2_the_mean_square_distance_is_the_trace(size: int) -> None:
    found = measured(*gaussians(500, size, mean=0.1))
    # Of N samples the covariance about their own mean is (N - 1) / N of the true one.
    assert found.spread.mean().item() == pytest.approx(TRACE * (size - 1) / size, rel=0.1)
    assert found.to_center.square().sum(1).mean().item() == pytest.approx(found.spread.mean().item(), rel=1e-9)


def test_the_entropy_of_a_large_group_is_that_of_its_gaussian_in_gray_levels() -> None:
    found = measured(*gaussians(4, 2000), theta=2000)
    wanted = gaussian_entropy(torch.diag((255 * DEVIATIONS).square()))
    sampled = ~found.entropy.isnan()
    assert sampled.sum() == groups.GAUSSIANS
    torch.testing.assert_close(found.entropy[sampled].mean().item(), wanted, rtol=0, atol=0.1)
    assert torch.equal(sampled, ~found.shrinkage.isnan())


def test_a_group_as_large_as_theta_is_a_gaussian_and_a_smaller_one_is_not() -> None:
    low, null = gaussians(2, 8)
    keep = torch.cat([(low[:, 0] == 0).nonzero()[:, 0], (low[:, 0] == 1).nonzero()[:7, 0]])
    found = measured(low[keep], null[keep], theta=8)
    assert found.size.tolist() == [8] * 8 + [7] * 7
    covariance, shrinkage = shrunk_covariance(255 * null[keep[:8]])
    torch.testing.assert_close(found.entropy[:8], torch.full((8,), gaussian_entropy(covariance), dtype=torch.float64))
    torch.testing.assert_close(found.shrinkage[:8], torch.full((8,), shrinkage, dtype=torch.float64))
    torch.testing.assert_close(found.entropy[8:], torch.full((7,), math.log(7), dtype=torch.float64))
    assert found.shrinkage[8:].isnan().all()


def test_neighbourhoods_that_overlap_are_those_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    low, null = (torch.rand(300, dim, generator=generator, dtype=torch.float64) for dim in (3, 6))
    threshold = 15.0
    near = torch.cdist(low, low) / math.sqrt(3) <= 10 ** (-threshold / 20)
    assert 2 < near.double().sum(1).mean() < 100
    found = measured(low, null, threshold=threshold)
    for i in range(300):
        own = null[near[i]]
        assert found.size[i] == len(own)
        torch.testing.assert_close(found.to_center[i], own.mean(0) - null[i])
        torch.testing.assert_close(found.length[i], own.mean(0).norm())
        torch.testing.assert_close(found.spread[i], (own - own.mean(0)).square().sum(1).mean())


def test_only_a_sample_of_the_large_groups_gets_a_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "GAUSSIANS", 3)
    low, null = gaussians(2, 10)
    found = measured(low, null, theta=5)
    assert (~found.entropy.isnan()).sum() == 3
    again, other = (measure(low, null, threshold=90, theta=5, seed=seed) for seed in (0, 1))
    assert torch.equal(again.entropy.isnan(), found.entropy.isnan())
    assert not torch.equal(other.entropy.isnan(), found.entropy.isnan())


@pytest.mark.parametrize(("psnr", "size"), [(33.999, 1), (34.001, 2)])
def test_a_group_begins_at_the_threshold(psnr: float, size: int) -> None:
    low = torch.full((2, 12), 0.5, dtype=torch.float64)
    signs = torch.tensor([1, -1] * 6)
    low[1] += 10 ** (-psnr / 20) * signs  # of the same mean
    assert measured(low, torch.rand(2, 6, dtype=torch.float64), threshold=34).size.tolist() == [size] * 2
