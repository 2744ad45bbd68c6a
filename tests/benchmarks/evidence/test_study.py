"""Records, and going on after a kill at any of them, with trainings that cost nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from benchmarks import documents
from benchmarks.evidence import report, study, training
from benchmarks.evidence.figures import METRICS
from benchmarks.evidence.plan import L1, PLANS, STAGE_1_FOLDER, Plan
from benchmarks.evidence.records import OtherStudyError, Records
from benchmarks.evidence.training import Sources
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.models import save_weights

PLAN = PLANS["quick"]


class Killed(BaseException):
    """What no code catches."""


class FakePair(NamedTuple):
    name: str


class FakeHeldOut:
    """Figures that depend on the network's weights and on what is done to its output."""

    pairs = (FakePair("one"), FakePair("two"))

    def upscaled(self, generator: nn.Module) -> dict[str, Tensor]:
        torch.manual_seed(crc32(next(generator.parameters()).detach().numpy().tobytes()))
        return {pair.name: torch.randint(60, 200, (3, 32, 32), dtype=torch.uint8) for pair in self.pairs}

    def figures(self, images: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        values = {name: image.double().std().item() for name, image in images.items()}
        return {name: {metric: value + i for i, metric in enumerate(METRICS)} for name, value in values.items()}


class FakeTraining:
    """Counts trainings, and is killed in the middle or at the end of the one of that number."""

    def __init__(self, killed_in: int = -1, killed_after: int = -1) -> None:
        self.trained: list[str] = []
        self.killed_in, self.killed_after = killed_in, killed_after

    def __call__(
        self, plan: Plan, settings: dict[str, Any], sources: Sources, out: Path, callbacks: Sequence[Callback] = ()
    ) -> Path:
        number = len(self.trained)
        self.trained.append(out.parent.name if out.name == "training" else out.name)
        out.mkdir(parents=True, exist_ok=True)
        if number == self.killed_in:
            raise Killed
        model = settings["model"] | {"weights": ""}
        torch.manual_seed(crc32(json.dumps([model, settings["data"]]).encode()))
        save_weights(training.network(plan), out / "generator.pth")
        if number == self.killed_after:
            raise Killed
        return out / "generator.pth"


@pytest.fixture
def sources(photographs: Path, vgg_16: Path) -> Sources:
    return Sources(photographs / "train", photographs / "heldout", vgg_16)


def carry_out(out: Path, sources: Sources, fake: FakeTraining, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setattr(training, "train", fake)
    monkeypatch.setattr(training, "validations", lambda out: [{"step": 2, "psnr_y": 30.0}])
    monkeypatch.setattr(training, "pulls", lambda out: {"l1": 2.0, "dec": 0.5})
    monkeypatch.setattr(study, "bicubic", lambda pair: torch.zeros(3, 32, 32, dtype=torch.uint8))
    records = Records(out, study.describe(PLAN, sources))
    study.carry_out(PLAN, sources, FakeHeldOut(), records, lambda line: None)  # type: ignore[arg-type]
    return records


def contents(out: Path) -> dict[str, Any]:
    """All records but what a run took."""
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("runs/*/record.json")}
    return {name: {k: v for k, v in record.items() if k != "seconds"} for name, record in found.items()}


def test_every_run_once_and_nothing_left_over(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTraining()
    records = carry_out(tmp_path, sources, fake, monkeypatch)
    runs = list(PLAN.runs())
    assert fake.trained == [STAGE_1_FOLDER, *(run.folder for run in runs if run.setting.amount is None)]
    assert contents(tmp_path).keys() == {STAGE_1_FOLDER, *(run.folder for run in runs)}
    assert not list(tmp_path.glob("runs/*/training"))
    assert study.missing(PLAN, records) == []
    again = FakeTraining()
    carry_out(tmp_path, sources, again, monkeypatch)
    assert again.trained == []
    figures = [json.dumps(record["figures"]) for name, record in contents(tmp_path).items() if name != STAGE_1_FOLDER]
    assert len(set(figures)) == len(figures)  # so that a mask or a network that is mistaken for another one shows


TRAININGS = 1 + sum(run.setting.amount is None for run in PLAN.runs())


@pytest.fixture(scope="module")
def uninterrupted(photographs: Path, vgg_16: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        carry_out(out, Sources(photographs / "train", photographs / "heldout", vgg_16), FakeTraining(), patch)
    return contents(out)


@pytest.mark.parametrize("when", ["killed_in", "killed_after"])
@pytest.mark.parametrize("number", range(TRAININGS))
def test_killed_at_a_training(
    number: int,
    when: str,
    uninterrupted: dict[str, Any],
    tmp_path: Path,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = FakeTraining(**{when: number}), FakeTraining()
    with pytest.raises(Killed):
        carry_out(tmp_path, sources, first, monkeypatch)
    assert len(contents(tmp_path)) < len(uninterrupted)
    carry_out(tmp_path, sources, second, monkeypatch)
    assert contents(tmp_path) == uninterrupted
    assert first.trained[:-1] + second.trained == [*dict.fromkeys(first.trained + second.trained)]  # one made anew


def test_killed_while_a_record_is_written(
    uninterrupted: dict[str, Any], tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, count = Records.write, 0

    def killed(self: Records, run: str, record: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count == 4:
            (self.folder(run) / "record.json.part").write_text("{")
            raise Killed
        write(self, run, record)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "write", killed)
        with pytest.raises(Killed):
            carry_out(tmp_path, sources, FakeTraining(), monkeypatch)
    carry_out(tmp_path, sources, FakeTraining(), monkeypatch)
    assert contents(tmp_path) == uninterrupted


def test_a_folder_of_another_study(tmp_path: Path, sources: Sources, photographs: Path) -> None:
    Records(tmp_path, study.describe(PLAN, sources))
    Records(tmp_path, study.describe(PLAN, sources))
    with pytest.raises(OtherStudyError, match=rf"{tmp_path.name} .*another plan"):
        Records(tmp_path, study.describe(PLANS["small"], sources))
    swapped = Sources(photographs / "heldout", photographs / "train", sources.vgg)
    with pytest.raises(OtherStudyError, match=r"another photos.*coffee.*chelsea"):
        Records(tmp_path, study.describe(PLAN, swapped))


def test_a_record_of_other_settings_or_figures(uninterrupted: dict[str, Any], tmp_path: Path, sources: Sources) -> None:
    records = Records(tmp_path, study.describe(PLAN, sources))
    records.write("l1-0", uninterrupted["l1-0"])
    assert len(study.missing(PLAN, records)) == len(list(PLAN.runs())) - 1
    records.write("l1-0", uninterrupted["l1-0"] | {"settings": {"model": {"dec_weight": 0.5}}})
    with pytest.raises(OtherStudyError, match=r"l1-0 .*0\.5"):
        study.missing(PLAN, records)
    figures = {name: {"psnr_y": 30.0} for name in uninterrupted["l1-0"]["figures"]}
    records.write("l1-0", uninterrupted["l1-0"] | {"figures": figures})
    with pytest.raises(OtherStudyError, match=r"l1-0 .*lpips"):
        study.missing(PLAN, records)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record(content: str, tmp_path: Path, sources: Sources) -> None:
    records = Records(tmp_path, study.describe(PLAN, sources))
    records.write("l1-0", {})
    (tmp_path / "runs/l1-0/record.json").write_text(content)
    with pytest.raises(ValueError, match=r"l1-0.record\.json is damaged"):
        study.missing(PLAN, records)


def test_sources_that_cannot_be_used(tmp_path: Path, sources: Sources) -> None:
    for wrong, message in (
        (sources._replace(photos=tmp_path / "none"), r"^--photos.*none"),
        (sources._replace(heldout=tmp_path), rf"^--heldout.*{tmp_path.name}"),
        (sources._replace(vgg=tmp_path / "none.pth"), r"^--vgg.*none\.pth"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            study.describe(PLAN, wrong)
    with pytest.raises(ValueError, match=r"^--heldout holds coffee\.png.*--photos"):
        study.describe(PLAN, sources._replace(heldout=sources.photos))


def test_a_report_on_what_there_is(
    uninterrupted: dict[str, Any], tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and differences against the records; and how the page shows them."""
    records = Records(tmp_path, study.describe(PLAN, sources))
    with pytest.raises(ValueError, match="no run of L1"):
        report.summarize(PLAN, records)
    for name in (STAGE_1_FOLDER, "l1-0", "l1_unsharp_mask_0.5-0", "l1_lp-0", "l1_lp_dec-0"):
        records.write(name, uninterrupted[name])
    results = report.summarize(PLAN, records)
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["bicubic", "stage 1", L1, "L1 + Lp", "L1 + Lp + DEC", "L1, unsharp mask 0.5"]

    def mean(name: str, metric: str = "lpips") -> float:
        figures = uninterrupted[name]["figures"]
        return sum(row[metric] for row in figures.values()) / len(figures)

    row = rows["L1 + Lp + DEC"]
    assert row["means"]["lpips"]["mean"] == pytest.approx(mean("l1_lp_dec-0"))
    assert list(row["differences"]) == [L1, "L1 + Lp"]
    for rival, folder in ((L1, "l1-0"), ("L1 + Lp", "l1_lp-0")):
        found = row["differences"][rival]["lpips"]
        assert found["mean"] == pytest.approx(mean("l1_lp_dec-0") - mean(folder))
        assert found["low"] <= found["mean"] <= found["high"]
    assert 0 <= row["control"]["amount"] <= 0.5
    assert "control" not in rows[L1] | rows["L1, unsharp mask 0.5"]

    machine = {"cores": 2, "cpu": "CPU", "torch": "2.6.0", "os": "Linux"}
    run = {"date": "2026-01-01T00:00:00"}
    results |= {"plan": "quick", "machine": machine, "run": run}
    report.write(tmp_path, results)
    assert (tmp_path / "evidence.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "evidence.txt").read_text(encoding="utf-8")
    heading, *lines = (tmp_path / "evidence.csv").read_text().splitlines()
    assert len(lines) == len(rows)
    assert {"lpips", "lpips_minus_l1_low", "lpips_minus_control_high"} <= {*heading.split(",")}
    monkeypatch.setattr(documents, "RESULTS", tmp_path)
    page = documents.evidence()
    for name, each in rows.items():
        figure = f"{each['means']['lpips']['mean']:.4f}"
        assert f"| {name} | 1 |" in page
        assert figure in page
        assert figure in table
    assert "| 28.87, 0.108 |" in page
    assert "| L1 + Lp + DEC | 1 |  |  | 1 / 4.0 |" in page
    assert json.loads((tmp_path / "evidence.json").read_text())["rows"] == json.loads(to_json(results))["rows"]


def test_the_page_before_there_are_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "RESULTS", tmp_path)
    assert not any(character.isdigit() for character in documents.evidence())
