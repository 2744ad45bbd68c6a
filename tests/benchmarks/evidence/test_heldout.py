import math
from pathlib import Path

import pytest
import torch

from benchmarks.evidence.figures import METRICS, PAPER, shown, signed
from benchmarks.evidence.heldout import HeldOut, colour_bias
from benchmarks.evidence.plan import PLANS
from dec_kernels.trainer.samples import bicubic


def test_the_colour_bias_of_a_shift() -> None:
    hr = torch.randint(10, 200, (3, 6, 5), dtype=torch.uint8)
    shift = torch.tensor([3, 0, 4], dtype=torch.uint8)[:, None, None]
    assert colour_bias(hr + shift, hr) == pytest.approx(5)
    assert colour_bias(hr, hr) == 0
    checked = hr.clone()
    checked[0, 0, 0] += 7
    checked[0, 1, 0] -= 7
    assert colour_bias(checked, hr) == pytest.approx(0, abs=1e-12)


def test_figures_of_hr_itself_and_of_bicubic(photographs: Path, alexnet: Path) -> None:
    heldout = HeldOut(photographs / "heldout", 4, alexnet, 500)
    (pair,) = heldout.pairs
    own = heldout.figures({"chelsea": pair.hr})["chelsea"]
    assert list(own) == list(METRICS)
    assert own == {
        **{"psnr_y": math.inf, "psnr_rgb": math.inf, "ssim_y": 1, "lpips": 0},
        **{"gradient_energy": 1, "energy_beyond_lr": 1, "correlation_beyond_lr": pytest.approx(1)},
        **{"colour_bias": 0, "over_smoothing": 0},
    }
    smooth = heldout.figures({"chelsea": bicubic(pair)})["chelsea"]
    assert 0 < smooth["gradient_energy"] < 0.8
    assert smooth["over_smoothing"] > 0.5
    assert smooth["lpips"] > 0


def test_what_cannot_be_measured(photographs: Path, alexnet: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        HeldOut(photographs / "nothing", 4, alexnet, 500)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        HeldOut(photographs / "heldout", 4, tmp_path / "none.pth", 500)


def test_figures_as_text() -> None:
    difference = {"lpips": {"mean": -0.00126, "low": -0.002, "high": 0.001}}
    assert signed(difference) == "-0.0013 (-0.0020 to +0.0010)"
    assert signed(None) == ""
    assert signed({"lpips": {"mean": None, "low": None, "high": None}}) == ""
    assert (shown("psnr_y", 29.126), shown("lpips", math.nan)) == ("29.13", "")


def test_the_papers_figures_are_those_of_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs/paper.md").read_text(encoding="utf-8")
    assert list(PAPER) == [s.name for s in PLANS["small"].settings() if s.group == "Table 1"]
    for name, (psnr, lpips) in PAPER.items():
        config = "paper_" + name.lower().replace(" + ", "_")
        assert f"| `{config}` | {psnr:.2f} | {lpips:.3f} |" in page
