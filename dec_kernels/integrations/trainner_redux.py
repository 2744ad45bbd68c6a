"""DECLoss for traiNNer-redux: importing this module registers `type: decloss` for the list `train: losses:`.

traiNNer-redux imports only the losses in its own folder. `dec-kernels install-shim traiNNer-redux PATH` writes a file
there that imports this module.
"""

from typing import Literal, Optional

import torch
from torch import Tensor

import dec_kernels
from dec_kernels.integrations import missing, register
from dec_kernels.spec import BackendName, Distance, Precision, Reduction, Remainder, Scope, Spec, Temperature

try:
    from traiNNer.utils.registry import LOSS_REGISTRY
except ImportError as error:
    raise missing(
        "traiNNer-redux", "Clone https://github.com/the-database/traiNNer-redux and run in that folder.", error
    ) from error


class DECLoss(dec_kernels.DECLoss):
    """`dec_kernels.DECLoss` in traiNNer-redux's convention, where the trainer multiplies the loss by abs(loss_weight).

    The arguments are those of `dec_kernels.DECLoss` that a config can hold. traiNNer-redux derives the JSON schema of
    its configs from this signature, so all types and defaults are repeated here.

    Args:
        loss_weight: the factor that the trainer applies. If it is negative, the trainer passes the upscaled input as
            the target.
        process_group: "world" takes negatives from all ranks.

    Raises:
        TypeError, ValueError: as `dec_kernels.DECLoss`.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        patch_size: int = 8,
        threshold: float = 34.0,
        t_pos: float = 0.5,
        t_neg: float = 1.5,
        max_val: float = 1.0,
        distance: Distance = "l2",
        temperature: Temperature = "outside",
        scope: Scope = "batch",
        remainder: Remainder = "crop",
        reduction: Reduction = "mean",
        precision: Precision = "auto",
        backend: BackendName = "auto",
        landmarks: Optional[int] = None,  # noqa: UP045  the generator of the schema does not know int | None
        norm_floor: float = 0.0,
        center: bool = False,
        process_group: Literal["world"] | None = None,
    ) -> None:
        super().__init__(
            patch_size,
            threshold,
            t_pos,
            t_neg,
            max_val=max_val,
            distance=distance,
            temperature=temperature,
            scope=scope,
            remainder=remainder,
            reduction=reduction,
            precision=precision,
            backend=backend,
            landmarks=landmarks,
            norm_floor=norm_floor,
            center=center,
            process_group=process_group,
        )
        self.loss_weight = loss_weight

    @property
    def loss_weight(self) -> float:
        """The factor that the trainer applies; the loss itself does not use it."""
        return self._loss_weight

    @loss_weight.setter
    def loss_weight(self, loss_weight: float) -> None:
        self._loss_weight = Spec(loss_weight=loss_weight).loss_weight  # raises: YAML reads 1e-2 as a string

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss without its weight; images and errors are those of `dec_kernels.DECLoss`."""
        # A teacher, or a negative weight, makes the target in inference mode. A compiled graph cannot detect that.
        return super().forward(sr, hr.clone() if torch.compiler.is_dynamo_compiling() else hr)


class DetailEnhancedContrastiveLoss(DECLoss):
    """The same loss, for use if the name DECLoss is taken."""


register(LOSS_REGISTRY, DECLoss, DetailEnhancedContrastiveLoss)
