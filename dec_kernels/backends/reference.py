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
    return patches.unsort(*sums(patches, constants))


def backward(patches: Patches, constants: Constants, weights: Tensor) -> Tensor:
    return patches.project_(gradients(patches, constants, *patches.sort(weights)))


def sums(patches: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg of the rows, (G, r) each."""
    qpos, qneg = similarity_sums(patches.z, patches.p, constants)
    return patches.of_rows(qpos), patches.of_rows(qneg)


def gradients(patches: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
    """dL/dz of the rows, (G, r, D), for alpha and beta of the columns, (G, m) each: by the formula
    that stands above `dec_kernels.backends.torch`, with w, exp(S) and exp(A) as matrices."""
    z, h = patches.z, patches.p * patches.p_scale[..., None]
    m = positives(patches.p, constants.radius)
    w = torch.where(m, alpha[..., None] / constants.t_pos, beta[..., None] / constants.t_neg)

    def exp(x: Tensor) -> Tensor:
        return torch.where(m, x / constants.t_pos, x / constants.t_neg).exp() if constants.inside else x.exp()

    return patches.of_rows(((w + w.mT) * exp(z @ z.mT)) @ z + 2 * (w * exp(h @ z.mT)).mT @ h)
