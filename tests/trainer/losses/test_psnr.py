import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from dec_kernels.trainer.losses import psnr_loss


def test_is_the_negative_psnr_of_each_image_on_average() -> None:
    sr, hr = torch.rand(3, 3, 8, 8, dtype=torch.float64), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    sr[0] = hr[0] + 1e-3
    psnr = [peak_signal_noise_ratio(a, b, data_range=1.0).item() for a, b in zip(sr, hr, strict=True)]
    assert psnr[0] > 2 * psnr[1]
    # HINet adds 1e-8 to each mean square: here 1e-6, which lowers a PSNR of 60 dB by 0.043.
    assert psnr_loss(sr, hr).item() == pytest.approx(-(sum(psnr) - 10 * math.log10(1.01)) / 3, abs=1e-6)


def test_an_exact_image_has_a_floor_and_no_gradient() -> None:
    sr = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = psnr_loss(sr, sr.detach().clone())
    assert loss.item() == pytest.approx(-80)
    loss.backward()
    assert sr.grad is not None
    assert not sr.grad.any()


def test_the_gradient_is_that_of_the_logarithm() -> None:
    sr, hr = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True), torch.rand(2, 3, 4, 4).double()
    psnr_loss(sr, hr).backward()
    error = sr.detach() - hr
    wanted = 10 / math.log(10) * 2 * error / error.square().sum((1, 2, 3), keepdim=True) / 2
    assert sr.grad is not None
    torch.testing.assert_close(sr.grad, wanted, rtol=1e-6, atol=0)


def test_computes_16_bits_in_float32() -> None:
    sr, hr = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    loss = psnr_loss(sr.bfloat16(), hr)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(psnr_loss(sr.bfloat16().float(), hr).item())
