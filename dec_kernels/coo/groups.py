r"""Groups of patches that a model cannot tell apart, and what Theorems 1 and 2 say of each.

The group of a patch is its neighbourhood: all patches, itself included, whose LR patch is at least `threshold` dB like
its own. That is $P(I_y | I_x)$ of Eq. 8 for the $I_x$ of this patch, estimated from the data. A partition into groups
would cost less, but it is no conditional distribution: near a border between two groups a patch would lack its nearest
neighbours and have others that are twice as far away, and the borders would depend on the order of the patches. Groups
that overlap cost no memory, since only sums over each group are kept.

The LR patches of a group are nearly equal, not equal. So the center of a group is taken on the hyperplane of each
patch, as in Eq. 15: $\hat I_y = D^\dagger I_x + \frac1N \sum_j v_j$, with the null parts $v_j$ of the group and the
$I_x$ of the patch itself. Differences of brightness within the threshold then do not count as uncertainty.

D acts on whole images: an LR pixel depends on HR pixels beyond the patch above it. A patch cut from a null part
therefore varies in all its n = C * P * P values, and the Gaussian has n dimensions, as printed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.coo.gaussian import gaussian_entropy, shrunk_covariance
from dec_kernels.coo.neighbours import Neighbours

LEVELS = 255.0
"""Gray levels from black to white: the unit of pixels in entropies."""

GAUSSIANS = 128  # groups whose covariance is computed
ROUNDING = 1e-12  # variance in squared gray levels that float64 leaves of equal patches, and far more


class Groups(NamedTuple):
    r"""The group of each of m patches. Distances are l2 norms of patches, in the unit of the pixels.

    Attributes:
        size: N, (m,) int64.
        length: $L = |\hat I_y - D^\dagger I_x| = |\frac1N \sum_j v_j|$ (Eqs. 16 and 17; Eq. 22 lacks the bars of the
            norm), (m,).
        spread: $\mathrm{tr} \Sigma = \frac1N \sum_j |v_j - \bar v|^2$, the mean square distance of the group to its
            center (Eqs. 28 to 31; Eq. 28 divides by n and means N), (m,).
        entropy: in nats, (m,): $\log N$ for N < theta (Eq. 18), otherwise that of a Gaussian (Eq. 21) with pixels in
            gray levels, 0 to 255. As far as it is wider than a level in every direction, that is the entropy of patches
            that are rounded to 8 bits, so both are entropies of discrete values. Minus infinity where all patches are
            equal but for rounding; NaN for groups with N >= theta that are not among the sample of `GAUSSIANS`.
        shrinkage: of the covariance (`shrunk_covariance`), (m,), NaN where none was computed.
        to_center: from each HR patch to the center of its group on the patch's hyperplane, (m, n).
        pairs: how many pairs of patches were looked at.
    """

    size: Tensor
    length: Tensor
    spread: Tensor
    entropy: Tensor
    shrinkage: Tensor
    to_center: Tensor
    pairs: int


def measure(low: Tensor, null: Tensor, *, threshold: float, theta: int, seed: int) -> Groups:
    """Measures the group of each patch.

    It takes a few times the memory of `null`, and a matrix product of all neighbours with their null parts. Where very
    many patches have all others for neighbours, as in flat images, the time is quadratic in their number.

    Args:
        low: LR patches, (m, d) float64 in [0, 1].
        null: the null parts of the HR patches, (m, n) float64.
        threshold: PSNR in dB from which two LR patches cannot be told apart.
        theta: number of patches from which a group is taken for a Gaussian.
        seed: of the sample of groups whose covariance is computed.
    """
    neighbours = Neighbours(low, math.sqrt(low.shape[1]) * 10 ** (-threshold / 20))
    # One product gives all three sums over a group: of v, of |v|^2 and of 1.
    terms = torch.cat([null, null.square().sum(1, keepdim=True), torch.ones_like(null[:, :1])], dim=1)
    sums = torch.zeros_like(terms)
    for tile in neighbours.tiles():
        members = tile.near.any(0)
        sums.index_add_(0, tile.rows, tile.near[:, members].to(terms) @ terms[tile.columns[members]])
    mean, mean_square, size = sums[:, :-2], sums[:, -2], sums[:, -1].long()
    mean /= sums[:, -1:]
    mean_square /= sums[:, -1]
    length_square = mean.square().sum(1)
    entropy, shrinkage = _entropies(neighbours, null, size, theta, seed)
    return Groups(
        size=size,
        length=length_square.sqrt(),
        spread=(mean_square - length_square).clamp(min=0),
        entropy=entropy,
        shrinkage=shrinkage,
        to_center=mean - null,
        pairs=neighbours.pairs,
    )


def _entropies(neighbours: Neighbours, null: Tensor, size: Tensor, theta: int, seed: int) -> tuple[Tensor, Tensor]:
    entropy = torch.where(size < theta, size.double().log(), math.nan)
    shrinkage = torch.full_like(entropy, math.nan)
    large = (size >= theta).nonzero()[:, 0]
    drawn = torch.randperm(len(large), generator=torch.Generator().manual_seed(seed))[:GAUSSIANS]
    for row in large[drawn].tolist():
        covariance, shrinkage[row] = shrunk_covariance(LEVELS * null[neighbours.of(row)])
        equal = covariance.diagonal().mean() < ROUNDING
        entropy[row] = -math.inf if equal else gaussian_entropy(covariance)
    return entropy, shrinkage
