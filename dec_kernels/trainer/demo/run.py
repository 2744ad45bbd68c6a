"""Running the demo: its trainings, and the report on them."""

from __future__ import annotations

import argparse
import logging
import platform
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.text import Text
from torch import Tensor

from dec_kernels.console import INTERRUPTED, command_line
from dec_kernels.trainer.cli import TrainerCLI, fail
from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.demo.pictures import draw_curves, draw_grid, pull_ratio
from dec_kernels.trainer.demo.progress import LiveProgress
from dec_kernels.trainer.files import write_json
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.models import save_weights
from dec_kernels.trainer.samples import BICUBIC, Crop, bicubic
from dec_kernels.trainer.tables import Summary, metrics_table, summarize

QUICK_STEPS = 6


@dataclass(frozen=True)
class Stage:
    """One training of the demo: its name in the report, its folder in the run's, and what `dec-train` would get."""

    name: str
    folder: str
    args: tuple[str, ...]


PRETRAIN = Stage("L1, stage 1", "stage1_l1", ("--config", "demo_stage1"))
WITHOUT_DEC = Stage("L1", "stage2_l1", ("--config", "demo_stage2", "--model.dec_weight=0"))
WITH_DEC = Stage("L1 + DECLoss", "stage2_l1_dec", ("--config", "demo_stage2"))
STAGES = (PRETRAIN, WITHOUT_DEC, WITH_DEC)

CROPS = (
    Crop("chelsea", top=68, left=116, size=96),
    Crop("chelsea", top=196, left=204, size=96),
    Crop("coffee", top=236, left=316, size=96),
    Crop("coffee", top=60, left=340, size=96),
)


class StopRequest(Callback):
    """Makes the first Ctrl+C a request to end the training after the step at hand; the second ends the program."""

    def __init__(self) -> None:
        self.made = False

    def __enter__(self) -> StopRequest:
        self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.made:
            raise SystemExit(INTERRUPTED)
        self.made = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.made:
            trainer.should_stop = True


def run(out: Path, quick: bool, console: Console) -> int:
    """Train, report into the new folder `out`, and return the exit code."""
    started = time.monotonic()
    with StopRequest() as stop:
        trained = train(out, quick, stop, console)
        if stop.made:
            console.print("Stopped by Ctrl+C. Reporting on what was trained so far; Ctrl+C again leaves at once.")
        if trained:
            report(out, trained, stop.made, started, console)
        else:
            console.print("Nothing was trained.")
    return INTERRUPTED if stop.made else 0


def train(out: Path, quick: bool, stop: StopRequest, console: Console) -> dict[Stage, TrainerCLI]:
    """Runs the stages, until the last one or a request to stop; returns those that made at least one step."""
    planned = {stage: _prepare(stage, out, quick) for stage in STAGES}
    progress = LiveProgress({stage.name: cli.datamodule.batches_per_epoch for stage, cli in planned.items()}, console)
    trained: dict[Stage, TrainerCLI] = {}
    with progress:
        for stage, cli in planned.items():
            if stop.made:
                break
            progress.begin(stage.name)
            cli.trainer.callbacks += [stop, progress]  # type: ignore[attr-defined]
            cli.trainer.fit(cli.model, cli.datamodule)
            if cli.trainer.global_step:
                save_weights(cli.model.generator, out / stage.folder / "generator.pth")
                trained[stage] = cli
    return trained


def _prepare(stage: Stage, out: Path, quick: bool) -> TrainerCLI:
    args = [
        *stage.args,
        f"--out={out / stage.folder}",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    if stage is not PRETRAIN:
        args.append(f"--model.weights={out / PRETRAIN.folder / 'generator.pth'}")
    if not _multiplies_bf16():
        args.append("--trainer.precision=32-true")  # bfloat16 without instructions for it is slower than float32
    if quick:
        args += [f"--data.batches_per_epoch={QUICK_STEPS}", f"--trainer.val_check_interval={QUICK_STEPS}"]
    return TrainerCLI(args, run=False)


def _multiplies_bf16() -> bool:
    cpu = torch.cpu
    return cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()  # noqa: SLF001  no public name says it


def report(out: Path, trained: dict[Stage, TrainerCLI], interrupted: bool, started: float, console: Console) -> None:
    """Measures the trained networks on the held-out photographs; prints the table, writes the JSON and the pictures."""
    pairs = trained[PRETRAIN].datamodule.pairs["val"]
    results = {BICUBIC: {pair.name: bicubic(pair) for pair in pairs}}
    for stage, cli in trained.items():
        results[stage.name] = {pair.name: cli.model.upscale_image(pair.lr) for pair in pairs}
    figures, left_out, notes = compute_figures(pairs, results)
    logs = {stage.name: (out / stage.folder / "metrics.csv", _first_step(stage, trained)) for stage in trained}

    branches = [stage.name for stage in (WITHOUT_DEC, WITH_DEC) if stage in trained] or [PRETRAIN.name]
    draw_grid(out / "samples.png", CROPS, pairs, results, [BICUBIC, *branches])
    draw_curves(out / "curves.png", logs, figures[BICUBIC]["mean"]["psnr_y"])
    content = {
        "interrupted": interrupted,
        "steps": {stage.name: cli.trainer.global_step for stage, cli in trained.items()},
        "figures": figures,
        "left_out": left_out,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    console.print(metrics_table(figures, notes=notes))
    if WITH_DEC in trained:
        content["dec_pull"] = pull_ratio(out / WITH_DEC.folder / "metrics.csv")
        console.print(f"DECLoss pulled at the output {content['dec_pull']:.2f} times as hard as L1.", highlight=False)
    content["seconds"] = round(time.monotonic() - started, 1)
    write_json(out / "metrics.json", content)
    # As text, since the folder's name may hold brackets.
    console.print(Text(f"{content['seconds']:.0f} s. Pictures, figures, logs and weights are in {out}:"))
    for path in sorted(out.iterdir()):
        console.print(Text(f"  {path.name}{'/' if path.is_dir() else ''}"))


def compute_figures(pairs: Sequence[Pair], results: Mapping[str, Mapping[str, Tensor]]) -> Summary:
    """Measures each method's images: method -> image -> (3, H, W) uint8."""
    return summarize(
        {
            method: {pair.name: measure(images[pair.name], pair.hr, border=pair.scale) for pair in pairs}
            for method, images in results.items()
        }
    )


def _first_step(stage: Stage, trained: dict[Stage, TrainerCLI]) -> int:
    return 0 if stage is PRETRAIN else trained[PRETRAIN].trainer.global_step


def _quieten() -> None:
    """Lightning's advice (other loggers, more workers, its own deprecations) has no place in this display."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dec_kernels.trainer.demo",
        description="Train a small network with DECLoss, and show what comes of it.",
    )
    parser.add_argument("--out", type=Path, help="folder to make for this run; runs/demo-YYYYmmdd-HHMMSS if not given")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps a stage: does everything work?")
    args = parser.parse_args(argv)
    out: Path = args.out or Path("runs") / datetime.now().strftime("demo-%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"--out: {out} exists already; name a folder that does not, so that no earlier run is overwritten")
    except OSError as error:
        parser.error(f"--out: {error}")
    _quieten()
    try:
        return run(out, args.quick, Console())
    except Exception as error:
        return fail(parser.prog, error)
