"""Checkpoints that survive whatever ends the program, and from which a training goes on bit for bit.

Lightning builds the whole file in memory first and does not wait for the disk, so that a machine that crashes can leave
an empty one. A run that is resumed from its files can miss a validation or miscount its epochs; the comments say where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dec_kernels.trainer.errors import is_out_of_memory
from dec_kernels.trainer.files import replacing
from dec_kernels.trainer.models.reading import is_safetensors

FOLDER = "checkpoints"
LAST = f"{FOLDER}/last.ckpt"
BEST = f"{FOLDER}/best.ckpt"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; the one before it is intact."""


class UnusableCheckpointError(ValueError):
    """A file is no checkpoint that a training or an evaluation can go on from; the message says why."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes by `replacing`; says what is wrong with a file that it cannot read."""

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if Path(path).is_dir():
            raise UnusableCheckpointError(f"{path} is a folder, no checkpoint")
        weights_alone = is_safetensors(path)
        try:
            checkpoint = None if weights_alone else super().load_checkpoint(path, *args, **kwargs)
        except Exception as error:  # a damaged file can raise almost anything
            if is_out_of_memory(error):
                raise
            raise UnusableCheckpointError(
                f"the checkpoint {path} is damaged, or holds more than tensors and plain Python values"
            ) from error
        if not isinstance(checkpoint, dict) or not {"state_dict", "pytorch-lightning_version"} <= checkpoint.keys():
            raise UnusableCheckpointError(
                f"{path} is no checkpoint of a training: name a file of weights alone by model.weights"
            )
        return checkpoint

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with replacing(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer has a RuntimeError for a disk that is full
            kept = f"; the one before it, {path}, is intact" if path.exists() else ""
            raise CheckpointError(f"cannot write the checkpoint {path}{kept}: {error}") from error


def require_checkpoint(path: Path, out: Path) -> None:
    """Checks that a training can go on from the checkpoint `path`, before all else is prepared for it.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableCheckpointError: it cannot be used; the message names another one in the run's folder `out`, if that
            has one.
    """
    try:
        AtomicCheckpointIO().load_checkpoint(path)
    except UnusableCheckpointError as error:
        for other in (out / LAST, out / BEST):
            if other != path and (step := _step_of(other)) is not None:
                raise UnusableCheckpointError(f"{error}. --resume {other} goes on from step {step}") from error
        if path == out / LAST:
            start = f"there is no other one in {out}: to begin anew, remove it or name another --out"
            raise UnusableCheckpointError(f"{error}, and {start}") from error
        raise


def _step_of(checkpoint: Path) -> int | None:
    try:
        return AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"]
    except (FileNotFoundError, UnusableCheckpointError):
        return None


class RunCheckpoint(ModelCheckpoint):
    """One file in the run's folder, replaced by each later one."""

    def __init__(self, out: Path, name: str, **kwargs: Any) -> None:
        super().__init__(out / FOLDER, filename=Path(name).stem, enable_version_counter=False, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning forgets the best figure where the run's folder has been moved, and would replace the best checkpoint
        # by the next one.
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class LastCheckpoint(RunCheckpoint):
    """Keeps `last.ckpt`: the state after the last multiple of `every` optimizer steps, and at the end the last.

    Behind `BestCheckpoint` in the list of callbacks, since a checkpoint behind a validation holds the best
    figure so far.
    """

    def __init__(self, out: Path, every: int) -> None:
        super().__init__(out, LAST, every_n_train_steps=every)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # A resumed run has this step on the disk, and is to save the next one: behind its first batch there may be
        # gradients that are still being accumulated, and that no checkpoint holds.
        self._last_global_step_saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Resumed from before a validation, Lightning would leave it out.
        loop = trainer.fit_loop
        if not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]  # noqa: SLF001
            self._save_in_epoch(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_in_epoch(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self._every_n_train_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save_in_epoch(self, trainer: Trainer) -> None:
        # Resumed from the end of an epoch's last batch, Lightning would miscount the epochs in the checkpoints to come;
        # resumed from the end of the epoch, it does not. But an epoch that max_steps cuts short, it takes for a whole
        # one at its end.
        if trainer.is_last_batch:
            return
        if trainer.global_step % self._every_n_train_steps == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run and trainer.global_step > self._last_global_step_saved:  # type: ignore[attr-defined]
            self._save_topk_checkpoint(trainer, {})


class BestCheckpoint(RunCheckpoint):
    """Keeps `best.ckpt`: the state at the validation with the highest Y-PSNR, see `means.score`."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, BEST, monitor="val/score", mode="max", save_on_train_epoch_end=False)

    @property
    def state_key(self) -> str:
        # The name from before there was a score, so that a run from then keeps its best checkpoint when it goes on.
        return super().state_key.replace("val/score", "val/psnr_y")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict["best_model_score"]
        # Before there was a score, an exact image made it infinite, and no later one could be better.
        if best is None or not torch.isinf(best):
            super().load_state_dict(state_dict)
