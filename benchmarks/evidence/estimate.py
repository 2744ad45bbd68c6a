"""How long a study will take on this machine, from a few steps of each kind of run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.evidence import training
from benchmarks.evidence.heldout import HeldOut
from benchmarks.evidence.plan import Plan, Run
from benchmarks.evidence.training import Sources, StepTimes
from dec_kernels.environment import cpu
from dec_kernels.trainer.models import save_weights

WARM_UP, MEASURED = 2, 4  # steps


class Kind(NamedTuple):
    """Runs that take the same time.

    Attributes:
        example: the name of one of them.
        runs: how many there are.
        steps: of each.
        step: seconds a step.
        start: seconds to start one, most of them to read the photographs.
    """

    example: str
    runs: int
    steps: int
    step: float
    start: float

    @property
    def seconds(self) -> float:
        return self.runs * (self.start + self.steps * self.step)


class Estimate(NamedTuple):
    """What is left of a study.

    Attributes:
        kinds: of trainings.
        measurements: how many times the held-out photographs are measured.
        measurement: seconds each time.
    """

    kinds: list[Kind]
    measurements: int
    measurement: float

    @property
    def seconds(self) -> float:
        return sum(kind.seconds for kind in self.kinds) + self.measurements * self.measurement

    def text(self) -> list[str]:
        """Sentences for the terminal."""
        lines = [
            f"{kind.runs} x {kind.steps} steps like {kind.example}: {kind.step:.3g} s a step, {_duration(kind.seconds)}"
            for kind in self.kinds
        ]
        if self.measurements:
            total = _duration(self.measurements * self.measurement)
            lines.append(f"{self.measurements} x the held-out photographs: {self.measurement:.3g} s each, {total}")
        gpu = torch.cuda.is_available()
        device = f"GPU ({torch.cuda.get_device_name()})" if gpu else f"CPU ({cpu()}, {torch.get_num_threads()} threads)"
        advice = "" if gpu or self.seconds < 3600 else " A GPU is used where there is one."
        return [*lines, f"What is left of the study takes about {_duration(self.seconds)} on this {device}.{advice}"]


def estimate(plan: Plan, sources: Sources, heldout: HeldOut, left: Sequence[Run], begun: bool) -> Estimate:
    """Measures a few steps of each kind of run, and the held-out photographs once.

    Args:
        plan: whose runs they are.
        sources: what trainings read.
        heldout: the held-out photographs.
        left: the runs that have no record.
        begun: whether stage 1 is finished.
    """
    trained = [run for run in left if run.setting.amount is None]
    counts = Counter(run.setting.kind for run in trained)
    kinds = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        save_weights(training.network(plan), weights)
        if not begun:
            step, start = _seconds(plan, training.stage_1(plan), sources)
            kinds.append(Kind("stage 1", 1, plan.stage_1_steps, step, start))
        for kind, runs in counts.items():
            example = next(run for run in trained if run.setting.kind == kind)
            step, start = _seconds(plan, training.stage_2(plan, example, weights, sources.vgg), sources)
            kinds.append(Kind(example.setting.name, runs, plan.steps, step, start))
        return Estimate(kinds, len(left) + 2 * (not begun), _measurement(plan, heldout, weights) if left else 0.0)


def _seconds(plan: Plan, settings: dict[str, Any], sources: Sources) -> tuple[float, float]:
    """Seconds a step, and to start."""
    data = settings["data"] | {"batches_per_epoch": WARM_UP + MEASURED}
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        short = settings | {"data": data, "trainer": {"limit_val_batches": 0}}
        training.train(plan, short, sources, Path(folder), [times])
        whole = time.perf_counter() - started
    step = statistics.median(b - a for a, b in zip(times.ends[WARM_UP - 1 :], times.ends[WARM_UP:], strict=False))
    return step, max(0.0, whole - len(times.ends) * step)


def _measurement(plan: Plan, heldout: HeldOut, weights: Path) -> float:
    """Seconds to upscale and measure all held-out photographs."""
    started = time.perf_counter()
    heldout.figures(heldout.upscaled(training.load(plan, weights)))
    return time.perf_counter() - started


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
