"""A training by `dec-train`'s classes: it goes on where it was killed, and ends with the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from benchmarks.evidence import training
from benchmarks.evidence.plan import PLANS, Run
from benchmarks.evidence.training import Sources, StepTimes

PLAN = replace(PLANS["quick"], steps=6, stage_1_steps=4)


class Killed(BaseException):
    """What no code catches."""


class Killer(Callback):
    """Ends the program behind the checkpoint of step 4."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        if arguments[-1] == 3:
            raise Killed


@pytest.fixture
def sources(photographs: Path, vgg_16: Path) -> Sources:
    return Sources(photographs / "train", photographs / "heldout", vgg_16)


def test_a_training_goes_on_where_it_was_killed(sources: Sources, tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    torch.manual_seed(0)
    training.save_weights(training.network(PLAN), start)
    run = next(run for run in PLAN.runs() if run.setting.name == "L1 + DEC")
    settings = training.stage_2(PLAN, run, start, sources.vgg)
    weights = {}
    for name, killed in (("whole", False), ("killed", True)):
        times = StepTimes()
        if killed:
            with pytest.raises(Killed):
                training.train(PLAN, settings, sources, tmp_path / name, [Killer()])
            start.unlink()  # what is there already is what it goes on from
            start.write_bytes((tmp_path / "whole/generator.pth").read_bytes())
        file = training.train(PLAN, settings, sources, tmp_path / name, [times])
        assert len(times.ends) == (2 if killed else 6)
        weights[name] = torch.load(file, weights_only=True)["params"]
    assert all(torch.equal(value, weights["killed"][key]) for key, value in weights["whole"].items())
    assert training.pulls(tmp_path / "whole").keys() == {"l1", "dec"}
    again = StepTimes()
    training.train(PLAN, settings, sources, tmp_path / "whole", [again])
    assert again.ends == []


def test_what_is_read_from_a_log(tmp_path: Path) -> None:
    log = ["step,train/l1,train/l1_pull,train/dec_pull,val/psnr_y", "1,5,2,3,", "2,5,4,,", "2,,,,30"]
    (tmp_path / "metrics.csv").write_text("\n".join(log))
    assert training.pulls(tmp_path) == {"l1": 3.0, "dec": 3.0}
    assert training.validations(tmp_path) == [{"step": 3, "psnr_y": 30.0}]


def test_seeds_have_other_crops_and_settings_the_same(sources: Sources) -> None:
    start, settings = Path("start.pth"), {s.name: s for s in PLAN.settings()}
    l1, dec, other = (
        training.stage_2(PLAN, Run(settings[name], seed), start, sources.vgg)["data"]
        for name, seed in (("L1", 0), ("L1 + DEC", 0), ("L1", 1))
    )
    assert l1 == dec != other
    assert training.stage_1(PLAN)["data"]["seed"] not in (0, 1)


def test_a_training_that_ends_early(sources: Sources, tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    with pytest.raises(RuntimeError, match=r"stopped: the training ended after 1 of 4 steps"):
        training.train(PLAN, training.stage_1(PLAN), sources, tmp_path / "stopped", [Stop()])
