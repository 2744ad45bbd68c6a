import io
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.report import (
    BICUBIC,
    Crop,
    bicubic,
    compute_figures,
    draw_curves,
    draw_grid,
    metrics_table,
    nearest,
    pull_ratio,
    read_curve,
    smooth,
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
    figures = compute_figures([pair, other], results)
    assert list(figures["perfect"]) == ["x", "y", "mean"]
    assert figures["perfect"]["x"]["psnr_y"] == math.inf
    ssim = figures["perfect"]
    assert ssim["mean"]["ssim_y"] == pytest.approx((1 + figures[BICUBIC]["y"]["ssim_y"]) / 2)
    console = Console(file=io.StringIO(), width=120)
    console.print(metrics_table(figures))
    assert all(text in console.file.getvalue() for text in (BICUBIC, "perfect", "mean", "PSNR RGB", "1.0000"))


def test_nearest_repeats_pixels(pair: Pair) -> None:
    assert torch.equal(nearest(pair), pair.lr.repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_grid(pair: Pair, tmp_path: Path) -> None:
    crops = (Crop("x", 0, 0, 24), Crop("x", 24, 40, 24))
    draw_grid(tmp_path / "grid.png", crops, [pair], {BICUBIC: {"x": bicubic(pair)}}, [BICUBIC])
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 900
        assert len(image.convert("RGB").getcolors(1 << 24)) > 200


def test_curves(log: Path, tmp_path: Path) -> None:
    assert read_curve(log, "train/l1") == ([5, 10], [0.5, 0.4])
    assert read_curve(log, "val/psnr_y") == ([5, 10], [27.0, 29.0])
    assert read_curve(log, "train/dec") == ([], [])
    assert pull_ratio(log) == pytest.approx(0.5)
    draw_curves(tmp_path / "curves.png", {"one": (log, 0), "two": (log, 10)}, bicubic_psnr=28.0)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 1500


def test_smoothing_keeps_length_and_constants() -> None:
    assert smooth([3.0] * 100) == pytest.approx([3.0] * 100)
    assert len(smooth([1.0, 2.0, 3.0])) == 3
    rough = [float(i % 2) for i in range(100)]
    assert max(smooth(rough)[10:-10]) < 0.7
