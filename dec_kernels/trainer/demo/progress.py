"""A live display of trainings that run one after another."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

_SMOOTHING = 0.95  # of the losses shown, from step to step: single batches of a few crops differ too much
_LINES = 10  # for each training, where the output is no terminal


class _Speed(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f} it/s" if speed else "    - it/s", style="progress.data.speed")


class LiveProgress(Callback):
    """Lightning callback and context manager: a bar for each training, and one for all of them.

    Shows steps, iterations per second, smoothed training losses, the latest validation Y-PSNR, and the time left. Where
    the console is no terminal, prints a plain line now and then instead.

    Args:
        steps: name of each training -> its optimizer steps, in the order in which they will run.
        console: where to show it.
    """

    def __init__(self, steps: Mapping[str, int], console: Console) -> None:
        self.console = console
        self.steps = dict(steps)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            expand=True,
            speed_estimate_period=20,
        )
        width = max(len(name) for name in steps)
        self.tasks = {
            name: self.bars.add_task(name.ljust(width), total=total, start=False, figures="")
            for name, total in steps.items()
        }
        self.all: TaskID = self.bars.add_task("all".ljust(width), total=sum(steps.values()), start=False, figures="")
        self.name = ""
        self.losses: dict[str, float] = {}
        self.started = time.monotonic()
        self.first = 0  # the step that the training at hand goes on from

    def __enter__(self) -> LiveProgress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bars.stop()

    def begin(self, name: str) -> None:
        """The next training to show is `name`, one of those given to the constructor."""
        self.name = name
        self.losses = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()
        self.first = trainer.global_step
        self.bars.start_task(self.tasks[self.name])
        if not self.bars.tasks[self.all].started:
            self.bars.start_task(self.all)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for key in ("train/l1", "train/dec"):
            if key in trainer.callback_metrics:
                value = trainer.callback_metrics[key].item()
                if not math.isfinite(value):
                    continue  # the mean would never get rid of it
                self.losses[key] = _SMOOTHING * self.losses.get(key, value) + (1 - _SMOOTHING) * value
        done = trainer.global_step
        self.bars.update(self.tasks[self.name], completed=done, figures=self._figures(trainer))
        self.bars.advance(self.all)
        total = self.steps[self.name]
        if not self.console.is_terminal and (done == total or done % max(1, total // _LINES) == 0):
            speed = (done - self.first) / max(1e-3, time.monotonic() - self.started)
            left = f"{(total - done) / speed:.0f}" if speed else "-"  # of accumulated batches, the first make no step
            self.console.print(
                f"{self.name}: {done}/{total}, {speed:.1f} it/s, {left} s left, {self._figures(trainer)}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def _figures(self, trainer: Trainer) -> str:
        figures = [f"{key.removeprefix('train/').upper()} {value:.4f}" for key, value in self.losses.items()]
        if "val/psnr_y" in trainer.callback_metrics:
            figures.append(f"held out {trainer.callback_metrics['val/psnr_y'].item():.2f} dB")
        return "  ".join(figures)
