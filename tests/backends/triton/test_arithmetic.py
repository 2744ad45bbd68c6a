"""Device functions on single numbers, in the interpreter."""

import math

import pytest
import torch
import triton.language as tl
from triton import jit

from dec_kernels.backends.triton.kernels.arithmetic import round_numbers, small_exp2
from tests.conftest import on_the_interpreter

pytestmark = on_the_interpreter


@jit
def _small_exp2(x, out):
    i = tl.arange(0, 4096)
    tl.store(out + i, small_exp2(tl.load(x + i)))


def test_the_polynomial_keeps_to_its_error() -> None:
    x, out = torch.linspace(-1.45, 1.45, 4096), torch.empty(4096)
    _small_exp2[(1,)](x, out)
    relative = (out.double() / x.double().exp2() - 1).abs()
    assert 4.2e-5 < relative.max() < 4.4e-5
    _small_exp2[(1,)](torch.full((4096,), math.nan), out)
    assert out.isnan().all()


@jit
def _round(bits, out, ROUNDED: tl.constexpr):
    i = tl.arange(0, 8)
    tl.store(out + i, round_numbers(tl.load(bits + i).to(tl.float32, bitcast=True), ROUNDED))


@pytest.mark.parametrize("rounded", [13, 16])
def test_rounding_keeps_every_nan_and_infinity(rounded: int) -> None:
    # The NaNs of a CUDA device, of a CPU and with any payload; the largest float rounds to infinity.
    bits = torch.tensor([0x7FFFFFFF, -1, 0x7FC00000, 0x7F800001, 0x7F800000, -0x800000, 0x3F801001, 0x3F803000])
    out = torch.empty(8)
    _round[(1,)](bits.int(), out, ROUNDED=rounded)
    assert out[:4].isnan().all()
    assert out[4:6].tolist() == [float("inf"), float("-inf")]
    near = bits[6:].int().view(torch.float32)
    assert ((out[6:] - near).abs() <= 2.0 ** (rounded - 24)).all()
    assert (out[6:].view(torch.int32) % 2**rounded == 0).all()
