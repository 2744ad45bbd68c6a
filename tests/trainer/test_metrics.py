import json
import math

import numpy as np
import pytest
import torch

from dec_kernels.trainer.metrics import METRICS, border_of, measure, rgb_to_y
from dec_kernels.trainer.pixels import to_uint8
from tests.trainer.conftest import DATA


@pytest.mark.parametrize("border", [0, 4])
def test_agrees_with_known_good_figures(golden: dict[str, np.ndarray], border: int) -> None:
    wanted = json.loads((DATA / "metrics.json").read_text())
    a, b = (torch.from_numpy(golden[f"metric_{name}"]).permute(2, 0, 1) for name in "ab")
    figures = measure(a, b, border)
    assert list(figures) == [name for name in METRICS if name != "lpips"]
    for name, value in figures.items():
        metric, channels = name.split("_")
        assert value == pytest.approx(wanted[f"{metric}_crop{border}_{channels}"], abs=5e-6)


def test_equal_images() -> None:
    image = torch.randint(0, 256, (3, 24, 20), dtype=torch.uint8)
    figures = measure(image, image, border=4)
    assert figures["psnr_y"] == figures["psnr_rgb"] == math.inf
    assert figures["ssim_y"] == pytest.approx(1)
    assert figures["ssim_rgb"] == pytest.approx(1)


def test_border_is_left_out() -> None:
    hr = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    sr = hr.clone()
    sr[:, :4] = 255 - sr[:, :4]
    assert measure(sr, hr, border=3)["psnr_rgb"] < math.inf
    assert measure(sr, hr, border=4)["psnr_rgb"] == math.inf


def test_luma_spans_16_to_235() -> None:
    black_and_white = torch.tensor([0, 255]).expand(3, 1, 2)
    torch.testing.assert_close(rgb_to_y(black_and_white), torch.tensor([[[16.0, 235.0]]], dtype=torch.float64))


def test_16_bit_images_are_measured_as_8_bit_ones() -> None:
    sr, hr = (torch.randint(0, 65536, (3, 20, 20), dtype=torch.int32).to(torch.uint16) for _ in range(2))
    assert measure(sr, hr, 4) == measure(to_uint8(sr), hr, 4) == measure(to_uint8(sr), to_uint8(hr), 4)


def test_lpips_is_that_of_whole_images_in_0_to_1() -> None:
    def lpips(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        assert sr.shape == hr.shape == (1, 3, 20, 20)
        return (sr - hr).abs().mean(dim=(1, 2, 3))

    sr, hr = torch.full((3, 20, 20), 51, dtype=torch.uint8), torch.zeros(3, 20, 20, dtype=torch.uint8)
    figures = measure(sr, hr, 4, lpips)
    assert list(figures) == list(METRICS)
    assert figures["lpips"] == pytest.approx(0.2)


def test_each_metric_knows_its_best_value() -> None:
    values = [0.25, 0.5, 0.125]
    assert METRICS["lpips"].best(values) == 0.125
    assert all(METRICS[name].best(values) == 0.5 for name in METRICS if name != "lpips")
    assert METRICS["psnr_y"].best([1.0, math.inf, math.nan]) == METRICS["psnr_y"].best([math.nan, math.inf]) == math.inf
    assert METRICS["lpips"].best([math.nan, 0.5, math.nan]) == 0.5
    assert math.isnan(METRICS["lpips"].best([math.nan]))
    assert METRICS["psnr_y"].text(math.inf) == "inf"
    assert METRICS["psnr_y"].text(27.125) == "27.12"
    assert METRICS["lpips"].text(0.12345) == "0.1235"


def test_refuses_what_it_cannot_measure() -> None:
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"sr must be uint8 or uint16, got torch\.float32"):
        measure(image.float(), image, 0)
    with pytest.raises(ValueError, match=r"hr must be \(3, H, W\)"):
        measure(image, image[None], 0)
    with pytest.raises(ValueError, match="must have one shape"):
        measure(image, image[:, 1:], 0)
    for border in (-1, 5):
        with pytest.raises(ValueError, match="border must be at least 0 and leave 11 x 11 pixels"):
            measure(image, image, border)


def test_restoration_is_measured_up_to_the_border() -> None:
    assert [border_of(scale) for scale in (1, 2, 3, 4)] == [0, 2, 3, 4]
