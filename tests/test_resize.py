import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dec_kernels.resize import downscale, imresize, resize_matrix


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
    with pytest.raises(TypeError, match=r"image.*torch\.uint8"):
        imresize(torch.zeros(3, 8, 8, dtype=torch.uint8), 2)
    for shape in ((8,), (3, 0, 8)):
        with pytest.raises(ValueError, match="image must be"):
            imresize(torch.zeros(shape), 2)


@pytest.mark.parametrize(("name", "scale"), [("down4", 4), ("down3", 3), ("down2", 2)])
def test_downscaling_pixels_agrees_with_known_good_figures(
    golden: dict[str, np.ndarray], name: str, scale: int
) -> None:
    image, wanted = (torch.from_numpy(golden[f"{name}_{end}"]).permute(2, 0, 1) * 65535 for end in ("in", "out"))
    result = downscale(image.round().to(torch.uint16), scale)
    # Rounding the result costs half a step; rounding the input half a step times the sum of the weights' magnitudes.
    assert (result.double() - wanted).abs().max() < 0.5 + 0.5 * 1.7


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8, 11])
def test_downscaling_pixels_is_rounded_bicubic(scale: int, dtype: torch.dtype) -> None:
    top = torch.iinfo(dtype).max
    # Black and white alone overshoot, and pixels beyond a multiple of the scale are not to be seen.
    noise = torch.randint(0, top + 1, (2, 3, 7 * scale, 5 * scale)).to(dtype)
    noise[1] = (noise[1].float() > top / 2) * top
    image = F.pad(noise, (0, scale - 1, 0, scale - 1), value=top)
    wanted = imresize(noise.double(), 1 / scale).clamp(0, top)
    assert (downscale(image, scale).double() - wanted).abs().max() <= 0.5 + 1e-6
    assert downscale(image, scale).dtype == dtype


def test_downscaling_pixels_rounds_ties_up() -> None:
    board = torch.tensor([[6, 7], [7, 6]], dtype=torch.uint8).repeat(9, 9)
    assert (downscale(board, 2)[2:-2, 2:-2] == 7).all()  # 6 and 7 weigh the same, away from the reflecting border


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_window_is_what_the_whole_image_holds_there(scale: int, dtype: torch.dtype) -> None:
    height, width = 17, 21
    image = torch.randint(0, torch.iinfo(dtype).max + 1, (3, height * scale, width * scale + scale - 1)).to(dtype)
    whole = downscale(image, scale)
    assert whole.shape == (3, height, width)
    for _ in range(25):
        top, left = int(torch.randint(height, ())), int(torch.randint(width, ()))
        bottom, right = int(torch.randint(top + 1, height + 1, ())), int(torch.randint(left + 1, width + 1, ()))
        window = downscale(image, scale, range(top, bottom), range(left, right))
        assert torch.equal(window, whole[:, top:bottom, left:right])


def test_downscaling_refuses_other_pixels_and_scales() -> None:
    with pytest.raises(TypeError, match=r"image.*torch\.float32"):
        downscale(torch.rand(3, 8, 8), 2)
    for scale in (0, 12):
        with pytest.raises(ValueError, match=f"scale must be 1 to 11, got {scale}"):
            downscale(torch.zeros(3, 48, 48, dtype=torch.uint8), scale)
