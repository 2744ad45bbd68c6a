import io
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from dec_kernels.console import CLOSED_PIPE
from dec_kernels.trainer import cli
from dec_kernels.trainer.sweep import load_sweep, to_arguments
from dec_kernels.trainer.sweep import main as sweep_main
from dec_kernels.trainer.sweep.figure import draw, measured, results_table
from dec_kernels.trainer.sweep.spec import Sweep

SWEEP = """
title: A title [with brackets]
base: {base}
settings: {{model.learning_rate: 1.0e-3}}
figure: {{kind: line, x: {{label: "threshold [dB]", setting: model.dec.init_args.threshold}}}}
runs:
  30 dB: {{model.dec.init_args.threshold: 30.0}}
  40 dB: {{model.dec.init_args.threshold: 40.0}}
  34/8: {{model.dec.init_args.threshold: 34.0, data.batch_size: 8}}
"""
FOLDERS = ["30_dB", "40_dB", "34_8"]
FIGURES = {"psnr_y": 28.0, "ssim_y": 0.8, "lpips": 0.2}


def main(argv: Sequence[str]) -> int:
    return sweep_main(argv, cli.main)


class FakeFit:
    """Stands in for `dec-train`: keeps what it was called with, and leaves a summary of the figures it is given."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.figures = dict(FIGURES)
        self.ends: dict[str, Callable[[], int]] = {}  # a run's folder -> how its training ends, if not well

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        assert argv is not None
        self.calls.append([*argv])
        out = Path(argv[argv.index("--out") + 1])
        (out / "checkpoints").mkdir(exist_ok=True)
        # A training that is stopped leaves a summary, too.
        (out / "summary.json").write_text(json.dumps({"step": 2, "epoch": 1, "val": self.figures}))
        return self.ends.get(out.name, lambda: 0)()

    def trained(self) -> list[str]:
        folders = [Path(call[call.index("--out") + 1]).name for call in self.calls]
        self.calls.clear()
        return folders


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> FakeFit:
    fake = FakeFit()
    monkeypatch.setattr(cli, "main", fake)
    return fake


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text("model: {pixel_weight: 1.0}\n")
    return path


@pytest.fixture
def file(tmp_path: Path, base: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(base=base))
    return path


@pytest.fixture
def call(file: Path, tmp_path: Path) -> list[str]:
    return ["--config", str(file), "--out", str(tmp_path / "out")]


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def build(kind: str, figures: dict[str, dict[str, float]], **figure: Any) -> tuple[Sweep, dict[str, dict[str, Any]]]:
    """A sweep over a x b, as far as the names of its runs say, and its results."""
    content = {
        "title": "T",
        "base": "b",
        "figure": {"kind": kind, **figure},
        "runs": {name: dict(zip("ab", map(float, name.split(",")), strict=False)) for name in figures},
    }
    sweep = load_content(content)
    return sweep, {name: {"settings": sweep.runs[name], "figures": row} for name, row in figures.items()}


def load_content(content: dict[str, Any]) -> Sweep:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_sweep(str(path))


# Reading


def test_settings_of_all_and_of_one(file: Path) -> None:
    sweep = load_sweep(str(file))
    assert sweep.runs["34/8"] == {
        "model.learning_rate": 1e-3,
        "model.dec.init_args.threshold": 34,
        "data.batch_size": 8,
    }


def test_settings_become_arguments() -> None:
    settings = {"a.b": 1, "c": 1e-5, "d": "inside", "e": None, "f": True, "g": ["x", 2], "h": {"k": 0.5}}
    arguments = ["--a.b=1", "--c=1e-05", "--d=inside", "--e=null", "--f=true", '--g=["x", 2]', '--h={"k": 0.5}']
    assert to_arguments(settings) == arguments


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "titel:", "Did you mean 'title'?"),
        ("kind: line", "knid: line", "Did you mean 'kind'?"),
        ("label:", "lable:", "Did you mean 'label'?"),
        ("title: A", "flavour: A", "unknown 'flavour'; known are title, base, figure, runs, settings"),
        ("base:", "# base:", "the file lacks base"),
        ("kind: line", "kind: pie", "figure.kind must be one of line, heatmap, plane, got 'pie'"),
        ("kind: line", "kind: line, metrics: [lpisp]", "Did you mean 'lpips'?"),
        ("kind: line", "kind: line, metrics: lpips", "figure.metrics must be a list"),
        ("kind: line", "kind: line, metrics: []", "figure.metrics must be a list"),
        ("kind: line", "kind: plane", "a plane has neither x nor y"),
        ("kind: line", "kind: heatmap", "a heatmap has x and y"),
        ("kind: line", "kind: heatmap, y: {label: l}", "both axes of a heatmap need a setting"),
        ("kind: line, x", "kind: line, y", "a line has x"),
        ("setting: model.dec", "setting: dec", "'30 dB' needs a number for dec.init_args.threshold, got None"),
        ("threshold: 34.0", "threshold: high", "'34/8' needs a number for model.dec.init_args.threshold, got 'high'"),
        ("40 dB:", "30 dB:", "the key '30 dB' is there twice"),
        ("40 dB:", "30_dB:", "would have the folder '30_dB'"),
        ("40 dB:", "..:", "would have the folder ''"),
        ("{model.learning_rate: 1.0e-3}", "3", "settings must be a mapping of keys to values, got 3"),
        ("{model.dec.init_args.threshold: 40.0}", "40", "runs.40 dB must be a mapping of keys to values, got 40"),
        ("{model.dec.init_args.threshold: 40.0}", "[", "is no sweep: while parsing"),
    ],
)
def test_what_is_no_sweep(
    old: str, new: str, message: str, call: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert f"{file} is no sweep" in (error := refusal(call, capsys))
    assert message in error


@pytest.mark.parametrize(
    ("figure", "runs", "message"),
    [
        ({"kind": "plane", "metrics": ["psnr_y"]}, {"r": {}}, "metrics of a plane must be two, got psnr_y"),
        ({"kind": "plane"}, {}, "there is none"),
        (
            {"kind": "heatmap", "x": {"label": "l", "setting": "a"}, "y": {"label": "l", "setting": "b"}},
            {"r": {"a": 1, "b": 2}, "s": {"a": 2, "b": 2}, "t": {"a": 1, "b": 2}},
            r"'r' is not the only one at \(1, 2\)",
        ),
    ],
)
def test_what_is_no_sweep_either(figure: dict[str, Any], runs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_content({"title": "T", "base": "b", "figure": figure, "runs": runs})


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(["--config", "treshold", "--out", str(tmp_path)], capsys)
    assert "no sweep 'treshold': neither a file nor one of patches, perception_distortion, temperatures" in error


def test_an_unknown_base_lists_the_shipped_ones(
    call: list[str], base: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    base.unlink()
    assert "demo_stage1, demo_stage2, paper_l1" in refusal(call, capsys)
    assert not fit.trained()


# Training


def test_trains_each_run_by_itself(call: list[str], base: Path, fit: FakeFit, tmp_path: Path) -> None:
    out = tmp_path / "out"
    handed_on = ["--data.seed", "7", "--figure"]  # not --figure-only for short
    assert main([*call, *handed_on]) == 0
    own = [["30.0"], ["40.0"], ["34.0", "--data.batch_size=8"]]
    for sent, folder, (threshold, *more) in zip(fit.calls, FOLDERS, own, strict=True):
        assert sent[:7] == ["fit", "--config", str(base), "--out", str(out / folder), "--resume", "auto"]
        settings = ["--model.learning_rate=0.001", f"--model.dec.init_args.threshold={threshold}", *more]
        assert sent[7:] == [*settings, *handed_on]
    results = json.loads((out / "results.json").read_text())
    assert results["title"] == "A title [with brackets]"
    assert [*results["runs"]] == ["30 dB", "40 dB", "34/8"]
    assert results["runs"]["34/8"] == {
        "settings": {"model.learning_rate": 1e-3, "model.dec.init_args.threshold": 34.0, "data.batch_size": 8},
        "step": 2,
        "epoch": 1,
        "figures": FIGURES,
    }
    assert Image.open(out / "figure.png").size[0] > 1000


def test_what_is_finished_is_not_trained_again(
    call: list[str], base: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    main(call)
    assert fit.trained() == FOLDERS
    base.write_text("# a comment\n" + base.read_text())
    capsys.readouterr()
    assert main(call) == 0
    assert fit.trained() == []
    printed = capsys.readouterr().out
    assert "40 dB (2 of 3) is finished" in printed
    assert "28.00" in printed


def test_other_settings_do_not_take_old_results(
    call: list[str], file: Path, base: Path, fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(call)
    fit.trained()
    text, base_text = file.read_text(), base.read_text()
    file.write_text(text.replace("34.0", "35.0"))
    error = refusal(call, capsys)
    assert f"{tmp_path / 'out' / '34_8'} holds another training" in error
    assert "threshold=34.0" in error
    assert "threshold=35.0" in error
    file.write_text(text)
    assert "now --model.learning_rate=0.001" in refusal([*call, "--data.seed", "1"], capsys)
    base.write_text(base_text.replace("1.0", "2.0"))
    assert "the base config was another one" in refusal(call, capsys)
    base.write_text(base_text)
    (tmp_path / "out" / "30_dB" / "sweep.json").unlink()
    assert "without a sweep.json" in refusal(call, capsys)
    assert fit.trained() == []


def test_settings_may_change_where_nothing_was_trained(call: list[str], fit: FakeFit, tmp_path: Path) -> None:
    (tmp_path / "out" / "30_dB").mkdir(parents=True)
    assert main(call) == 0
    assert fit.trained() == FOLDERS


def raise_value_error() -> int:
    raise ValueError("no such image")


@pytest.mark.parametrize(
    ("end", "reason"),
    [(raise_value_error, "ValueError: no such image"), (lambda: 2, "exit status is 2")],
)
def test_a_failure_does_not_stop_the_others(
    end: Callable[[], int],
    reason: str,
    call: list[str],
    fit: FakeFit,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit.ends["40_dB"] = end
    assert main(call) == 1
    assert fit.trained() == FOLDERS
    assert "40 dB failed: " in (error := capsys.readouterr().err)
    assert reason in error.splitlines()[-1]
    results = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [name for name, result in results.items() if "error" in result] == ["40 dB"]
    assert (tmp_path / "out" / "figure.png").exists()

    fit.ends.clear()
    assert main(call) == 0
    assert fit.trained() == ["40_dB"]


def test_a_training_without_a_summary_failed(
    call: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", lambda argv: 0)
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "30 dB failed: it ended without a summary.json" in error
    assert "no figure: PSNR Y and LPIPS were measured in no run" in error


def test_a_closed_pipe_ends_the_sweep(call: list[str], fit: FakeFit) -> None:
    """What the training wrote to it is gone, and so is the pipe: nothing else would end here."""
    fit.ends["40_dB"] = lambda: CLOSED_PIPE
    with pytest.raises(SystemExit, match=str(CLOSED_PIPE)):
        main(call)
    assert fit.trained() == ["30_dB", "40_dB"]


def test_ctrl_c_ends_the_sweep(
    call: list[str], fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.ends["40_dB"] = lambda: 130
    assert main(call) == 130
    assert fit.trained() == ["30_dB", "40_dB"]
    assert "the same command goes on" in capsys.readouterr().err
    assert [*json.loads((tmp_path / "out" / "results.json").read_text())["runs"]] == ["30 dB"]
    fit.ends.clear()
    assert main(call) == 0
    assert fit.trained() == ["40_dB", "34_8"]


@pytest.mark.parametrize("spelling", [["--data.batch_size=4"], ["--data.batch_size", "4"]])
def test_what_the_sweep_sets_cannot_be_set(
    spelling: list[str], call: list[str], fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--data.batch_size is what the sweep sets itself" in refusal([*call, *spelling], capsys)
    assert fit.trained() == []


def test_a_real_sweep(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"""
title: Weight of DECLoss
base: {tiny_config}
figure: {{kind: line, metrics: [psnr_y, ssim_y], x: {{label: weight, setting: model.dec_weight}}}}
runs:
  "0": {{model.dec_weight: 0.0}}
  "1": {{model.dec_weight: 1.0}}
