import json
import math

import numpy as np
import pytest
import torch

from dec_kernels.trainer.metrics import METRICS, measure, rgb_to_y, to_float, to_uint8
from tests.trainer.conftest import DATA


@pytest.mark.parametrize("border", [0, 4])
def test_agrees_with_known_good_figures(golden: dict[str, np.ndarray], border: int) -> None:
    wanted = json.loads((DATA / "metrics.json").read_text())
    a, b = (torch.from_numpy(golden[f"metric_{name}"]).permute(2, 0, 1) for name in "ab")
    figures = measure(a, b, border)
    assert tuple(figures) == METRICS
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


def test_8_bit_rounds_and_clips() -> None:
    assert to_uint8(torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 1.0, 2.0])).tolist() == [0, 0, 1, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_refuses_what_it_cannot_measure() -> None:
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"sr must be uint8, got torch\.float32"):
        measure(image.float(), image, 0)
    with pytest.raises(ValueError, match=r"hr must be \(3, H, W\)"):
        measure(image, image[None], 0)
    with pytest.raises(ValueError, match="must have one shape"):
        measure(image, image[:, 1:], 0)
    for border in (-1, 5):
        with pytest.raises(ValueError, match="border must be at least 0 and leave 11 x 11 pixels"):
            measure(image, image, border)
