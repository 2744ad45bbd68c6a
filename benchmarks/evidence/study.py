"""Goes through a plan: every run that has no record is trained, measured and recorded."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.evidence import training
from benchmarks.evidence.figures import METRICS
from benchmarks.evidence.heldout import HeldOut
from benchmarks.evidence.plan import BICUBIC, L1, STAGE_1, STAGE_1_FOLDER, Plan, Run
from benchmarks.evidence.records import OtherStudyError, Record, Records
from benchmarks.evidence.training import Sources
from dec_kernels.images import find_images
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.samples import bicubic
from dec_kernels.trainer.sharpness import unsharp_mask

Say = Callable[[str], None]


def describe(plan: Plan, sources: Sources) -> dict[str, Any]:
    """What all records of a study share: the plan, and names and sizes of the photographs.

    Raises:
        FileNotFoundError: there is no such folder or file, or no image in a folder.
        ValueError: a photograph is in both folders.
    """
    if not sources.vgg.is_file():
        raise FileNotFoundError(f"--vgg: there is no file {str(sources.vgg)!r}")
    images = {
        option: {path.name: path.stat().st_size for path in _images(f"--{option}", folder)}
        for option, folder in (("photos", sources.photos), ("heldout", sources.heldout))
    }
    if both := sorted(images["photos"].keys() & images["heldout"].keys()):
        raise ValueError(f"--heldout holds {both[0]}, which is in --photos too: it would be trained on")
    return {"plan": asdict(plan)} | images


def _images(option: str, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{option}: there is no folder {str(folder)!r}")
    try:
        return find_images(str(folder))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{option}: {error}") from error


def missing(plan: Plan, records: Records) -> list[Run]:
    """The runs that have no record yet, in the order in which they are made.

    Raises:
        OtherStudyError: a record is that of a run with other settings, or has other figures.
    """
    left = []
    for run in plan.runs():
        record = records.read(run.folder)
        if record is None:
            left.append(run)
        elif record["settings"] != (now := _settings(run)):
            raise OtherStudyError(
                f"{records.folder(run.folder)} was made with {record['settings']}, and {run.setting.name} has {now} "
                "now: remove the folder, or name another --out"
            )
        elif any(figures.keys() != METRICS.keys() for figures in record["figures"].values()):
            raise OtherStudyError(
                f"{records.folder(run.folder)} holds figures other than {', '.join(METRICS)}: remove the folder, and "
                "its run is made again"
            )
    return left


def _settings(run: Run) -> dict[str, Any]:
    """What a run sets, as a record holds it."""
    setting = run.setting
    found = {"model": setting.model, "data": setting.data, "amount": setting.amount}
    return json.loads(to_json(found))


def carry_out(plan: Plan, sources: Sources, heldout: HeldOut, records: Records, say: Say) -> None:
    """Makes all runs that have no record. It can be stopped at any moment, and then goes on where it was."""
    first = records.folder(STAGE_1_FOLDER)
    if records.read(STAGE_1_FOLDER) is None:
        say(f"stage 1, {plan.stage_1_steps} steps")
        started = time.perf_counter()
        training.train(plan, training.stage_1(plan), sources, first)
        images = heldout.upscaled(training.load(plan, first / "generator.pth"))
        figures = {BICUBIC: heldout.figures({p.name: bicubic(p) for p in heldout.pairs})}
        figures[STAGE_1] = heldout.figures(images)
        curve = training.validations(first)
        records.write(STAGE_1_FOLDER, {"figures": figures, "curve": curve, **_conditions(started)})
    runs, left = list(plan.runs()), missing(plan, records)
    for run in left:
        say(f"{run.setting.name}, seed {run.seed} ({runs.index(run) + 1} of {len(runs)})")
        records.write(run.folder, _made(plan, run, sources, heldout, records, first / "generator.pth"))
        shutil.rmtree(records.folder(run.folder) / "training", ignore_errors=True)


def _made(plan: Plan, run: Run, sources: Sources, heldout: HeldOut, records: Records, start: Path) -> Record:
    started = time.perf_counter()
    pulls = {}
    if run.setting.amount is None:
        folder = records.folder(run.folder)
        settings = training.stage_2(plan, run, start, sources.vgg)
        weights = training.train(plan, settings, sources, folder / "training")
        pulls = training.pulls(folder / "training")
        weights.replace(folder / "generator.pth")
    return {
        "name": run.setting.name,
        "group": run.setting.group,
        "seed": run.seed,
        "settings": _settings(run),
        "pulls": pulls,
        "figures": heldout.figures(outputs(plan, run, heldout, records)),
        **_conditions(started),
    }


def outputs(plan: Plan, run: Run, heldout: HeldOut, records: Records) -> dict[str, Tensor]:
    """What a trained run, or a mask on L1's run of the same seed, makes of the held-out photographs."""
    amount = run.setting.amount
    trained = run if amount is None else Run(plan.settings()[0], run.seed)
    assert amount is None or trained.setting.name == L1
    images = heldout.upscaled(training.load(plan, records.folder(trained.folder) / "generator.pth"))
    return images if amount is None else {name: unsharp_mask(image, amount) for name, image in images.items()}


def _conditions(started: float) -> Mapping[str, Any]:
    return {"seconds": round(time.perf_counter() - started, 1), "precision": training.precision()}
