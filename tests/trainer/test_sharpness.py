import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data, filters

from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.metrics import measure, psnr_y, rgb_to_y
from dec_kernels.trainer.sharpness import LARGEST, RADIUS, amount_at_psnr, gradient_energy, unsharp_mask


@pytest.mark.parametrize("amount", [0.3, 1.0, 2.0])
def test_the_mask_is_scikit_images_and_a_gaussian_written_out(amount: float) -> None:
    photo = data.chelsea()[:60, :80]
    found = unsharp_mask(torch.from_numpy(photo).permute(2, 0, 1), amount).permute(1, 2, 0).numpy()
    theirs = filters.unsharp_mask(photo, RADIUS, amount, channel_axis=2)  # scikit-image 0.26 fills few rows if it is -1
    assert np.abs(found - 255 * theirs).max() <= 0.5001
    x = photo / 255
    blurred = np.stack([gaussian_filter(x[..., c], RADIUS, mode="reflect") for c in range(3)], axis=-1)
    by_hand = 255 * (x + amount * (x - blurred)).clip(0, 1)
    assert np.abs(found - by_hand).max() <= 0.501
    assert (found != photo).any()


def test_the_gradient_energy_of_a_ramp() -> None:
    """A gray step of 2 in each row and of 3 in each column is 2 and 3 times luma's 219 / 255."""
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    ramp = (2 * rows + 3 * columns).to(torch.uint8).expand(3, 5, 7)
    step = (rgb_to_y(torch.full((3, 1, 1), 255)) - rgb_to_y(torch.zeros(3, 1, 1))).item() / 255
    assert step == pytest.approx(219 / 255)
    assert gradient_energy(ramp) == pytest.approx(step**2 * (4 * 4 * 7 + 9 * 5 * 6))


@pytest.fixture
def pair() -> Pair:
    return make_pair("chelsea", torch.from_numpy(data.chelsea()[60:156, 100:220]).permute(2, 0, 1), scale=4)


def test_the_strongest_mask_of_a_psnr(pair: Pair) -> None:
    blurred = torch.from_numpy(gaussian_filter(pair.hr.numpy(), (0, 0.6, 0.6)))

    def psnr(amount: float) -> float:
        return psnr_y(unsharp_mask(blurred, amount), pair.hr, border=4)

    assert psnr(0.5) > psnr(0)  # against the blur a mask helps at first
    for target in (psnr(0) - 0.5, psnr(0), psnr(2.0)):
        amount = amount_at_psnr({"chelsea": blurred}, [pair], target)
        assert psnr(amount) >= target > psnr(amount + 0.02)
    assert amount_at_psnr({"chelsea": blurred}, [pair], psnr(2.0)) == pytest.approx(2, abs=0.01)


def test_a_psnr_that_no_mask_or_every_mask_has(pair: Pair) -> None:
    images = {"chelsea": pair.hr // 2}
    assert amount_at_psnr(images, [pair], math.inf) == 0
    assert amount_at_psnr(images, [pair], 0.0) == LARGEST


def test_the_mask_holds_the_mean_of_all_images(pair: Pair) -> None:
    other = pair._replace(name="other", hr=pair.hr.flip(-1) // 2)
    images = {"chelsea": pair.hr // 3 * 3, "other": other.hr // 5 * 5}
    amount = amount_at_psnr(images, [pair, other], 30.0)
    found = [psnr_y(unsharp_mask(images[p.name], amount), p.hr, border=4) for p in (pair, other)]
    assert sum(found) / 2 == pytest.approx(30, abs=0.05)
    assert min(found) < 30 < max(found)


def test_psnr_alone_is_that_of_all_figures(pair: Pair) -> None:
    for border in (0, 4):
        assert psnr_y(pair.hr // 2, pair.hr, border) == measure(pair.hr // 2, pair.hr, border)["psnr_y"]
