import csv
import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from dec_kernels.trainer.tables import metrics_table, summarize, write_csv


def test_the_mean_leaves_exact_images_out_and_says_so() -> None:
    bicubic = {
        "x": {"psnr_y": 27.0, "psnr_rgb": 26.0, "ssim_y": 0.75},
        "y": {"psnr_y": 29.0, "psnr_rgb": 28.0, "ssim_y": 0.5},
    }
    figures, left_out, notes = summarize(
        {
            "Bicubic": bicubic,
            "perfect": {"x": {"psnr_y": math.inf, "psnr_rgb": math.inf, "ssim_y": 1.0}, "y": bicubic["y"]},
        }
    )
    assert list(figures["perfect"]) == ["x", "y", "mean"]
    assert figures["Bicubic"]["mean"] == pytest.approx({"psnr_y": 28.0, "psnr_rgb": 27.0, "ssim_y": 0.625})
    assert figures["perfect"]["mean"] == pytest.approx({"psnr_y": 29.0, "psnr_rgb": 28.0, "ssim_y": 0.75})
    assert [left["exact"] for left in left_out.values()] == [{}, {"psnr_y": 1, "psnr_rgb": 1}]
    assert notes == ["perfect: the mean leaves out exact images: PSNR Y of 1, PSNR RGB of 1 of 2"]
    console = Console(file=io.StringIO(), width=120)
    console.print(metrics_table(figures, notes=notes))
    assert notes[0] in " ".join(console.file.getvalue().split())
    assert all(text in console.file.getvalue() for text in ("Bicubic", "perfect", "mean", "PSNR RGB", "1.0000"))


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="truecolor")
    console.print(metrics_table(figures, "a title"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_best_of_each_block_is_bold() -> None:
    a = {"x": {"psnr_y": 30.0, "lpips": 0.25}, "mean": {"psnr_y": 31.0, "lpips": 0.75}}
    b = {"x": {"psnr_y": 29.0, "lpips": 0.5}, "mean": {"psnr_y": 32.0, "lpips": 0.5}}
    text = table({"a": a, "b": b})
    bold = {value for value in ("30.00", "29.00", "31.00", "32.00", "0.2500", "0.7500") if f"\x1b[1m{value}" in text}
    assert bold == {"30.00", "32.00", "0.2500"}
    assert text.count("\x1b[1m0.5000") == 1  # b's mean
    assert "a title" in text
    assert "LPIPS" in text
    assert "SSIM" not in text


def test_brackets_in_names_are_no_markup() -> None:
    names = ["[x]", "[/b]", "a\\", "a\\[b]", ":smile:", "[bold]y"]
    text = table({"a": {name: {"psnr_y": 30.0} for name in names}})
    assert all(f" {name} " in text for name in names)


def test_csv(tmp_path: Path) -> None:
    rows = {'a "name", quoted': {"psnr_y": 0.1 + 0.2, "ssim_y": 1.0}, "mean": {"psnr_y": math.inf, "ssim_y": 0.5}}
    write_csv(tmp_path / "new" / "rows.csv", rows)
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["image", "psnr_y", "ssim_y"]
    assert {name: [float(value) for value in values] for name, *values in lines[1:]} == {
        name: list(row.values()) for name, row in rows.items()
    }
