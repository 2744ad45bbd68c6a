from pathlib import Path
from typing import Any

import pytest

from dec_kernels.trainer.sweep import load_sweep, to_arguments
from tests.trainer.sweep.helpers import load_content, refusal


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
    ("old", "new", "words"),
    [
        ("title:", "titel:", ["titel", "Did you mean 'title'?"]),
        ("kind: line", "knid: line", ["knid", "Did you mean 'figure.kind'?"]),
        ("label:", "lable:", ["lable", "Did you mean 'label'?"]),
        ("title: A", "flavour: A", ["flavour"]),
        ("base:", "# base:", ["required: base"]),
        ("kind: line", "kind: pie", ["figure.kind", "pie", "plane"]),
        ("kind: line", "kind: line, metrics: [lpisp]", ["figure.metrics", "lpisp", "Did you mean 'lpips'?"]),
        ("kind: line", "kind: line, metrics: lpips", ["figure.metrics", "Got value: lpips"]),
        ("kind: line", "kind: line, metrics: []", ["figure.metrics", "psnr_y"]),
        ("kind: line", "kind: plane", ["plane", "x"]),
        ("kind: line, x", "kind: plane, series", ["figure.series"]),
        ("kind: line, x", "kind: line, y", ["y", "Did you mean"]),
        ("kind: line", "kind: line, series: {A: {runs: [30 dB, 40 dB, 43/8]}}", ["'A'", "'43/8'", "mean '34/8'"]),
        ("kind: line", "kind: line, series: {A: {runs: [30 dB]}}", ["'40 dB'", "none of 'A'"]),
        ("kind: line", "kind: line, series: {A: {setting: b, runs: [30 dB, 40 dB, 34/8]}}", ["'30 dB'", "b", "None"]),
        ("setting: model.dec", "setting: dec", ["'30 dB'", "dec.init_args.threshold", "None"]),
        ("threshold: 34.0", "threshold: high", ["'34/8'", "model.dec.init_args.threshold", "'high'"]),
        ("40 dB:", "30 dB:", ["'30 dB'", "twice"]),
        ("40 dB:", "30_dB:", ["'30_dB'"]),
        ("40 dB:", "..:", ["''"]),
        ("{model.learning_rate: 1.0e-3}", "3", ["settings", "3"]),
        ("{model.dec.init_args.threshold: 40.0}", "40", ["runs", "40"]),
        ("{model.dec.init_args.threshold: 40.0}", "[", ["while parsing"]),
        ("title: A title [with brackets]", "- a", ["while parsing"]),
    ],
)
def test_what_is_no_sweep(
    old: str, new: str, words: list[str], call: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    assert f"{file} is no sweep" in (error := refusal(call, capsys))
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("figure", "runs", "message"),
    [
        ({"kind": "plane", "metrics": ["psnr_y"]}, {"r": {}}, "metrics of a plane must be two, got psnr_y"),
        ({"kind": "plane"}, {}, "there is none"),
        ({"kind": "line"}, {"r": {}}, "a line needs x"),
        (
            {"kind": "plane", "series": {"A": {"runs": ["r"], "setting": "s"}}},
            {"r": {"s": 1}},
            "neither x nor settings",
        ),
    ],
)
def test_what_is_no_sweep_either(figure: dict[str, Any], runs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_content({"title": "T", "base": "b", "figure": figure, "runs": runs})


@pytest.mark.parametrize("content", ["", "- a", "3"])
def test_files_without_keys(content: str, call: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(content)
    assert f"{file} is no sweep" in refusal(call, capsys)


def test_settings_are_taken_as_they_are_written() -> None:
    """None of them is taken for a class to make, or text for a number."""
    settings = {"a": {"class_path": "torch.nn.Identity"}, "b": "1e-3", "c": None, "d": "null", "e": ["1", 1]}
    figure = {"kind": "line", "x": {"label": "l"}}
    sweep = load_content({"title": "T", "base": "b", "figure": figure, "settings": {"f": "on"}, "runs": {3: settings}})
    assert sweep.runs == {"3": {"f": "on"} | settings}
