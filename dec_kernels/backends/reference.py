"""The equations as dense tensors behind the common face: float64, for checking the other backends at small n."""

import torch
from torch import Tensor

from dec_kernels.patches import Patches
from dec_kernels.patches import kept_bytes as kept_bytes
from dec_kernels.patches import prepare as prepare
from dec_kernels.patches import to_images as to_images
from dec_kernels.reference import positives, similarity_sums
from dec_kernels.spec import Constants


def reasons(device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
    return []


def forward(patches: Patches, constants: Constants) -> Tensor:
    qpos, qneg = similarity_sums(patches.z, patches.p, constants)
    return patches.unsort(patches.of_rows(qpos), patches.of_rows(qneg))


def backward(patches: Patches, constants: Constants, weights: Tensor) -> Tensor:
    """dL/dz by the formula that stands above `dec_kernels.backends.torch`, with w, exp(S) and exp(A) as matrices."""
    alpha, beta = patches.sort(weights)
    z, h = patches.z, patches.p * patches.p_scale[..., None]
    m = positives(patches.p, constants.radius)
    w = torch.where(m, alpha[..., None] / constants.t_pos, beta[..., None] / constants.t_neg)

    def exp(x: Tensor) -> Tensor:
        return torch.where(m, x / constants.t_pos, x / constants.t_neg).exp() if constants.inside else x.exp()

    dz = ((w + w.mT) * exp(z @ z.mT)) @ z + 2 * (w * exp(h @ z.mT)).mT @ h
    return patches.project_(patches.of_rows(dz))
