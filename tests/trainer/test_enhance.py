import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels.trainer.enhance import FrequencyEnhancement

SIZES = [(8, 8), (7, 7), (6, 9), (5, 8), (1, 6), (4, 1)]


def dft(size: int) -> Tensor:
    """Eq. 47."""
    index = torch.arange(size, dtype=torch.float64)
    return torch.exp(-2j * math.pi * torch.outer(index, index) / size)


def gaussian(size: int, alpha: float, mu: float) -> Tensor:
    """Eq. 49, a row."""
    index = torch.arange(size, dtype=torch.float64)
    return alpha * torch.exp(-((index - (size - 1) / 2) ** 2) / (2 * mu**2))[None]


def as_printed(image: Tensor, alpha: float, mu: float) -> Tensor:
    """Eqs. 46 to 51 with matrices; Eq. 50 with the enhanced Y'_f, Eq. 51 with the imaginary unit."""
    height, width = image.shape
    left, right = dft(height), dft(width)
    frequencies = left @ image.to(torch.complex128) @ right
    enhanced = (gaussian(height, alpha, mu).T @ gaussian(width, alpha, mu)) * frequencies
    back = [(matrix.real - 1j * matrix.imag).T for matrix in (left, right)]
    return back[0] @ enhanced @ back[1] / (height * width)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("mu", [0.8, 3.0, 50.0])
def test_it_is_the_real_part_of_the_printed_equations(height: int, width: int, mu: float) -> None:
    image = torch.rand(height, width, dtype=torch.float64)
    wanted = as_printed(image, 1.7, mu)
    found = FrequencyEnhancement(alpha=1.7, mu=mu)(image)
    torch.testing.assert_close(found, wanted.real, rtol=1e-12, atol=1e-12)


def test_the_printed_result_is_complex() -> None:
    printed = as_printed(torch.rand(8, 8, dtype=torch.float64), 1.7, 3.0)
    assert printed.imag.abs().max() > 0.01 * printed.real.abs().max()


def test_eq_51_as_printed_is_no_inverse() -> None:
    """real(F) - imag(F), without the imaginary unit, is the matrix of the Hartley transform."""
    matrix = dft(8)
    assert not torch.allclose((matrix.real - matrix.imag).T.to(matrix.dtype) @ matrix / 8, torch.eye(8).to(matrix))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_default_alpha_keeps_the_mean(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, dtype=torch.float64)
    module = FrequencyEnhancement(mu=3.0)
    torch.testing.assert_close(module(images).mean((-2, -1)), images.mean((-2, -1)))
    alpha = math.exp(((height - 1) ** 2 + (width - 1) ** 2) / (16 * 3.0**2))
    torch.testing.assert_close(module(images), FrequencyEnhancement(alpha, mu=3.0)(images))
    assert module.kernel(height, width).min() >= 1


