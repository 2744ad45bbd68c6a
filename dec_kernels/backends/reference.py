"""The equations as dense tensors behind the common face: float64, for checking the other backends at small n."""

import torch
from torch import Tensor

from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.patches import Patches
from dec_kernels.reference import positives, similarity_sums
from dec_kernels.spec import Constants


class Reference(OnPatches):
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        return []

    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        qpos, qneg = similarity_sums(rows.z, _h(rows), positives(rows.p, constants.radius), constants)
        return rows.of_rows(qpos), rows.of_rows(qneg)

    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        # The formula that stands above `dec_kernels.backends.torch`, with w, exp(S) and exp(A) as matrices.
        z, h = rows.z, _h(rows)
        m = positives(rows.p, constants.radius)
        w = torch.where(m, alpha[..., None] / constants.t_pos, beta[..., None] / constants.t_neg)

        def exp(x: Tensor) -> Tensor:
            return torch.where(m, x / constants.t_pos, x / constants.t_neg).exp() if constants.inside else x.exp()

        return rows.of_rows(((w + w.mT) * exp(z @ z.mT)) @ z + 2 * (w * exp(h @ z.mT)).mT @ h)

    def near_sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor, Tensor]:
        assert rows.features is not None
        z, h = rows.z, _h(rows)
        m = positives(rows.p, constants.radius)
        inner, outer = (constants.t_pos, 1.0) if constants.inside else (1.0, constants.t_pos)
        exact = ((z @ z.mT / inner).exp() + 2 * (h @ z.mT / inner).exp()) / outer
        similar = (rows.features.z + 2 * rows.features.h) @ rows.features.z.mT
        qpos, taken_off = (torch.where(m, of, 0).sum(-1) for of in (exact, similar))
        return rows.of_rows(qpos), rows.of_rows(taken_off), rows.of_rows(m.sum(-1).to(z.dtype))

    def near_gradients_(self, dz: Tensor, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> None:
        assert rows.features is not None
        z, h, (feature_z, feature_h, _) = rows.z, _h(rows), rows.features
        m = positives(rows.p, constants.radius)
        inner = constants.t_pos if constants.inside else 1.0

        def gradient(weight: Tensor, s: Tensor, a: Tensor) -> Tensor:
            w = torch.where(m, weight[..., None], 0)
            return rows.of_rows(((w + w.mT) * s) @ z + 2 * (w * a).mT @ h)

        exact = gradient(alpha / constants.t_pos, (z @ z.mT / inner).exp(), (h @ z.mT / inner).exp())
        similar = gradient(beta / constants.t_neg, feature_z @ feature_z.mT, feature_h @ feature_z.mT)
        dz -= similar
        dz.masked_fill_(rows.of_rows(m.all(-1))[..., None], 0)
        dz += exact


BACKEND = Reference()


def _h(rows: Patches) -> Tensor:
    return rows.x * rows.h_scale[..., None]