""")
    argv = ["--config", str(file), "--out", str(tmp_path / "out"), "--data.seed", "3"]
    assert main(argv) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [result["step"] for result in results.values()] == [2, 2]
    psnr = [result["figures"]["psnr_y"] for result in results.values()]
    assert psnr[0] != psnr[1]
    capsys.readouterr()
    assert main(argv) == 0
    assert f"{psnr[0]:.2f}" in capsys.readouterr().out


# The figure


def test_figure_only_draws_what_is_there(call: list[str], file: Path, fit: FakeFit, tmp_path: Path) -> None:
    main([*call, "--data.seed", "7"])
    fit.trained()
    picture = tmp_path / "out" / "figure.png"
    picture.unlink()
    file.write_text(file.read_text().replace("threshold [dB]", "another label"))
    assert main([*call, "--figure-only"]) == 0
    assert picture.exists()
    assert fit.trained() == []


def test_figure_only_takes_no_other_results(
    call: list[str], file: Path, fit: FakeFit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "results.json: train first" in refusal([*call, "--figure-only"], capsys)
    main(call)
    assert "--data.seed 7 has no meaning" in refusal([*call, "--figure-only", "--data.seed", "7"], capsys)
    file.write_text(file.read_text().replace("34.0", "35.0"))
    assert "'34/8' in " in refusal([*call, "--figure-only"], capsys)


def test_a_plane_needs_both_metrics(
    call: list[str], file: Path, fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = next(line for line in file.read_text().splitlines() if line.startswith("figure"))
    file.write_text(file.read_text().replace(figure, "figure: {kind: plane}"))
    del fit.figures["lpips"]
    assert main(call) == 1
    error = capsys.readouterr().err
    assert "no figure: the plane needs PSNR Y and LPIPS of one run. LPIPS was not measured." in error
    assert (tmp_path / "out" / "results.json").exists()
    assert not (tmp_path / "out" / "figure.png").exists()


LINE = {"x": {"label": "the label", "setting": "a"}}


def test_lines_lie_where_the_settings_are() -> None:
    sweep, results = build(
        "line", {"4": {"psnr_y": 2.0, "lpips": 0.3}, "1": {"psnr_y": 3.0, "lpips": 0.1}, "2": {"psnr_y": 1.0}}, **LINE
    )
    results["2"]["figures"]["lpips"] = math.nan
    figure = draw(sweep, results)
    psnr, lpips = figure.axes
    assert psnr.get_lines()[0].get_xydata().tolist() == [[1, 3], [2, 1], [4, 2]]
    assert lpips.get_lines()[0].get_xydata().tolist() == [[1, 0.1], [4, 0.3]]
    # The best point is drawn once more.
    assert [line.get_xydata().tolist() for line in psnr.get_lines()[1:]] == [[[1, 3]]]
    assert [line.get_xydata().tolist() for line in lpips.get_lines()[1:]] == [[[1, 0.1]]]
    assert [label.get_text() for label in psnr.get_xticklabels()] == ["1", "2", "4"]
    assert (psnr.get_xlabel(), psnr.get_ylabel(), lpips.get_ylabel()) == ("the label", "PSNR Y [dB] ↑", "LPIPS ↓")
    assert figure.get_supxlabel() == "Without figures: 2."


def test_without_a_setting_the_runs_stand_in_their_order() -> None:
    figures = {"32": {"psnr_y": 2.0}, "8": {"psnr_y": 3.0}, "16": {"psnr_y": 1.0}}
    sweep, results = build("line", figures, x={"label": "the label"})
    figure = draw(sweep, results)
    (axis,) = figure.axes
    assert axis.get_lines()[0].get_xydata().tolist() == [[0, 2], [1, 3], [2, 1]]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["32", "8", "16"]
    assert figure.get_supxlabel() == "LPIPS was not measured."


def test_heatmap() -> None:
    figures = {"1,20": 3.0, "2,10": 4.0, "1,10": 1.0}
    sweep, results = build(
        "heatmap",
        {name: {"psnr_y": value, "lpips": value} for name, value in figures.items()},
        x={"label": "A", "setting": "a"},
        y={"label": "B", "setting": "b"},
    )
    figure = draw(sweep, results)
    psnr, lpips = figure.axes[:2]
    for axis in (psnr, lpips):
        (image,) = axis.get_images()
        np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), [[1, 4], [3, np.nan]])
        assert {text.get_position(): float(text.get_text()) for text in axis.texts} == {
            (0, 0): 1.0,
            (1, 0): 4.0,
            (0, 1): 3.0,
        }
        assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["10", "20"]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("A", "B")
    # The better a cell, the brighter: high PSNR, low LPIPS.
    assert sum(psnr.get_images()[0].to_rgba(4.0)) > sum(psnr.get_images()[0].to_rgba(1.0))
    assert sum(lpips.get_images()[0].to_rgba(4.0)) < sum(lpips.get_images()[0].to_rgba(1.0))
    assert [text.get_text() for text in psnr.texts if text.get_fontweight() == "bold"] == ["4.00"]
    assert [text.get_text() for text in lpips.texts if text.get_fontweight() == "bold"] == ["1.0000"]


def test_plane() -> None:
    figures = {"0": {"psnr_y": 29.0, "lpips": 0.3}, "1": {"psnr_y": 27.0, "lpips": 0.1}, "2": {"psnr_y": 28.0}}
    figure = draw(*build("plane", figures))
    (axis,) = figure.axes
    assert axis.get_lines()[0].get_xydata().tolist() == [[29, 0.3], [27, 0.1]]
    labels = {text.get_text(): getattr(text, "xy", None) for text in axis.texts}
    assert labels.pop("better") == (0.97, 0.03)
    assert labels == {"0": (29, 0.3), "1": (27, 0.1)}
    assert axis.get_xlabel() == "distortion: PSNR Y [dB] ↑"
    assert figure.get_supxlabel() == "Without figures: 2."


def test_table() -> None:
    figures = {"1": {"psnr_y": 29.123, "lpips": 0.3}, "2": {"psnr_y": 27.0, "lpips": 0.1}, "3": {}}
    table = results_table(*build("plane", figures))
    assert [column.header for column in table.columns] == ["run", "PSNR Y", "LPIPS"]
    cells = [[*column.cells] for column in table.columns]
    assert cells == [["1", "2", "3"], ["[bold]29.12[/bold]", "27.00", "-"], ["0.3000", "[bold]0.1000[/bold]", "-"]]


def test_what_the_means_leave_out_is_said_under_the_table() -> None:
    figures = {"1": {"psnr_y": 29.0, "lpips": 0.3}, "2": {"psnr_y": None, "lpips": None}, "3": {}}
    sweep, results = build("line", figures, x={"label": "the label"})
    results["1"]["left_out"] = {"images": 5, "exact": {}, "nonfinite": []}
    results["2"]["left_out"] = {"images": 5, "exact": {"psnr_y": 5, "psnr_rgb": 5}, "nonfinite": []}
    results["3"]["left_out"] = {"images": 5, "exact": {"psnr_y": 2}, "nonfinite": ["[x]"]}
    console = Console(file=io.StringIO(), width=150)
    console.print(results_table(sweep, results))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "2: every image is exact" in text
    assert "3: the mean leaves out exact images: PSNR Y of 2 of 5" in text
    assert "3: NaN or infinite pixels, so no figures, in 1 of 5: [x]" in text
    assert "1: the mean" not in text
    assert "None" not in text


@pytest.mark.parametrize("content", ["{", "[]", '{"runs": 3}', "{}"])
def test_a_damaged_record_is_named(
    call: list[str], fit: FakeFit, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    main(call)
    (tmp_path / "out" / "results.json").write_text(content)
    assert "results.json" in refusal([*call, "--figure-only"], capsys)
    fit.trained()
    (tmp_path / "out" / "30_dB" / "summary.json").write_text("{")
    assert main(call) == 1
    assert f"{tmp_path / 'out' / '30_dB' / 'summary.json'} is damaged" in capsys.readouterr().err
    (tmp_path / "out" / "30_dB" / "sweep.json").write_text("")
    assert "sweep.json is damaged" in refusal(call, capsys)
    assert not fit.trained()


def test_files_that_are_no_folder_or_no_text(call: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--out {file} must be a folder" in refusal([*call[:-1], str(file)], capsys)
    file.write_bytes(bytes(range(256)))
    assert f"{file} is no sweep: 'utf-8'" in refusal(call, capsys)


def test_numbers_that_json_has_not_are_no_change_of_the_settings(
    call: list[str], base: Path, file: Path, fit: FakeFit, tmp_path: Path
) -> None:
    base.write_text(base.read_text() + "\nextra: [.inf, .nan]\n")
    for _ in range(2):
        assert main(call) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    assert fit.trained() == FOLDERS


def test_infinite_figures_are_none() -> None:
    results = {"a": {"figures": {"psnr_y": math.inf}}, "b": {"figures": {"psnr_y": 1.0}}, "c": {"error": "e"}}
    assert measured(results, "psnr_y") == {"b": 1.0}
