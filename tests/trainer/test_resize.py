import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dec_kernels.trainer.resize import imresize, resize_matrix


@pytest.mark.parametrize(
    ("name", "scale"),
    [("down4", 1 / 4), ("down3", 1 / 3), ("down2", 1 / 2), ("up4", 4), ("up2", 2), ("down4_ragged", 1 / 4)],
)
def test_agrees_with_known_good_figures(golden: dict[str, np.ndarray], name: str, scale: float) -> None:
    image = torch.from_numpy(golden[f"{name}_in"]).permute(2, 0, 1)
    wanted = torch.from_numpy(golden[f"{name}_out"]).permute(2, 0, 1)
    torch.testing.assert_close(imresize(image, scale), wanted, rtol=0, atol=1e-6)


@given(st.integers(1, 40), st.sampled_from([1 / 8, 1 / 4, 1 / 3, 1 / 2, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0]))
def test_weights_sum_to_one(size: int, scale: float) -> None:
    matrix = resize_matrix(size, scale)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix), dtype=torch.float64))
    if (size * scale).is_integer():
        # Both grids have the same ends, so mirror images stay mirror images.
        torch.testing.assert_close(matrix, matrix.flip(0, 1))


def test_scale_one_is_the_identity() -> None:
    image = torch.rand(2, 3, 9, 7)
    torch.testing.assert_close(imresize(image, 1.0), image)


def test_a_straight_ramp_stays_straight() -> None:
    # Cubic convolution reproduces straight lines, away from the reflecting border.
    ramp = torch.arange(64.0, dtype=torch.float64).expand(1, 64)
    for scale in (1 / 4, 1 / 2, 2, 4):
        steps = imresize(ramp, scale)[0].diff()
        inside = steps[len(steps) // 4 : -len(steps) // 4]
        torch.testing.assert_close(inside, torch.full_like(inside, 1 / scale))


def test_downscaling_agrees_with_torch_away_from_the_border() -> None:
    image = torch.rand(1, 3, 64, 80)
    ours = imresize(image, 1 / 4)
    theirs = F.interpolate(image, scale_factor=1 / 4, mode="bicubic", antialias=True)
    torch.testing.assert_close(ours[..., 3:-3, 3:-3], theirs[..., 3:-3, 3:-3], rtol=0, atol=1e-6)


def test_keeps_dtype_and_leading_dimensions() -> None:
    assert imresize(torch.rand(5, 2, 3, 8, 12, dtype=torch.float64), 1 / 4).shape == (5, 2, 3, 2, 3)
    assert imresize(torch.rand(3, 8, 8), 2).dtype == torch.float32


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_refuses_a_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be a positive number"):
        imresize(torch.rand(3, 8, 8), scale)


def test_refuses_integers_and_lines() -> None:
    with pytest.raises(TypeError, match=r"image must have a floating dtype, got torch\.uint8"):
        imresize(torch.zeros(3, 8, 8, dtype=torch.uint8), 2)
    for shape in ((8,), (3, 0, 8)):
        with pytest.raises(ValueError, match="image must be"):
            imresize(torch.zeros(shape), 2)
