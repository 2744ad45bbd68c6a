import csv
import io
import json
import math
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.report import (
    BICUBIC,
    Crop,
    bicubic,
    compute_figures,
    cut_sample,
    draw_curves,
    draw_grid,
    draw_samples,
    metrics_table,
    nearest,
    pull_ratio,
    read_curve,
    smooth,
    write_csv,
    write_json,
)


@pytest.fixture
def pair() -> Pair:
    return make_pair("x", torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8), scale=4)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,train/l1,train/l1_pull,train/dec_pull,val/psnr_y\n4,0.5,2.0,0.5,\n4,,,,27.0\n9,0.4,2.0,1.5,\n9,,,,29.0\n"
    )
    return path


def test_figures_hold_each_image_and_the_mean(pair: Pair) -> None:
    other = pair._replace(name="y")
    results = {
        BICUBIC: {"x": bicubic(pair), "y": bicubic(other)},
        "perfect": {"x": pair.hr, "y": bicubic(other)},
    }
    figures, left_out, notes = compute_figures([pair, other], results)
    assert list(figures["perfect"]) == ["x", "y", "mean"]
    assert figures["perfect"]["x"]["psnr_y"] == math.inf
    ssim = figures["perfect"]
    assert ssim["mean"]["ssim_y"] == pytest.approx((1 + figures[BICUBIC]["y"]["ssim_y"]) / 2)
    assert ssim["mean"]["psnr_y"] == figures[BICUBIC]["y"]["psnr_y"]
    assert [left["exact"] for left in left_out.values()] == [{}, {"psnr_y": 1, "psnr_rgb": 1}]
    assert notes == ["perfect: the mean leaves out exact images: PSNR Y of 1, PSNR RGB of 1 of 2"]
    console = Console(file=io.StringIO(), width=120)
    console.print(metrics_table(figures, notes=notes))
    assert notes[0] in " ".join(console.file.getvalue().split())
    assert all(text in console.file.getvalue() for text in (BICUBIC, "perfect", "mean", "PSNR RGB", "1.0000"))


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


def test_files_of_figures(tmp_path: Path) -> None:
    rows = {'a "name", quoted': {"psnr_y": 0.1 + 0.2, "ssim_y": 1.0}, "mean": {"psnr_y": math.inf, "ssim_y": 0.5}}
    write_csv(tmp_path / "new" / "rows.csv", rows)
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["image", "psnr_y", "ssim_y"]
    assert {name: [float(value) for value in values] for name, *values in lines[1:]} == {
        name: list(row.values()) for name, row in rows.items()
    }
    write_json(tmp_path / "new" / "rows.json", rows)
    wanted = rows | {"mean": {"psnr_y": None, "ssim_y": 0.5}}  # JSON has no infinity
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == wanted


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_file_is_the_old_or_the_new_one(tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_nearest_repeats_pixels(pair: Pair) -> None:
    assert torch.equal(nearest(pair), pair.lr.repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_pairs_of_16_bits() -> None:
    fine = make_pair("x", torch.randint(0, 65536, (3, 24, 24), dtype=torch.int32).to(torch.uint16), scale=4)
    assert bicubic(fine).dtype == nearest(fine).dtype == torch.uint8
    tiles = cut_sample(fine, {}, 0, 0, 16).tiles
    assert all(tile.dtype == torch.uint8 for tile in tiles.values())


def test_samples_are_cut_at_one_place(pair: Pair) -> None:
    name, tiles = cut_sample(pair, {"one": 255 - pair.hr}, top=8, left=20, size=12)
    assert name == "x"
    assert list(tiles) == ["LR (nearest)", "one", "HR"]
    assert torch.equal(tiles["HR"], pair.hr[:, 8:20, 20:32])
    assert torch.equal(tiles["one"], 255 - tiles["HR"])
    assert torch.equal(tiles["LR (nearest)"][:, 0, 0], pair.lr[:, 2, 5])


def test_grid(pair: Pair, tmp_path: Path) -> None:
    crops = (Crop("x", 0, 0, 24), Crop("x", 24, 40, 24))
    draw_grid(tmp_path / "grid.png", crops, [pair], {BICUBIC: {"x": bicubic(pair)}}, [BICUBIC])
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 900
        assert len(image.convert("RGB").getcolors(1 << 24)) > 200


def test_any_name_can_stand_beside_a_sample(pair: Pair, tmp_path: Path) -> None:
    def draw(name: str) -> bytes:
        draw_samples(tmp_path / "a.png", [cut_sample(pair._replace(name=name), {}, 0, 0, 16)])
        return (tmp_path / "a.png").read_bytes()

    assert draw("a" * 200) == draw("…" + "a" * 19)
    assert draw("$_$") != draw("x")  # to Matplotlib, this is a formula with a mistake


def test_curves(log: Path, tmp_path: Path) -> None:
    assert read_curve(log, "train/l1") == ([5, 10], [0.5, 0.4])
    assert read_curve(log, "val/psnr_y") == ([5, 10], [27.0, 29.0])
    assert read_curve(log, "train/dec") == ([], [])
    assert pull_ratio(log) == pytest.approx(0.5)
    draw_curves(tmp_path / "curves.png", {"one": (log, 0), "two": (log, 10)}, bicubic_psnr=28.0)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 1500


@pytest.mark.parametrize(
    ("rows", "ratio"),
    [("4,inf,0.5\n9,2.0,1.0\n14,1.0,nan\n", 0.5), ("4,0.0,0.5\n", math.nan), ("4,nan,1.0\n", math.nan)],
)
def test_pulls_that_are_no_numbers(tmp_path: Path, rows: str, ratio: float) -> None:
    (tmp_path / "metrics.csv").write_text(f"step,train/l1_pull,train/dec_pull\n{rows}")
    assert pull_ratio(tmp_path / "metrics.csv") == pytest.approx(ratio, nan_ok=True)


@pytest.mark.parametrize("bicubic_psnr", [math.inf, math.nan])
def test_curves_without_a_finite_comparison(log: Path, tmp_path: Path, bicubic_psnr: float) -> None:
    log.write_text(log.read_text() + "14,inf,nan,inf,inf\n")
    draw_curves(tmp_path / "curves.png", {"one": (log, 0)}, bicubic_psnr)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_smoothing_keeps_length_and_constants() -> None:
    assert smooth([3.0] * 100) == pytest.approx([3.0] * 100)
    assert len(smooth([1.0, 2.0, 3.0])) == 3
    rough = [float(i % 2) for i in range(100)]
    assert max(smooth(rough)[10:-10]) < 0.7
