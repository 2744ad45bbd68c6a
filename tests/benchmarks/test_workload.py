import pytest
import torch

from benchmarks.workload import images, to_8_bits


@pytest.mark.parametrize("patch_size", [4, 8])
@pytest.mark.parametrize("n", [1, 7, 100, 512, 2048])
def test_images_hold_n_patches(n, patch_size):
    sr, hr = images(n, patch_size)
    batch, channels, height, width = hr.shape
    assert batch * (height // patch_size) * (width // patch_size) == n
    assert (channels, height % patch_size, width % patch_size) == (3, 0, 0)
    assert sr.shape == hr.shape


def test_crops_are_of_128_pixels():
    assert images(512, 8)[0].shape == (2, 3, 128, 128)
    assert images(65536 // 16, 4)[0].shape == (4, 3, 128, 128)


def test_sr_is_a_worse_hr():
    sr, hr = images(1024, 8)
    assert sr.min() >= 0
    assert sr.max() <= 1
    psnr = -10 * (sr - hr).square().mean().log10()
    assert 20 < psnr < 40


def test_values_of_a_file():
    sr, hr = images(1024, 8)
    levels = to_8_bits(sr) * 255
    torch.testing.assert_close(levels, levels.round())
    assert (to_8_bits(sr) - sr).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(to_8_bits(hr), hr)
    assert to_8_bits(torch.tensor([1e-11])) == 0


def test_seed_decides():
    assert all(torch.equal(a, b) for a, b in zip(images(256, 8, seed=1), images(256, 8, seed=1), strict=True))
    assert not torch.equal(images(256, 8, seed=1)[0], images(256, 8, seed=2)[0])
