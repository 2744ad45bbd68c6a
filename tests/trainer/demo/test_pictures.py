import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dec_kernels import DECLoss
from dec_kernels.trainer.data import make_pair
from dec_kernels.trainer.demo.pictures import draw_curves, draw_grid, pull_maps, pull_ratio, read_curve, smooth
from dec_kernels.trainer.samples import BICUBIC, Crop, bicubic


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,train/l1,train/l1_pull,train/dec_pull,val/psnr_y\n4,0.5,2.0,0.5,\n4,,,,27.0\n9,0.4,2.0,1.5,\n9,,,,29.0\n"
    )
    return path


def test_grid(tmp_path: Path) -> None:
    pair = make_pair("x", torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8), scale=4)
    crops = (Crop("x", 0, 0, 24), Crop("x", 24, 40, 24))
    maps = {"map": {"x": 255 - pair.hr}}
    draw_grid(tmp_path / "grid.png", crops, [pair], {BICUBIC: {"x": bicubic(pair)}}, [BICUBIC], maps, None)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 1200
        assert len(image.convert("RGB").getcolors(1 << 24)) > 200


def test_pull_maps() -> None:
    """Black where nothing pulls, and brighter where the gradient is larger."""
    pair = make_pair("x", torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8), scale=4)

    class OfTheLeft(torch.nn.Module):
        def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
            assert torch.equal(hr[0], pair.hr / 255)
            return (sr[..., :16] - 2).square().sum() + 50 * sr[..., :4].sum()

    image = pull_maps(OfTheLeft(), {"x": pair.hr}, [pair])["x"]
    assert image.dtype == torch.uint8
    assert image.shape == pair.hr.shape
    assert image[:, :, 16:].unique().tolist() == image[:, 0, -1].unique().tolist()
    strong, weak, none = (image[:, :, columns].float().mean() for columns in (slice(4), slice(4, 16), slice(16, 48)))
    assert strong > 2 * weak > 10 * none


def test_pull_map_of_declosses_and_of_nothing() -> None:
    pair = make_pair("x", torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8), scale=4)
    found = pull_maps(DECLoss(), {"x": bicubic(pair)}, [pair])["x"]
    assert len(found.flatten(1).unique(dim=1).T) > 50

    class Nothing(torch.nn.Module):
        def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
            return 0 * sr.sum()

    with np.errstate(all="raise"):
        nothing = pull_maps(Nothing(), {"x": pair.hr}, [pair])["x"]
    assert nothing.flatten(1).unique(dim=1).shape[1] == 1


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
