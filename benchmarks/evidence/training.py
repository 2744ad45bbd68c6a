"""One training of the study, by `dec-train`'s own classes."""

from __future__ import annotations

import csv
import gc
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.evidence.plan import SCALE, Plan, Run
from dec_kernels.environment import cpu_convolves_bf16
from dec_kernels.trainer import cli as dec_train
from dec_kernels.trainer.files import write_json
from dec_kernels.trainer.models import RRDBNet, load_weights, save_weights

VALIDATIONS = 12  # of stage 1, so that one sees whether PSNR has levelled
CHECKPOINTS = 6  # of each training
CROP = 128


class Sources(NamedTuple):
    """What trainings read.

    Attributes:
        photos: folder of the training photographs.
        heldout: folder of the others.
        vgg: file of VGG-16's weights.
    """

    photos: Path
    heldout: Path
    vgg: Path


def network(plan: Plan) -> RRDBNet:
    """The generator of a plan, with random weights."""
    return RRDBNet(scale=SCALE, num_feat=plan.features, num_block=plan.blocks, num_grow_ch=plan.growth)


def precision() -> str:
    """Mixed precision where it is faster; evaluation and DECLoss are in float32 in any case."""
    return "bf16-mixed" if torch.cuda.is_available() or cpu_convolves_bf16() else "32-true"


def stage_1(plan: Plan) -> dict[str, Any]:
    """What the shared first stage sets of the model, the data and the trainer."""
    steps = plan.stage_1_steps
    return {
        "model": {"learning_rate": plan.stage_1_rate, "warmup_steps": steps // 50},
        "data": {"batch_size": plan.stage_1_batch, "batches_per_epoch": steps, "seed": 1000},
        "trainer": {"val_check_interval": max(1, steps // VALIDATIONS)},
    }


def stage_2(plan: Plan, run: Run, weights: Path, vgg: Path) -> dict[str, Any]:
    """What a run sets."""
    model = {"learning_rate": plan.rate, "weights": str(weights), **run.setting.model}
    if perceptual := model.get("perceptual"):
        model["perceptual"] = perceptual | {"init_args": perceptual["init_args"] | {"weights": str(vgg)}}
    data = {"batch_size": plan.batch, "batches_per_epoch": plan.steps, "seed": run.seed, **run.setting.data}
    return {"model": model, "data": data, "trainer": {"limit_val_batches": 0}}


def train(
    plan: Plan, settings: Mapping[str, Any], sources: Sources, out: Path, callbacks: Sequence[Callback] = ()
) -> Path:
    """Trains in the folder `out`, or goes on with what is there; returns the file of the generator's weights.

    Args:
        plan: for the generator.
        settings: of `stage_1` or `stage_2`.
        sources: of the photographs.
        out: folder of the training.
        callbacks: of Lightning, beside the trainer's own.

    Raises:
        RuntimeError: the training ended before its last step.
    """
    gc.collect()  # the last training's objects refer to each other, and hold its photographs
    steps = settings["data"]["batches_per_epoch"]
    sizes = {"num_feat": plan.features, "num_block": plan.blocks, "num_grow_ch": plan.growth}
    config = {
        "seed_everything": settings["data"]["seed"],
        "out": str(out),
        "checkpoint_every": max(1, steps // CHECKPOINTS),
        "trainer": {
            "accelerator": "auto",
            "devices": 1,
            "precision": precision(),
            "max_epochs": 1,
            "log_every_n_steps": min(50, steps),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **settings["trainer"],
        },
        "model": {
            "generator": {"class_path": "dec_kernels.trainer.models.RRDBNet", "init_args": sizes},
            **settings["model"],
        },
        "data": {
            "train": [str(sources.photos)],
            "val": [str(sources.heldout)],
            "scale": SCALE,
            "crop_size": CROP,
            **settings["data"],
        },
    }
    file = out / "settings.yaml"  # JSON is YAML
    write_json(file, config)
    _quieten()
    cli = dec_train.TrainerCLI(["--config", str(file)], run=False)
    cli.trainer.callbacks += list(callbacks)  # type: ignore[attr-defined]
    assert isinstance(cli.trainer, dec_train.Trainer)
    cli.model.to(memory_format=torch.channels_last)  # a tenth faster in bfloat16 on a CPU
    cli.trainer.fit(cli.model, cli.datamodule, resume="auto")
    if cli.trainer.global_step < steps:
        raise RuntimeError(f"{out}: the training ended after {cli.trainer.global_step} of {steps} steps")
    weights = out / "generator.pth"
    save_weights(cli.model.generator, weights)
    return weights


def load(plan: Plan, weights: Path) -> RRDBNet:
    """A trained generator, on the GPU where there is one."""
    generator = network(plan)
    load_weights(generator, weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return generator.eval().to(device, memory_format=torch.channels_last)


def validations(out: Path) -> list[dict[str, float]]:
    """The steps at which the training in `out` was validated, and the mean Y-PSNR there."""
    rows = [row for row in _log(out) if row.get("val/psnr_y")]
    return [{"step": int(row["step"]) + 1, "psnr_y": float(row["val/psnr_y"])} for row in rows]


def pulls(out: Path) -> dict[str, float]:
    """How hard each loss term pulled at the output in the training in `out`: term -> the mean of its logged norms."""
    found: dict[str, list[float]] = {}
    for row in _log(out):
        for name, value in row.items():
            if name.endswith("_pull") and value:
                found.setdefault(name.removeprefix("train/").removesuffix("_pull"), []).append(float(value))
    return {term: sum(norms) / len(norms) for term, norms in found.items()}


def _log(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class StepTimes(Callback):
    """Seconds at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def _quieten() -> None:
    """Lightning's advice has no place among a study's hundred trainings."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
