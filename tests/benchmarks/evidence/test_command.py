"""The quick plan from end to end, on two photographs of scikit-image and with random weights of VGG-16 and AlexNet."""

import json
from pathlib import Path

import pytest

from benchmarks.evidence import study
from benchmarks.evidence.__main__ import main
from benchmarks.evidence.estimate import Estimate, Kind
from benchmarks.evidence.figures import METRICS
from benchmarks.evidence.plan import PLANS
from dec_kernels.console import INTERRUPTED


@pytest.fixture
def arguments(photographs: Path, alexnet: Path, vgg_16: Path, tmp_path: Path) -> list[str]:
    values = {
        "photos": photographs / "train",
        "heldout": photographs / "heldout",
        "lpips": alexnet,
        "vgg": vgg_16,
        "out": tmp_path / "out",
        "plan": "quick",
    }
    return [f"--{name}={value}" for name, value in values.items()]


def test_from_end_to_end(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    estimate, _, rest = printed.partition("What is left of the study takes about")
    assert "like L1 + Lp + DEC + RaGAN" in estimate
    assert "on this" in rest.splitlines()[0]
    out = tmp_path / "out"
    results = json.loads((out / "evidence.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names == ["bicubic", "stage 1", *(setting.name for setting in PLANS["quick"].settings())]
    for row in results["rows"]:
        assert row["means"].keys() == METRICS.keys()
        assert row["means"]["psnr_y"]["mean"] > 0
    assert results["images"] == ["chelsea"]
    assert results["stage_1"][-1]["step"] == PLANS["quick"].stage_1_steps
    assert results["run"]["command"].startswith("python -m benchmarks.evidence")
    for picture in ("evidence.png", "evidence_crops.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    trained = {row["name"]: row["means"]["psnr_rgb"]["mean"] for row in results["rows"]}
    assert trained["stage 1"] != trained["L1"] != trained["L1 + Lp"]

    assert main([*arguments, "--report"]) == 0
    again = json.loads((out / "evidence.json").read_text())
    assert again["rows"] == results["rows"]
    assert "What is left" not in capsys.readouterr().out


def test_an_estimate_leaves_nothing_behind(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Estimate([Kind("x", 3, 1000, 2.0, 20.0)], 30, 10.0)
    monkeypatch.setattr("benchmarks.evidence.__main__.estimate", lambda *_: made)
    assert main([*arguments, "--estimate"]) == 0
    assert made.seconds == 3 * (20 + 1000 * 2) + 300
    text = capsys.readouterr().out
    assert "3 x 1000 steps like x: 2 s a step, 101 minutes" in text
    assert "takes about 106 minutes on this" in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["study.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_stopped_by_hand(
    error: BaseException, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise error  # noqa: B904  Lightning's SystemExit has the interrupt as its context

    monkeypatch.setattr("benchmarks.evidence.__main__.estimate", lambda *_: Estimate([], 0, 0.0))
    monkeypatch.setattr(study, "carry_out", stopped)
    assert main(arguments) == INTERRUPTED
    assert "same command" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "wrong"),
    [
        ("photos", "nowhere", "--photos"),
        ("heldout", "nowhere", "--heldout"),
        ("lpips", "nowhere.pth", "nowhere.pth"),
        ("vgg", "nowhere.pth", "--vgg"),
        ("out", "{file}", "--out"),
    ],
)
def test_what_cannot_be_used(
    option: str, value: str, wrong: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main([*arguments, f"--{option}={value.format(file=file)}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("python -m benchmarks.evidence: ")
    assert wrong in error
    assert len(error.splitlines()) == 1
