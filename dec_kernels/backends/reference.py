"""The equations as dense tensors behind the common face: float64, for checking the other backends at small n."""

import torch
from torch import Tensor

from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.patches import Patches
from dec_kernels.reference import positives, similarity_sums
from dec_kernels.spec import Constants


class Reference(OnPatches):
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
        return []

    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        qpos, qneg = similarity_sums(rows.z, rows.p, constants)
        return rows.of_rows(qpos), rows.of_rows(qneg)

    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        # The formula that stands above `dec_kernels.backends.torch`, with w, exp(S) and exp(A) as matrices.
        z, h = rows.z, rows.p * rows.p_scale[..., None]
        m = positives(rows.p, constants.radius)
        w = torch.where(m, alpha[..., None] / constants.t_pos, beta[..., None] / constants.t_neg)

        def exp(x: Tensor) -> Tensor:
            return torch.where(m, x / constants.t_pos, x / constants.t_neg).exp() if constants.inside else x.exp()

        return rows.of_rows(((w + w.mT) * exp(z @ z.mT)) @ z + 2 * (w * exp(h @ z.mT)).mT @ h)


BACKEND = Reference()
