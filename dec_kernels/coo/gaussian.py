"""The entropy of a Gaussian that is known from a few samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_entropy(covariance: Tensor) -> float:
    r"""$\frac n2 (\log 2\pi + 1) + \frac12 \log|\Sigma|$ in nats, the entropy that Eq. 21 means.

    The paper prints $\frac12 |\Sigma|$, without the logarithm, in Eqs. 20, 21, 23 and 26. The last step of Eq. 20 loses
    it: $\log Z = \frac n2 \log 2\pi + \frac12 \log|\Sigma|$ by the definition of Z below Eq. 5.

    Args:
        covariance: (n, n).

    Returns:
        The entropy; minus infinity if the covariance is singular.
    """
    sign, log_determinant = torch.linalg.slogdet(covariance)
    if sign <= 0:
        return -math.inf
    return len(covariance) / 2 * (math.log(2 * math.pi) + 1) + log_determinant.item() / 2


def shrunk_covariance(samples: Tensor) -> tuple[Tensor, float]:
    r"""The covariance by Ledoit and Wolf (A well-conditioned estimator for large-dimensional covariance matrices,
    2004).

    The covariance of N samples, S, is singular for N <= n, and for N near n its determinant is far too small. The
    estimate is $(1 - \rho) S + \rho \frac{\mathrm{tr} S}{n} I$ with the $\rho$ that minimizes the expected error, which
    the samples tell: it is near 1 for few samples and vanishes for many. The trace stays what it is.

    Args:
        samples: (N, n).

    Returns:
        The estimate, (n, n) with the samples' dtype, and $\rho$, 0 to 1.
    """
    deviations = samples - samples.mean(0)
    count, dim = deviations.shape
    covariance = deviations.T @ deviations / count
    variance = covariance.trace() / dim
    square = covariance.square().sum()
    away = square - dim * variance**2  # |S - variance I|^2
    # The mean over the samples of |x x^T - S|^2, over N: how far S is from the truth.
    error = (deviations.square().sum(1).square().mean() - square) / count
    shrinkage = min(1.0, (error / away).item()) if away > 0 else 1.0
    identity = torch.eye(dim, dtype=samples.dtype, device=samples.device)
    return (1 - shrinkage) * covariance + shrinkage * variance * identity, shrinkage
