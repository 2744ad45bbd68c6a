import math

import pytest
import torch
from torch import Tensor

from dec_kernels.coo.gaussian import gaussian_entropy, shrunk_covariance


def samples(count: int, dim: int) -> Tensor:
    """Of variances 1, 4, 9, ... and a mean that is not 0."""
    generator = torch.Generator().manual_seed(0)
    return 3 + torch.arange(1, dim + 1) * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def test_the_entropy_of_independent_values_is_the_sum_of_theirs() -> None:
    variances = torch.tensor([0.5, 1.0, 9.0], dtype=torch.float64)
    turned = torch.linalg.qr(torch.rand(3, 3, dtype=torch.float64)).Q
    wanted = sum(0.5 * math.log(2 * math.pi * math.e * variance) for variance in variances.tolist())
    assert gaussian_entropy(turned @ torch.diag(variances) @ turned.T) == pytest.approx(wanted)


def test_of_a_singular_covariance_it_is_minus_infinity() -> None:
    assert gaussian_entropy(torch.zeros(3, 3)) == -math.inf
    assert gaussian_entropy(torch.diag(torch.tensor([1.0, 0.0]))) == -math.inf


@pytest.mark.parametrize("count", [3, 8, 40])
def test_the_shrinkage_is_ledoit_and_wolfs(count: int) -> None:
    x = samples(count, 8)
    x -= x.mean(0)
    s = x.T @ x / count
    target = s.trace() / 8 * torch.eye(8, dtype=torch.float64)
    # Their d^2 and b^2, as printed: norms are over the dimension, and b is at most d.
    d = (s - target).square().sum() / 8
    b = sum((torch.outer(row, row) - s).square().sum() / 8 for row in x) / count**2
    wanted = min(b, d) / d
    covariance, shrinkage = shrunk_covariance(samples(count, 8))
    assert shrinkage == pytest.approx(wanted.item())
    torch.testing.assert_close(covariance, wanted * target + (1 - wanted) * s)
    assert covariance.trace() == pytest.approx(s.trace().item())
    assert math.isfinite(gaussian_entropy(covariance))


def test_many_samples_are_not_shrunk() -> None:
    covariance, shrinkage = shrunk_covariance(samples(200_000, 3))
    assert shrinkage < 1e-3
    wanted = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    torch.testing.assert_close(covariance, torch.diag(wanted), rtol=0.02, atol=0.05)


def test_equal_samples_have_no_covariance() -> None:
    covariance, _ = shrunk_covariance(torch.ones(5, 3))
    assert not covariance.any()
