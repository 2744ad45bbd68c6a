from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.competitors import COMPETITORS, PRODUCTS, chunked, eager, tiled_products
from benchmarks.workload import images
from dec_kernels import dec_loss


@pytest.fixture(scope="module")
def copies():
    """16 patches, far from each other, four times over with a noise far below the radius: nothing cancels."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(1, 3, 32, 32, generator=generator).repeat(4, 1, 1, 1)
    hr += 1e-4 * torch.randn(hr.shape, generator=generator)
    return hr + 0.1 * torch.randn(hr.shape, generator=generator), hr


@pytest.mark.parametrize("name", COMPETITORS)
def test_agrees_with_reference(name, copies):
    sr, hr = copies
    truth = sr.double().requires_grad_()
    expected = dec_loss(truth, hr.double(), backend="reference")
    expected.backward()

    competitor = COMPETITORS[name]
    if name == "compile":  # with Inductor it would compile for half a minute; Inductor's code is PyTorch's to test
        competitor = replace(competitor, loss=partial(competitor.loss, compiler="aot_eager"))
    loss, grad = competitor.step(sr.clone().requires_grad_(), hr, 8)

    error = 1e-2 if "bf16" in name else 1e-5
    assert loss.item() == pytest.approx(expected.item(), rel=error)
    assert (grad - truth.grad).norm() < error * truth.grad.norm()


def test_landmarks_are_an_approximation():
    sr, hr = images(512, 8)
    loss = COMPETITORS["cpp_landmarks"].loss(sr, hr, 8)
    assert loss == dec_loss(sr, hr, backend="cpp", precision="ieee", landmarks=128)
    assert loss != COMPETITORS["cpp"].loss(sr, hr, 8)


def test_chunks_agree_with_eager():
    sr, hr = images(1024, 8)  # 256 rows of similarities fill 1 MiB
    torch.testing.assert_close(chunked(sr, hr, 8, mib=1), eager(sr, hr, 8))


@pytest.mark.parametrize(("products", "count"), [("products_six", 6), ("products_five", 5)])
def test_floor_multiplies_what_it_says(products, count):
    n, dim = 100, 12
    with FlopCounterMode(display=False) as counter:
        tiled_products(n, dim, *PRODUCTS[products], tile=32)()
    assert counter.get_total_flops() == count * 2 * n * n * dim
