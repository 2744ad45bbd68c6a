import math

import pytest
import torch

from dec_kernels.trainer.pixels import NonFiniteImageError, quantize, to_float, to_uint8


def test_8_bit_rounds_and_clips() -> None:
    assert to_uint8(torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 1.0, 2.0])).tolist() == [0, 0, 1, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_16_bits() -> None:
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    assert torch.equal(quantize(to_float(every), torch.uint16), every)
    assert to_float(every)[-1] == 1
    wanted = torch.arange(65536).double().div(257).round()  # 65535 = 257 * 255
    assert torch.equal(to_uint8(every).double(), wanted)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pixels_that_are_no_numbers_are_refused(value: float, dtype: torch.dtype) -> None:
    image = torch.rand(3, 8, 8).to(dtype)
    for whole in (torch.uint8, torch.uint16):
        assert quantize(image[:0], whole).shape == (0, 8, 8)
        quantize(image, whole)
    image[1, 2, 3] = image[2, 7, 7] = value
    for whole in (torch.uint8, torch.uint16):
        with pytest.raises(NonFiniteImageError, match="2 of 192 values of the image are NaN or infinite"):
            quantize(image, whole)
    with pytest.raises(NonFiniteImageError, match="2 of 192 values"):
        to_uint8(image)


def test_refuses_other_whole_numbers() -> None:
    with pytest.raises(TypeError, match=r"image.*int64"):
        to_float(torch.zeros(3, 2, 2, dtype=torch.long))
