import io
import math
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from dec_kernels.trainer.demo.progress import LiveProgress


def show(console: Console, first: str = "first") -> LiveProgress:
    """Two trainings of 20 and 5 steps, as Lightning would report them."""
    progress = LiveProgress({first: 20, "second": 5}, console)
    with progress:
        for name, total in progress.steps.items():
            progress.begin(name)
            trainer = SimpleNamespace(global_step=0, callback_metrics={})
            progress.on_train_start(trainer, None)
            for step in range(total):
                trainer.global_step = step + 1
                trainer.callback_metrics = {"train/l1": torch.tensor(0.5), "val/psnr_y": torch.tensor(28.0)}
                progress.on_train_batch_end(trainer, None, None, None, step)
    return progress


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    show(console)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 10 + 5
    assert lines[0].startswith("first: 2/20, ")
    assert lines[-1].startswith("second: 5/5, ")
    assert lines[-1].endswith("it/s, 0 s left, L1 0.5000  held out 28.00 dB")
    assert "\x1b" not in console.file.getvalue()


def test_speed_and_losses_are_always_numbers() -> None:
    """A resumed training of accumulated batches, with a loss that is NaN for once."""
    console = Console(file=io.StringIO(), force_terminal=False)
    progress = LiveProgress({"only": 20}, console)
    trainer = SimpleNamespace(global_step=10, callback_metrics={})
    with progress:
        progress.begin("only")
        progress.on_train_start(trainer, None)
        progress.started -= 10
        for batch, loss in enumerate((0.5, math.nan, 0.5, 0.5)):
            trainer.global_step = 10 + batch // 2
            trainer.callback_metrics = {"train/l1": torch.tensor(loss)}
            progress.on_train_batch_end(trainer, None, None, None, batch)
        trainer.global_step = 20
        progress.on_train_batch_end(trainer, None, None, None, 4)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "only: 10/20, 0.0 it/s, - s left, L1 0.5000"
    assert lines[-1] == "only: 20/20, 1.0 it/s, 0 s left, L1 0.5000"


def test_bars_in_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)
    progress = show(console)
    assert progress.bars.finished
    text = console.file.getvalue()
    for part in ("first", "second", "all", "25/25", "it/s", "L1 0.5000", "held out 28.00 dB"):
        assert part in text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_brackets_in_names_are_no_markup(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100, legacy_windows=False)
    show(console, "a[/b] [x]")
    assert "a[/b] [x]" in console.file.getvalue()
