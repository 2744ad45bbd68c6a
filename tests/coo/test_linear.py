import pytest
import torch
from skimage import data

from dec_kernels.coo.linear import degrade, restore, split
from dec_kernels.resize import downscale, resize_matrix


@pytest.mark.parametrize(
    ("shape", "scale"),
    [*(((2, 3, 24, 36), scale) for scale in (2, 3, 4)), ((1, 12, 12), 12), ((1, 1356, 2040), 4)],
)
def test_the_null_part_is_lost_and_the_rest_is_kept(shape: tuple[int, ...], scale: int) -> None:
    image = torch.rand(shape, dtype=torch.float64)
    parts = split(image, scale)
    assert degrade(parts.null, scale).abs().max() < 1e-12
    torch.testing.assert_close(parts.range + parts.null, image, rtol=0, atol=1e-12)
    torch.testing.assert_close(degrade(parts.range, scale), parts.low, rtol=0, atol=1e-12)
    torch.testing.assert_close(parts.low, degrade(image, scale))
    # The two spaces are orthogonal, so no other image of the hyperplane is nearer to the origin.
    assert (parts.range * parts.null).sum().abs() < 1e-9 * image.square().sum()
    assert parts.null.norm() > 0.1 * image.norm()


def test_it_is_the_pseudo_inverse_of_the_whole_matrix() -> None:
    image = torch.rand(8, 12, dtype=torch.float64)
    matrix = torch.kron(resize_matrix(8, 1 / 4), resize_matrix(12, 1 / 4))
    inverse = torch.linalg.pinv(matrix)
    torch.testing.assert_close(degrade(image, 4).flatten(), matrix @ image.flatten())
    torch.testing.assert_close(restore(degrade(image, 4), 4).flatten(), inverse @ matrix @ image.flatten())


def test_rounded_it_is_what_training_takes_for_lr() -> None:
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    low = degrade(image.double(), 4).clamp(0, 255)
    assert (low - downscale(image, 4)).abs().max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("shape", "scale", "wanted"), [((3, 8, 8), 1, "1"), ((3, 8, 10), 4, "8 x 10"), ((3, 0, 8), 4, "0 x 8")]
)
def test_what_is_no_degradation_is_named(shape: tuple[int, ...], scale: int, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"scale.*{wanted}"):
        split(torch.zeros(shape), scale)