def test_the_factors_that_the_docstring_names() -> None:
    kernel = FrequencyEnhancement().kernel(128, 128)
    assert kernel.min() == kernel[0, 0] == 1
    assert kernel.max() == kernel[64, 64]
    assert kernel.max().item() == pytest.approx(2.7, abs=0.03)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_inverse_is_exact(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, dtype=torch.float64)
    for module in (FrequencyEnhancement(), FrequencyEnhancement(0.5, 3.0), FrequencyEnhancement(mu=4.0)):
        torch.testing.assert_close(module.inverse(module(images)), images, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(module(module.inverse(images)), images, rtol=1e-11, atol=1e-11)


def test_where_the_kernel_vanishes_there_is_no_inverse() -> None:
    images = torch.rand(3, 16, 16)
    module = FrequencyEnhancement(alpha=1.0, mu=1.0)
    with pytest.raises(ValueError, match=r"mu 1\.0 .* of 16 x 16 .*float32: at \(0, 0\)"):
        module.inverse(images)
    # Float64 has more digits: the smallest factor is exp(-16) of the largest.
    middle = FrequencyEnhancement(alpha=1.0, mu=1.83)
    with pytest.raises(ValueError, match=r"at \(0, 0\) it is \d\.\de-0[78], "):
        middle.inverse(images)
    exact = images.double()
    torch.testing.assert_close(middle.inverse(middle(exact)), exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("alpha", [1e-20, 1e-23])  # all factors are subnormal, or 0, in float32
def test_a_tiny_alpha_has_an_inverse_only_where_the_dtype_holds_it(alpha: float) -> None:
    images = torch.rand(3, 32, 32)
    module = FrequencyEnhancement(alpha=alpha)
    with pytest.raises(ValueError, match=rf"alpha {alpha} .* 1024 of 32 x 32 .*float32"):
        module.inverse(images)
    exact = images.double()
    torch.testing.assert_close(module.inverse(module(exact)), exact, rtol=1e-11, atol=1e-11)


def test_gradients() -> None:
    module = FrequencyEnhancement(mu=3.0)
    images = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, images)
    assert torch.autograd.gradcheck(module.inverse, images)
    direction = torch.rand_like(images)
    (gradient,) = torch.autograd.grad(module(images), images, direction)
    torch.testing.assert_close(gradient, module(direction))  # its own adjoint


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 12, 10).to(dtype)
    module = FrequencyEnhancement(mu=5.0)
    for call in (module, module.inverse):
        found = call(images)
        assert found.dtype == dtype
        wanted = call(images.double()).to(dtype)
        torch.testing.assert_close(found, wanted, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


def test_nothing_leaves_the_device_of_the_images() -> None:
    """The meta device stands in for any other than the CPU."""
    images = torch.rand(2, 3, 12, 10, device="meta")
    assert FrequencyEnhancement(mu=5.0)(images).device == images.device


def test_autocast_changes_nothing() -> None:
    images = torch.rand(2, 3, 12, 10)
    module = FrequencyEnhancement(mu=5.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(images)
    assert torch.equal(found, module(images))


def test_any_strides_and_dimensions() -> None:
    images = torch.rand(2, 12, 10, 3).permute(0, 3, 1, 2)
    module = FrequencyEnhancement(mu=5.0)
    torch.testing.assert_close(module(images), module(images.contiguous()))
    torch.testing.assert_close(module(images[0, 0]), module(images)[0, 0])


@pytest.mark.parametrize(
    ("error", "images", "words"),
    [
        (TypeError, torch.zeros(3, 8, 8, dtype=torch.uint8), "torch.uint8"),
        (ValueError, torch.zeros(8), r"\(8,\)"),
        (ValueError, torch.zeros(3, 0, 8), r"\(3, 0, 8\)"),
    ],
)
def test_what_is_no_image(error: type[Exception], images: Tensor, words: str) -> None:
    for call in (FrequencyEnhancement(), FrequencyEnhancement().inverse):
        with pytest.raises(error, match=f"images must .*{words}"):
            call(images)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alpha": 0.0}, "^alpha .*0.0"),
        ({"alpha": math.inf}, "^alpha .*inf"),
        ({"mu": 0.0}, "^mu .*0.0"),
        ({"mu": -3.0}, "^mu .*-3.0"),
        ({"mu": math.nan}, "^mu .*nan"),
    ],
)
def test_arguments_out_of_their_range(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FrequencyEnhancement(**arguments)


@pytest.mark.parametrize(("alpha", "mu"), [(None, 2.0), (1e30, 64.0)])
def test_factors_beyond_the_dtype(alpha: float | None, mu: float) -> None:
    module = FrequencyEnhancement(alpha, mu)
    images = torch.rand(3, 64, 64)
    with pytest.raises(ValueError, match=rf"mu {mu} .*64 x 64.*float32"):
        module(images)
    assert module(images.double()).isfinite().all()


def test_it_has_no_state_and_shows_its_arguments() -> None:
    assert not FrequencyEnhancement().state_dict()
    assert repr(FrequencyEnhancement(1.5, 3.0)) == "FrequencyEnhancement(alpha=1.5, mu=3.0)"
