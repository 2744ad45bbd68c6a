"""Running the demo: its trainings one after another, and the command line."""

from __future__ import annotations

import argparse
import logging
import signal
import time
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from dec_kernels.console import INTERRUPTED, command_line
from dec_kernels.environment import cpu_convolves_bf16
from dec_kernels.trainer.cli import TrainerCLI, fail
from dec_kernels.trainer.demo.progress import LiveProgress
from dec_kernels.trainer.demo.report import report
from dec_kernels.trainer.demo.stages import PRETRAIN, QUICK_STEPS, STAGES, Stage
from dec_kernels.trainer.lpips import LPIPS, URL
from dec_kernels.trainer.models import save_weights
from dec_kernels.trainer.models.pretrained import cached


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


def run(out: Path, quick: bool, lpips: LPIPS | None, console: Console) -> int:
    """Train, report into the new folder `out`, and return the exit code."""
    started = time.monotonic()
    with StopRequest() as stop:
        trained = train(out, quick, stop, console)
        if stop.made:
            console.print("Stopped by Ctrl+C. Reporting on what was trained so far; Ctrl+C again leaves at once.")
        if trained:
            report(out, trained, stop.made, started, lpips, console)
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
    if not cpu_convolves_bf16():
        args.append("--trainer.precision=32-true")
    if quick:
        args += [f"--data.batches_per_epoch={QUICK_STEPS}", f"--trainer.val_check_interval={QUICK_STEPS}"]
    return TrainerCLI(args, run=False)


def _quieten() -> None:
    """Lightning's advice (other loggers, more workers, its own deprecations) has no place in this display."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _lpips(file: Path | None) -> LPIPS | None:
    """LPIPS by the weights in `file`, or by PyTorch Hub's if they have been downloaded."""
    return LPIPS(file) if file is not None or cached(URL).exists() else None


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dec_kernels.trainer.demo",
        description="Train a small network with DECLoss, and show what comes of it.",
    )
    parser.add_argument("--out", type=Path, help="folder to make for this run; runs/demo-YYYYmmdd-HHMMSS if not given")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps a stage: does everything work?")
    parser.add_argument(
        "--lpips",
        type=Path,
        metavar="FILE",
        help="AlexNet's weights, to measure LPIPS; torch.hub's file if that is on this machine",
    )
    args = parser.parse_args(argv)
    try:
        lpips = _lpips(args.lpips)
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"--lpips: {error}")
    out: Path = args.out or Path("runs") / datetime.now().strftime("demo-%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"--out: {out} exists already; name a folder that does not, so that no earlier run is overwritten")
    except OSError as error:
        parser.error(f"--out: {error}")
    _quieten()
    try:
        return run(out, args.quick, lpips, Console())
    except Exception as error:
        return fail(parser.prog, error)
