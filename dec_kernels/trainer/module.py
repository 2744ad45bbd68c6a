"""What a training step does: the networks, the loss terms, the optimizer and its schedule, and what is logged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dec_kernels import DECLoss
from dec_kernels.trainer.data import EvaluationBatch, SRDataModule, TrainingBatch
from dec_kernels.trainer.losses import PerceptualLoss, discriminator_loss, generator_loss, psnr_loss
from dec_kernels.trainer.lpips import LPIPS
from dec_kernels.trainer.means import mean_figures, score
from dec_kernels.trainer.metrics import METRICS, border_of, measure
from dec_kernels.trainer.models import check_generator, load_weights, stages_of
from dec_kernels.trainer.pixels import NonFiniteImageError, to_float, to_uint8
from dec_kernels.trainer.ranges import Decay, NonNegative, NonNegativeInt, PositiveInt, check_arguments
from dec_kernels.trainer.sizes import check_crop, check_for_lpips
from dec_kernels.trainer.tiles import check_tiles, upscale
from dec_kernels.trainer.wording import did_you_mean

_PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "psnr_loss": psnr_loss}


class NonFiniteError(RuntimeError):
    """The loss or its gradient is NaN or infinite."""


class Evaluated(TypedDict):
    """One image of a validation or test: `lr` (3, h, w), `sr` and `hr` (3, scale * h, scale * w), uint8, on the
    CPU, and the figures that compare `sr` with `hr`. Where the network's output is NaN or infinite, `sr` is None
    and the figures are NaN."""

    name: str
    lr: Tensor
    sr: Tensor | None
    hr: Tensor
    figures: dict[str, float]


class SuperResolution(LightningModule):
    """Trains a generator on a weighted sum of a pixel loss, a perceptual loss, DECLoss and a relativistic average GAN.

    A network of several stages (see `stages_of`) has the pixel loss on the image of each stage, all with one weight,
    as HINet's authors train it; the other terms see its result, the last image, alone.

    Logged at every step, as `train/NAME`: `loss`, the weighted sum of all; each term before its weight (`l1` or
    `psnr_loss`, of the first of two stages `l1_stage1`; `perceptual`, `dec`, `gan`); how strongly each pulls at the
    image that it sees, `NAME_pull`: the L2 norm of the gradient of the weighted term with respect to the batch (the
    terms' values have different zeros and units; their pulls can be compared); `discriminator`, its loss; and
    `learning_rate`. With several processes these are the figures of the first one.

    Logged at validation and test, as `val/NAME` and `test/NAME`: `psnr_y`, `psnr_rgb`, `ssim_y`, `ssim_rgb`
    and, where `lpips` is given, `lpips`, the means over the images where they are finite (see
    `means`); `exact` and `nonfinite`, how many images have an infinite PSNR and how many
    an output that is NaN or infinite; and `score`, by which the best checkpoint is chosen.

    Generator and discriminator are updated together, each from the gradient at the weights before the step. ESRGAN's
    two steps come to the same, since its discriminator is shown the images from before the generator's step.

    Args:
        generator: (B, 3, h, w) in [0, 1] to (B, 3, scale * h, scale * w). Its attribute `scale` is the border, in
            pixels, that the metrics leave out, but for scale 1, where they leave out none; its attribute `multiple` is
            what h and w must be multiples of.
        pixel: the pixel loss: `l1`; or `psnr_loss`, HINet's negative PSNR in dB.
        pixel_weight: of the pixel loss, at least 0. HINet has 0.5 for `psnr_loss`.
        perceptual: the perceptual loss, or None to train without.
        perceptual_weight: of `perceptual`, at least 0.
        dec: the Detail Enhanced Contrastive Loss, or None to train without.
        dec_weight: of `dec`, at least 0.
        discriminator: (B, 3, H, W) to logits, for a relativistic average GAN; or None to train without.
        gan_weight: of the generator's part of it, at least 0.
        enhance: applied to both images in front of the losses in `enhance_terms`, as `FrequencyEnhancement` is meant to
            be; or None. Whatever parameters it has are not trained.
        enhance_terms: which losses see enhanced images: the one of `pixel`, `perceptual`, `dec`, and `gan` (with
            its discriminator).
        learning_rate: of Adam, reached after the warm-up.
        warmup_steps: optimizer steps in which the learning rate rises linearly; then it falls by half a cosine to 0.
        cycles: how many such cosines follow each other, at least 1.
        cycle_decay: the factor from one cosine's peak to that of the next; without effect for one cycle.
        weights: file that the generator starts from, as `read_weights` reads it: a
            checkpoint of an earlier stage, or a public ESRGAN file. None starts from random weights.
        ema_decay: of an exponential moving average of the generator's weights, in [0, 1); 0.999 is usual, 0 is none.
            Where there is one, validation, test and prediction use it.
        nonfinite: what to do at a NaN or infinite loss or gradient: "stop" with an error, or "skip" the optimizer step
            with a warning. A step that is skipped leaves weights, optimizer, moving average and the networks' buffers
            (batch norms' statistics) as they were.
        nonfinite_limit: of so many steps skipped one after another, the last one stops with an error after all; at
            least 1. A resumed training goes on counting.
        tile: side of the tiles, in low-resolution pixels, in which images are evaluated; None takes them whole.
        overlap: low-resolution pixels of context around each tile.
        lpips: perceptual distance to report beside PSNR and SSIM, or None.
    """

    def __init__(
        self,
        generator: nn.Module,
        pixel: Literal["l1", "psnr_loss"] = "l1",
        pixel_weight: NonNegative = 1.0,
        perceptual: PerceptualLoss | None = None,
        perceptual_weight: NonNegative = 1.0,
        dec: DECLoss | None = None,
        dec_weight: NonNegative = 1e-2,
        discriminator: nn.Module | None = None,
        gan_weight: NonNegative = 5e-3,
        enhance: nn.Module | None = None,
        enhance_terms: Sequence[str] = ("dec",),
        learning_rate: NonNegative = 1e-4,
        warmup_steps: NonNegativeInt = 0,
        cycles: PositiveInt = 1,
        cycle_decay: NonNegative = 0.5,
        weights: str | Path | None = None,
        ema_decay: Decay = 0.0,
        nonfinite: Literal["stop", "skip"] = "stop",
        nonfinite_limit: PositiveInt = 10,
        tile: int | None = None,
        overlap: int = 32,
        lpips: LPIPS | None = None,
    ) -> None:
        super().__init__()
        check_arguments(SuperResolution.__init__, locals())
        check_generator(generator)
        if tile is not None:
            check_tiles(generator, tile, overlap)
        # Convolutions are faster with channels last, on CPUs and on tensor cores alike.
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = _averaged(self.generator, ema_decay) if ema_decay else None
        self.discriminator = discriminator
        if discriminator is not None:
            discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.perceptual = perceptual
        self.dec = dec
        self.pixel = pixel
        self.term_weights = {
            pixel: pixel_weight,
            "perceptual": perceptual_weight,
            "dec": dec_weight,
            "gan": gan_weight,
            "discriminator": 1.0,
        }
        self.enhance = enhance
        self.enhance_terms = tuple(enhance_terms)
        self._check_enhancement()
        self.learning_rate = float(learning_rate)  # checkpoints hold it, and they hold plain values alone
        self.warmup_steps = warmup_steps
        self.cycles = cycles
        self.cycle_decay = cycle_decay
        self.weights = weights
        self.nonfinite = nonfinite
        self.nonfinite_limit = nonfinite_limit
        self._skipped = 0  # optimizer steps one after another, up to the last one
        self._buffers_before_step: dict[str, Tensor] = {}
        self.tile = tile
        self.overlap = overlap
        self.lpips = lpips
        self._terms_of_step: list[dict[str, Tensor]] = []  # one entry for each batch since the last optimizer step
        self._evaluated: list[dict[str, float]] = []  # one entry for each image of the evaluation at hand

    def _check_enhancement(self) -> None:
        """Raises ValueError where a term is unknown, or where `enhance` would have no effect."""
        trained = {self.pixel: True, "perceptual": self.perceptual, "dec": self.dec, "gan": self.discriminator}
        for name in self.enhance_terms:
            if name not in trained:
                raise ValueError(
                    f"enhance_terms: there is no term {name!r}, known are {', '.join(trained)}."
                    + did_you_mean(name, trained)
                )
            if self.enhance is not None and trained[name] is None:
                raise ValueError(f"enhance_terms: {name!r} is not trained, so that enhance would have no effect on it")
        if self.enhance is not None and not self.enhance_terms:
            raise ValueError("enhance_terms: the list is empty, so that enhance would have no effect")

    def setup(self, stage: str) -> None:
        if self.weights is not None:
            if not Path(self.weights).is_file():
                raise FileNotFoundError(f"model.weights: there is no file {str(self.weights)!r}")
            load_weights(self.generator, self.weights)
            if self.averaged is not None:
                self.averaged.module.load_state_dict(self.generator.state_dict())
        data = self.trainer.datamodule if self._trainer else None  # type: ignore[attr-defined]
        if isinstance(data, SRDataModule):
            if stage == "fit":
                check_crop(self.generator, data.crop_size, data.scale)
            for split in ("val", "test"):
                if self.lpips is not None and split in data.pairs:
                    check_for_lpips(data.pairs[split])

    def forward(self, lr: Tensor) -> Tensor:
        return self.generator(lr)

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:
        # Dropout and the like depend on the batch's number alone, so that a resumed run draws what it would have drawn.
        number = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        torch.manual_seed(int(np.random.SeedSequence([number, self.global_rank]).generate_state(1)[0]))

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        hr = batch["hr"]
        if self.nonfinite == "skip" and not self._terms_of_step:
            self._buffers_before_step = {name: buffer.clone() for name, buffer in self._trained_buffers()}
        images = [image.to(hr.dtype) for image in stages_of(self.generator, batch["lr"])]  # autocast makes them 16 bits
        for image in images:
            if image.shape != hr.shape:
                made, given = tuple(image.shape), tuple(batch["lr"].shape)
                raise ValueError(f"the generator makes {made} of {given}, and {tuple(hr.shape)} is wanted")
        sr = images[-1]
        pixel_terms = [*(f"{self.pixel}_stage{number}" for number in range(1, len(images))), self.pixel]
        terms = {
            name: _PIXEL_LOSSES[self.pixel](*self._compared(name, image, hr))
            for name, image in zip(pixel_terms, images, strict=True)
        }
        weights = self.term_weights | dict.fromkeys(pixel_terms, self.term_weights[self.pixel])
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(*self._compared("perceptual", sr, hr))
        if self.dec is not None:
            terms["dec"] = self.dec(*self._compared("dec", sr, hr))
        if self.discriminator is not None:
            found, wanted = self._compared("gan", sr, hr)
            real = self.discriminator(wanted)
            with _frozen(self.discriminator):
                terms["gan"] = generator_loss(real.detach(), self.discriminator(found))
            terms["discriminator"] = discriminator_loss(real, self.discriminator(found.detach()))
        loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True)
        self.log("train/loss", loss.detach())
        self._terms_of_step.append({name: value.detach() for name, value in terms.items()})
        return loss

    def _compared(self, name: str, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """The images as the term `name` is to see them; those of a pixel loss's stages begin with its own name."""
        watched = self._watched(sr, name)
        if self.enhance is None or not name.startswith(self.enhance_terms):
            return watched, hr
        return self.enhance(watched), self.enhance(hr)

    def _watched(self, sr: Tensor, name: str) -> Tensor:
        """`sr` by another name, so that the gradient of one term alone can be measured as it passes by."""
        alias = sr.view_as(sr)
        alias.register_hook(lambda gradient: self.log(f"train/{name}_pull", gradient.norm() / self._loss_scale()))
        return alias

    def _loss_scale(self) -> float:
        """What the trainer multiplies the loss by before the backward pass."""
        return (self._scaler.get_scale() if self._scaler else 1.0) / self.trainer.accumulate_grad_batches

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.trainer.precision_plugin, "scaler", None)  # only float16 has one

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log("train/learning_rate", optimizer.param_groups[0]["lr"])
        terms, self._terms_of_step = self._terms_of_step, []
        finite = torch.stack([value.isfinite() for batch in terms for value in batch.values()]).all()
        if self._scaler is None:
            gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
            finite &= torch.nn.utils.get_total_norm(gradients).isfinite()
        # A scaler skips infinite gradients by itself, and halves its scale; that far down, none of them was finite.
        hopeless = self._scaler is not None and self._scaler.get_scale() < 1
        if self.trainer.strategy.reduce_boolean_decision(bool(finite) and not hopeless):
            self._skipped = 0
            return
        self._skipped += 1
        message = f"the loss or its gradient is not finite at step {self.global_step}: {_values(terms)}"
        if self.trainer.world_size > 1:
            message += f" (process {self.global_rank}; another one may have caused it)"
        if self.nonfinite == "stop":
            raise NonFiniteError(f"{message}. Lower model.learning_rate, or set model.nonfinite to skip")
        if self._skipped >= self.nonfinite_limit:
            raise NonFiniteError(
                f"{message}. With it, {self._skipped} steps in a row would be skipped, and model.nonfinite_limit is "
                f"{self.nonfinite_limit}. Lower model.learning_rate, or go on from an earlier checkpoint"
            )
        rank_zero_warn(f"{message}. The step is skipped.")
        optimizer.zero_grad()  # a parameter without a gradient is left as it is, and so are Adam's averages of it
        for name, buffer in self._trained_buffers():
            buffer.copy_(self._buffers_before_step[name])

    def _trained_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """What a forward pass of a network that is trained may change, such as batch norms' statistics."""
        yield from self.generator.named_buffers("generator")
        if self.discriminator is not None:
            yield from self.discriminator.named_buffers("discriminator")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped"] = self._skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._skipped = checkpoint.get("skipped", 0)  # older checkpoints are without

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if gradient_clip_val:
            clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
            for group in optimizer.param_groups:  # each network by its own gradient
                clip(group["params"], gradient_clip_val)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        scale = self._scaler.get_scale() if self._scaler else 1.0
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        # A scaler that has left a step out by itself has lowered its scale.
        done = not self._skipped and (self._scaler is None or self._scaler.get_scale() >= scale)
        if self.averaged is not None and done:
            self.averaged.update_parameters(self.generator)

    def on_validation_epoch_start(self) -> None:
        self._evaluated = []

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> Evaluated:
        return self._evaluate("val", batch)

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> Evaluated:
        return self._evaluate("test", batch)

    def _evaluate(self, prefix: str, batch: EvaluationBatch) -> Evaluated:
        (name,) = batch["name"]
        lr, hr = batch["lr"], to_uint8(batch["hr"])
        shown: Tensor | None = None
        try:
            sr = self.upscale(lr)[0]
        except NonFiniteImageError:
            figures = {metric: math.nan for metric in METRICS if metric != "lpips" or self.lpips is not None}
        else:
            figures = measure(sr, hr[0], border_of(self.generator.scale), self.lpips)
            shown = sr.cpu()
        self._evaluated.append(figures)
        return {"name": name, "lr": to_uint8(lr)[0].cpu(), "sr": shown, "hr": hr[0].cpu(), "figures": figures}

    def on_validation_epoch_end(self) -> None:
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        self._log_means("test")

    def _log_means(self, prefix: str) -> None:
        logged = mean_figures(self._evaluated)
        for name, is_so in (("exact", math.isinf), ("nonfinite", math.isnan)):
            logged[name] = float(sum(any(map(is_so, figures.values())) for figures in self._evaluated))
        logged["score"] = score(self._evaluated)
        for name, value in logged.items():  # which all processes have, of the same images
            self.log(f"{prefix}/{name}", value, sync_dist=True, prog_bar=name == "psnr_y")

    @torch.inference_mode()
    def upscale(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) floating in [0, 1] to (B, 3, scale * h, scale * w) uint8, computed in float32.

        Raises:
            NonFiniteImageError: the network's output is NaN or infinite.
        """
        network = self.generator if self.averaged is None else self.averaged.module
        with torch.autocast(lr.device.type, enabled=False):
            return upscale(network, lr, self.tile, self.overlap, finish=to_uint8)

    def upscale_image(self, lr: Tensor) -> Tensor:
        """One 8-bit image: (3, h, w) to (3, scale * h, scale * w), uint8; see `upscale`."""
        return self.upscale(to_float(lr)[None].to(self.device))[0].cpu()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        networks = [self.generator] if self.discriminator is None else [self.generator, self.discriminator]
        groups = [{"params": list(network.parameters())} for network in networks]
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, betas=(0.9, 0.999))
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise ValueError("the learning rate's schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.warmup_steps, steps, self.cycles, self.cycle_decay)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _averaged(generator: nn.Module, decay: float) -> AveragedModel:
    """A moving average of `generator`, that no optimizer and no process group touches."""
    averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))
    averaged.requires_grad_(False)
    return averaged


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Within, gradients pass through `network` and leave its parameters alone."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _values(terms: list[dict[str, Tensor]]) -> str:
    """The terms' values, batch by batch, for messages."""
    return "; ".join(", ".join(f"{name} {value.item():.4g}" for name, value in batch.items()) for batch in terms)


def warmup_cosine(step: int, warmup_steps: int, steps: int, cycles: int = 1, cycle_decay: float = 0.5) -> float:
    """The learning rate at `step` (from 0) of `steps`, as a fraction of its peak: a linear warm-up, then `cycles`
    half cosines of one length from a peak to 0, each peak `cycle_decay` times the one before it."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps)) * cycles
    cycle = min(int(progress), cycles - 1)
    return cycle_decay**cycle * 0.5 * (1 + math.cos(math.pi * (progress - cycle)))
