import io
import math

import numpy as np
from rich.console import Console

from dec_kernels.trainer.sweep.figure import draw, measured, results_table
from tests.trainer.sweep.helpers import build

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
    assert "PSNR Y of 2 of 5" in text
    assert "in 1 of 5: [x]" in text
    assert "1: the mean" not in text
    assert "None" not in text


def test_infinite_figures_are_none() -> None:
    results = {"a": {"figures": {"psnr_y": math.inf}}, "b": {"figures": {"psnr_y": 1.0}}, "c": {"error": "e"}}
    assert measured(results, "psnr_y") == {"b": 1.0}
