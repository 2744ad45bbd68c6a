"""What the backends share that compute on `dec_kernels.patches.Patches`: all but Triton's."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dec_kernels import patches
from dec_kernels.patches import Batch, Patches
from dec_kernels.spec import Constants


class OnPatches(ABC):
    """A `Backend` of which only the sums and the gradients of sorted rows are left to say."""

    @abstractmethod
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int) -> list[str]:
        """As `Backend.reasons`."""

    @abstractmethod
    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        """Qpos and Qneg of the rows, (G, r) each."""

    @abstractmethod
    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        """dL/dz of the rows, (G, r, D), for alpha and beta of the columns, (G, m) each."""

    def prepare(
        self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> Patches:
        return patches.prepare(batch, patch_size, per_image, constants, dtype)

    def kept_bytes(self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants) -> int:
        return 0

    def restore(
        self, kept: Tensor, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants
    ) -> Patches:
        raise NotImplementedError("nothing is kept to restore rows from: they are prepared again")

    def forward(self, rows: Patches, constants: Constants) -> Tensor:
        return rows.unsort(*self.sums(rows, constants))

    def backward(self, rows: Patches, constants: Constants, weights: Tensor) -> Tensor:
        return rows.project_(self.gradients(rows, constants, *rows.sort(weights)))

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int) -> Tensor:
        return patches.to_images(gradients, order, own, patch_size)
