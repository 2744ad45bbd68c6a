"""What the backends share that compute on `dec_kernels.patches.Patches`: all but Triton's."""

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from dec_kernels import landmarks, patches
from dec_kernels.patches import Batch, Patches
from dec_kernels.spec import Constants


class OnPatches(ABC):
    """A `Backend` of which only the sums and the gradients of sorted rows are left to say.

    With landmarks (`dec_kernels.landmarks`), sums and gradients come from features as if every pair were a negative.
    What is left then are the positives: what they add, and what the features say of the same pairs.
    """

    keeps_rows = False

    @abstractmethod
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        """As `Backend.reasons`."""

    @abstractmethod
    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        """Qpos and Qneg of the rows, (G, r) each."""

    @abstractmethod
    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        """dL/dz of the rows, (G, r, D), for alpha and beta of the columns, (G, m) each."""

    @abstractmethod
    def near_sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor, Tensor]:
        """Of the positives of each row, (G, r) each.

        Returns:
            Qpos; the sum over the same pairs of F_z,i . F_z,j + 2 F_h,i . F_z,j, not over t_neg; and their number, in
            the dtype of the rows.
        """

    @abstractmethod
    def near_gradients_(self, dz: Tensor, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> None:
        """Adds to dz what the positives add, and takes off what the features say of them.

        With a = alpha / t_pos, b = beta / t_neg, S~ and A~ by features, and x(X) = exp X, or exp(X / t_pos) inside:

            dz_k += sum_j m_kj {   [(a_k + a_j) x(S_kj) - (b_k + b_j) S~_kj] z_j
                               + 2 [      a_j   x(A_jk) -        b_j  A~_jk] h_j }

        Args:
            dz: (G, r, D), the gradient by features. A row without negatives must end without any of it.
            rows, constants: as prepared.
            alpha, beta: of the columns, (G, m) each.
        """

    def rows(self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype) -> Patches:
        """The rows and columns of images, without features."""
        return patches.prepare(batch, patch_size, per_image, constants, dtype)

    def prepare(
        self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> Patches:
        rows = self.rows(batch, patch_size, per_image, constants, dtype)
        return replace(rows, features=landmarks.features(rows, constants)) if constants.landmarks else rows

    def kept_bytes(
        self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> int:
        groups = own.shape[0] if per_image else 1
        return landmarks.kept_bytes(groups, columns // groups, constants.landmarks, dtype)

    def restore(
        self,
        kept: Tensor,
        batch: Batch | None,
        own: Tensor,
        columns: int,
        patch_size: int,
        per_image: bool,
        constants: Constants,
        dtype: torch.dtype,
    ) -> Patches:
        assert batch is not None
        rows = self.rows(batch, patch_size, per_image, constants, dtype)
        if not constants.landmarks:
            return rows
        groups, m, _ = rows.z.shape
        return replace(rows, features=landmarks.restore(kept, groups, m, constants.landmarks, dtype))

    def forward(self, rows: Patches, constants: Constants) -> Tensor:
        if rows.features is None:
            return rows.unsort(*self.sums(rows, constants))
        qpos, taken_off, positives = self.near_sums(rows, constants)
        total = landmarks.sums(rows, rows.features)
        # Where positives are nearly all, what is left may be less than rounding took away, or below zero.
        qneg = torch.maximum(total - taken_off, torch.finfo(total.dtype).eps * total.abs())
        qneg = torch.where(positives == rows.z.shape[1], 0, qneg if constants.inside else qneg / constants.t_neg)
        return rows.unsort(qpos, qneg)

    def backward(self, rows: Patches, constants: Constants, weights: Tensor) -> Tensor:
        alpha, beta = rows.sort(weights)
        if rows.features is None:
            return rows.project_(self.gradients(rows, constants, alpha, beta), constants)
        dz = landmarks.gradients(rows, rows.features, constants, beta)
        self.near_gradients_(dz, rows, constants, alpha, beta)
        return rows.project_(dz, constants)

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int, constants: Constants) -> Tensor:
        return patches.to_images(gradients, order, own, patch_size)
