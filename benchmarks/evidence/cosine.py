"""The control that shows what the contrast adds: DECLoss's matching term alone."""

from torch import Tensor

from dec_kernels import DECLoss
from dec_kernels.reference import patch_rows, unit_rows


class MatchedCosine(DECLoss):
    r"""The mean of $1 - A_{ii}$ (Eq. 38): each SR patch is compared with its own HR patch and with no other.

    Its arguments are those of DECLoss. Patches, `norm_floor`, `center` and `loss_weight` have the same meaning; the
    others have no effect. With one positive a row, DECLoss's own gradient at $A_{ii}$ is 2/3 of this one's where SR is
    near to HR.
    """

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(B, C, H, W) and (B, C, H, W) to a scalar."""
        size = self.spec.patch_size
        q, p = patch_rows(sr, size), patch_rows(hr, size)
        constants = self.spec.constants(p.shape[-1], "ieee")
        z, h = (unit_rows(rows, size, constants) for rows in (q, p))
        return self.spec.loss_weight * (1 - (z * h).sum(-1)).mean()
