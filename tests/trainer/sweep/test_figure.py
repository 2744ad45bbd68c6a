import io
import math

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


def test_several_lines_share_a_run() -> None:
    figures = {"1,10": {"lpips": 0.3}, "2,10": {"lpips": 0.1}, "1,20": {"lpips": 0.2}}
    series = {"A": {"setting": "a", "runs": ["1,10", "2,10"]}, "B": {"runs": ["1,20", "1,10"]}}
    figure = draw(*build("line", figures, metrics=["lpips"], x={"label": "the label", "setting": "b"}, series=series))
    (axis,) = figure.axes
    first, best, second = axis.get_lines()
    assert first.get_xydata().tolist() == [[1, 0.3], [2, 0.1]]
    assert best.get_xydata().tolist() == [[2, 0.1]]
    assert second.get_xydata().tolist() == [[10, 0.3], [20, 0.2]]
    assert first.get_color() != second.get_color()
    legend = axis.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["A", "B"]
    assert [handle.get_color() for handle in legend.get_lines()] == [first.get_color(), second.get_color()]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "10", "20"]


def test_one_line_has_no_legend() -> None:
    (axis,) = draw(*build("line", {"1": {"psnr_y": 1.0}}, **LINE)).axes
    assert axis.get_legend() is None


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


def test_several_lines_in_the_plane() -> None:
    figures = {"0": {"psnr_y": 29.0, "lpips": 0.3}, "1": {"psnr_y": 27.0, "lpips": 0.1}, "2": {"psnr_y": 28.0}}
    series = {"A": {"runs": ["0", "1"]}, "B": {"runs": ["1", "2"]}, "none of it": {"runs": ["2"]}}
    (axis,) = draw(*build("plane", figures, series=series)).axes
    lines = [line.get_xydata().tolist() for line in axis.get_lines()]
    assert lines == [[[29, 0.3], [27, 0.1]], [[27, 0.1]], []]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["A", "B", "none of it"]


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
