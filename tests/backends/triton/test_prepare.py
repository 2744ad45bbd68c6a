"""The kernels around the walks: rows of images, and the way back of gradients."""

import math

import pytest
import torch

from dec_kernels import patches
from dec_kernels.backends import triton
from dec_kernels.backends.triton import tiles
from dec_kernels.spec import Spec
from tests.backends.triton.cases import prepared
from tests.conftest import on_the_interpreter
from tests.oracle import images, threshold

pytestmark = on_the_interpreter

EPS = torch.finfo(torch.float32).eps


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dim", [(1, 2), (3, 3), (3, 6), (1, 12), (3, 16)])
def test_the_rows_are_those_of_the_other_backends(dim: tuple[int, int], per_image: bool) -> None:
    channels, patch_size = dim
    sr, hr = images(3, channels, 4 * patch_size + 1, 5 * patch_size, patch_size, torch.float32)
    width = channels * patch_size**2
    constants = Spec(patch_size=patch_size, threshold=threshold("l2", channels, patch_size)).constants(width, "ieee")
    ours, true = prepared(sr, hr, patch_size, constants, per_image)
    assert torch.equal(ours.order, true.order)
    assert torch.equal(ours.p.double(), true.p)
    c = math.sqrt(math.log2(math.e))
    for rows, expected in ((ours.z, true.z), (ours.h, true.p * true.h_scale[..., None])):
        assert rows.shape[-1] == tiles.width_of(width)
        assert (rows[..., width:] == 0).all()
        torch.testing.assert_close(rows[..., :width].double(), c * expected, rtol=4 * EPS, atol=0)
    torch.testing.assert_close(ours.mean.double(), true.p.mean(-1), rtol=EPS, atol=0)
    # The band may be wider than in float64, by rows whose means are as good as equal, and never narrower.
    assert (ours.first <= true.first).all()
    assert (ours.last >= true.last).all()
    assert (ours.last - ours.first).sum() <= 1.01 * (true.last - true.first).sum() + 2


@pytest.mark.parametrize("patch_size", [1, 2, 3])
def test_every_one_of_many_small_rows_is_made(patch_size: int) -> None:
    sr, hr = images(1, 1, 40 * patch_size, 41 * patch_size, patch_size, torch.float32)
    constants = Spec(patch_size=patch_size, threshold=40.0).constants(patch_size**2, "tf32x3")
    ours, true = prepared(sr, hr, patch_size, constants)
    assert torch.equal(ours.p.double(), true.p)
    torch.testing.assert_close(ours.z[..., : patch_size**2].double(), 1.2011224087864498 * true.z, rtol=4 * EPS, atol=0)
    dz = torch.randn(3, *ours.p.shape)  # in three parts
    back = triton.BACKEND.to_images(dz, ours.order, sr, patch_size, constants)
    gradients = true.project_(dz.double().sum(0), constants)
    expected = patches.to_images(gradients, true.order, sr.double(), patch_size)
    before = (
        (dz.sum(0).norm(dim=-1) * true.z_scale).max().item()
    )  # the projection: of a row of one value nothing is left
    torch.testing.assert_close(back.double(), expected, rtol=1e-5, atol=4 * EPS * before)
