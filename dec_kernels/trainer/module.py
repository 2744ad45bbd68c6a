"""What a training step does: the generator, its loss terms, its optimizer and schedule, and what is logged."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from dec_kernels import DECLoss
from dec_kernels.trainer.data import Batch
from dec_kernels.trainer.metrics import measure, to_float, to_uint8
from dec_kernels.trainer.models import load_weights


class SuperResolution(LightningModule):
    """Trains a generator on ``pixel_weight * L1 + dec_weight * DECLoss``.

    Logged at every step, as ``train/NAME``: ``loss``; each term before its weight (``l1``, ``dec``); and how strongly
    each pulls at the output, ``NAME_pull``: the L2 norm of the gradient of the weighted term with respect to the
    super-resolved batch. The terms' values have different zeros and units; their pulls can be compared.
    Logged at validation and test: ``psnr_y``, ``psnr_rgb``, ``ssim_y``, ``ssim_rgb``.

    Args:
        generator: (B, 3, h, w) in [0, 1] to (B, 3, scale * h, scale * w). Its attribute ``scale`` is the border, in
            pixels, that the metrics leave out.
        pixel_weight: of the L1 loss, at least 0.
        dec: the Detail Enhanced Contrastive Loss, or None to train without.
        dec_weight: of ``dec``, at least 0.
        learning_rate: of Adam, reached after the warm-up.
        warmup_steps: during which the learning rate rises linearly; then it falls by half a cosine to 0.
        weights: file that the generator starts from, as :func:`~dec_kernels.trainer.models.read_weights` reads it: a
            checkpoint of an earlier stage, or BasicSR's. None starts from random weights.
    """

    def __init__(
        self,
        generator: nn.Module,
        pixel_weight: float = 1.0,
        dec: DECLoss | None = None,
        dec_weight: float = 1e-2,
        learning_rate: float = 1e-4,
        warmup_steps: int = 0,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name, number in (
            ("pixel_weight", pixel_weight),
            ("dec_weight", dec_weight),
            ("learning_rate", learning_rate),
            ("warmup_steps", warmup_steps),
        ):
            if not (math.isfinite(number) and number >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {number}")
        # Convolutions are faster with channels last, on CPUs and on tensor cores alike.
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.criteria = nn.ModuleDict({"l1": nn.L1Loss()})
        self.term_weights = {"l1": pixel_weight, "dec": dec_weight}
        if dec is not None:
            self.criteria["dec"] = dec
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.weights = weights

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.weights is not None:
            load_weights(self.generator, self.weights)

    def forward(self, lr: Tensor) -> Tensor:
        return self.generator(lr)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        sr = self.generator(batch["lr"]).float()
        loss = sr.new_zeros(())
        for name, criterion in self.criteria.items():
            value = criterion(self._watched(sr, name), batch["hr"])
            loss = loss + self.term_weights[name] * value
            self.log(f"train/{name}", value.detach(), prog_bar=True)
        self.log("train/loss", loss.detach())
        return loss

    def _watched(self, sr: Tensor, name: str) -> Tensor:
        """``sr`` by another name, so that the gradient of one term alone can be measured as it passes by."""
        alias = sr.view_as(sr)
        alias.register_hook(lambda gradient: self.log(f"train/{name}_pull", gradient.norm()))
        return alias

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_metrics("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_metrics("test", batch)

    def _log_metrics(self, prefix: str, batch: Batch) -> None:
        sums: dict[str, float] = defaultdict(float)
        for sr, hr in zip(self.upscale(batch["lr"]), to_uint8(batch["hr"]), strict=True):
            for name, value in measure(sr, hr, border=self.generator.scale).items():
                sums[name] += value
        count = len(batch["hr"])
        means = {f"{prefix}/{name}": total / count for name, total in sums.items()}
        self.log_dict(means, batch_size=count, sync_dist=True, prog_bar=True)

    @torch.inference_mode()
    def upscale(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) floating in [0, 1] to (B, 3, scale * h, scale * w) uint8, computed in float32."""
        with torch.autocast(lr.device.type, enabled=False):
            return to_uint8(self.generator(lr))

    def upscale_image(self, lr: Tensor) -> Tensor:
        """One 8-bit image: (3, h, w) to (3, scale * h, scale * w), uint8."""
        return self.upscale(to_float(lr)[None].to(self.device))[0].cpu()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.Adam(self.generator.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.warmup_steps, steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """The learning rate at ``step`` (from 0) of ``steps``, as a fraction of its peak."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
