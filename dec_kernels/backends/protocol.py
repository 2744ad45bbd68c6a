"""What the operators in `dec_kernels.op` ask of a backend, and of the rows that it prepares.

A backend is an object without state. Between `prepare` and `to_images` it sees its own rows alone. It knows nothing of
reduction, autograd or `torch.distributed`.
"""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from dec_kernels.patches import Batch
from dec_kernels.spec import Constants


class Rows(Protocol):
    """The patches of a `Batch` as the kernels of a backend read them: G groups of m columns and r rows."""

    @property
    def order(self) -> Tensor:
        """(G, r) int64: row i is patch order[i] of its group, counted in the order of this process's images."""

    @property
    def kept(self) -> Tensor:
        """(bytes,) uint8: what `Backend.restore` takes in the backward."""


RowsT = TypeVar("RowsT", bound=Rows)


class Backend(Protocol[RowsT]):
    """What computes Qpos and Qneg (Eqs. 40, 41) of every row, and the gradient of a loss of them.

    Attributes:
        keeps_rows: whether `Rows.kept` holds the rows, so that the backward needs no images of the columns.
    """

    keeps_rows: bool

    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        """What keeps the backend from running rows of `dim` values here; empty if nothing does.

        Args:
            device: of the rows.
            dtype: of the rows.
            dim: D.
            landmarks: as in `Constants`.
        """

    def prepare(
        self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> RowsT:
        """The rows and columns of images, to be computed in `dtype`; with a group for each image where `per_image`."""

    def kept_bytes(
        self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> int:
        """The size of `Rows.kept` for images `own` (B, C, H, W) among `columns` patches in all.

        It takes no look at values.
        """

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
    ) -> RowsT:
        """The rows of the forward.

        Args:
            kept: theirs.
            batch: the images; None where the backend keeps the rows.
            own: this process's images, (B, C, H, W).
            columns: how many there are in all.
            patch_size: as for `prepare`.
            per_image: as for `prepare`.
            constants: as for `prepare`.
            dtype: as for `prepare`.
        """

    def forward(self, rows: RowsT, constants: Constants) -> Tensor:
        """Qpos and Qneg of every row, (2, G * r), in image order."""

    def backward(self, rows: RowsT, constants: Constants, weights: Tensor) -> Tensor:
        """The gradients of the rows, as `to_images` takes them.

        Args:
            rows: as prepared or restored.
            constants: those of the forward.
            weights: alpha = dL/dQpos and beta = dL/dQneg of every column, (2, G * m), in image order.
        """

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int, constants: Constants) -> Tensor:
        """dL/down in the shape, dtype and memory format of `own`, from what `backward` returned and `Rows.order`.

        The rows are not needed any more, so that the images can take their place in memory.
        """
