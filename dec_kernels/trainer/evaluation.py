"""What remains of a validation or test: each image's figures, their means, and samples to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.data.sources import MEAN
from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.files import write_json
from dec_kernels.trainer.means import LeftOut
from dec_kernels.trainer.metrics import border_of, measure
from dec_kernels.trainer.pixels import NonFiniteImageError
from dec_kernels.trainer.samples import Sample, baseline, cut_sample, draw_samples
from dec_kernels.trainer.tables import metrics_table, summarize, table_title, write_csv

_LONGEST_TABLE = 20  # images; of more, the terminal shows the mean


class EvaluationReport(Callback):
    """Reports on what `validation_step` and `test_step` of the training module return, in `default_root_dir`:

    - `validation/STEP.csv` and `test/images.csv`: the network's figures for each image, and their mean. STEP is the
      optimizer step, in `dec-train validate` that of the checkpoint. The PSNR of an exact image is `inf`, the
      figures of one whose output is NaN or infinite are `nan`, and the mean is without them;
    - in `dec-train validate` and `dec-train test`: a table in the terminal, with MATLAB's bicubic for comparison, at
      scale 1 with the network's input as it is; and `validation/STEP.png` or `test/samples.png`: the middle of the
      first images in LR, by bicubic, by the network and in HR, at scale 1 as input, by the network and as target;
    - while training: the same places in LR, by the network and in HR as images for TensorBoard, where that is among the
      loggers; and at its end `summary.json`: step, epoch, the means of the last validation (null for what is not
      finite) and what is left out of them, see `LeftOut`.

    An output that is NaN or infinite is a warning while training, and otherwise an error when all is written.

    Of several processes, which all evaluate the same images, the first one reports. The sanity check leaves nothing.

    Args:
        samples: how many images to show, at least 1.
        crop_size: height and width of what is shown of them, in HR pixels, at least 11; smaller images are shown whole.

    Raises:
        NonFiniteImageError: in `validate` or `test`, an output was NaN or infinite.
        ValueError: an argument is below its minimum; or, in an evaluation, two images have one name, or one is called
            "mean".
    """

    def __init__(self, samples: int = 4, crop_size: int = 96) -> None:
        require_at_least(1, samples=samples)
        require_at_least(11, crop_size=crop_size)
        self.samples = samples
        self.crop_size = crop_size
        self.checkpoint_step = 0
        self.means: dict[str, float] = {}
        self.left_out: LeftOut = {"images": 0, "exact": {}, "nonfinite": []}
        self._forget()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.checkpoint_step = checkpoint["global_step"]  # outside of training, the trainer itself stays at 0

    def state_dict(self) -> dict[str, Any]:
        return {"means": self.means, "left_out": self.left_out}  # a resumed training may end before it validates

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.means = state_dict["means"]
        self.left_out = state_dict.get("left_out", self.left_out)  # older checkpoints are without

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._keep(trainer, pl_module, outputs)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            step = trainer.global_step or self.checkpoint_step
            self._report(trainer, Path(trainer.default_root_dir) / "validation", f"{step:07d}", f"{step:07d}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, Path(trainer.default_root_dir) / "test", "images", "samples")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            summary = {"step": trainer.global_step, "epoch": trainer.current_epoch}
            found = {"val": self.means, "left_out": self.left_out}
            write_json(Path(trainer.default_root_dir) / "summary.json", summary | found)

    def _forget(self) -> None:
        self.figures: dict[str, dict[str, dict[str, float]]] = {}  # image -> method -> metric -> value
        self.shown: list[Sample] = []

    def _keep(self, trainer: Trainer, pl_module: Any, outputs: Any) -> None:
        if not trainer.is_global_zero:
            return
        name = outputs["name"]
        if name in self.figures or name == MEAN:
            raise ValueError(f"the report needs another name for one of the images: {name!r} is taken")
        pair = Pair(name, outputs["hr"], outputs["lr"])
        network = type(pl_module.generator).__name__
        sr = outputs["sr"]
        images = {} if sr is None else {network: sr}
        figures = {network: outputs["figures"]}
        if _stands_alone(trainer):
            method, image = baseline(pair)
            device = pl_module.device
            images = {method: image, **images}
            measured = measure(image.to(device), pair.hr.to(device), border_of(pair.scale), pl_module.lpips)
            figures = {method: measured, **figures}
        self.figures[name] = figures
        if len(self.shown) < self.samples and network in images:
            size = min(self.crop_size, *pair.hr.shape[-2:])
            top, left = ((side - size) // 2 for side in pair.hr.shape[-2:])
            self.shown.append(cut_sample(pair, images, top, left, size))

    def _report(self, trainer: Trainer, folder: Path, table: str, picture: str) -> None:
        if not self.figures or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        methods = next(iter(self.figures.values()))
        figures, left, notes = summarize(
            {method: {name: rows[method] for name, rows in self.figures.items()} for method in methods}
        )
        network = next(reversed(figures))
        write_csv(folder / f"{table}.csv", figures[network])
        if _stands_alone(trainer):
            if len(self.figures) > _LONGEST_TABLE:
                figures = {method: {MEAN: rows[MEAN]} for method, rows in figures.items()}
            border = border_of(trainer.lightning_module.generator.scale)  # type: ignore[arg-type, union-attr]
            rich.print(metrics_table(figures, table_title(f"{len(self.figures)} images", border), notes))
            if self.shown:
                draw_samples(folder / f"{picture}.png", self.shown)
            if left[network]["nonfinite"]:
                raise NonFiniteImageError(notes[-1])
        else:
            self.means, self.left_out = figures[network][MEAN], left[network]
            if self.left_out["nonfinite"]:
                rank_zero_warn(f"validation at step {trainer.global_step}: {notes[-1]}")
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    for sample in self.shown:
                        image = torch.cat(list(sample.tiles.values()), dim=-1)
                        logger.experiment.add_image(f"validation/{sample.name}", image, trainer.global_step)


def _stands_alone(trainer: Trainer) -> bool:
    """Whether this is `dec-train validate` or `test`, and no validation during a training."""
    return trainer.state.fn != TrainerFn.FITTING
