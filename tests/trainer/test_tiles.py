import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.models import RRDBNet, SwinIR
from dec_kernels.trainer.tiles import upscale, upscale_bands


class Enlarge(nn.Module):
    """Repeats pixels, and keeps what it was given."""

    def __init__(self, scale: int = 2, multiple: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.multiple = multiple
        self.seen: list[Tensor] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.seen.append(lr)
        return F.interpolate(lr, scale_factor=self.scale, mode="nearest")


def network(scale: int, num_block: int = 1, gain: float = 1.0) -> RRDBNet:
    generator = RRDBNet(scale=scale, num_feat=4, num_block=num_block, num_grow_ch=2).double()
    with torch.no_grad():
        for parameter in generator.body.parameters():
            parameter.mul_(gain)
    return generator


# One block is 17 convolutions at a quarter of the output's size, and two more pixels' worth behind them. Ten times the
# initial weights of its dense blocks make sure that what lies that far away really counts.
@pytest.mark.parametrize(("scale", "reach", "tile"), [(4, 19, 12), (2, 38, 16), (1, 76, 24)])
def test_tiles_that_see_enough_give_the_whole_image(scale: int, reach: int, tile: int) -> None:
    generator = network(scale, gain=10)
    lr = torch.rand(2, 3, 2 * reach + 11, reach + 7, dtype=torch.float64)
    whole = upscale(generator, lr, None, 0)
    assert whole.shape == (2, 3, scale * (2 * reach + 11), scale * (reach + 7))
    overlap = -(-reach // generator.multiple) * generator.multiple
    torch.testing.assert_close(upscale(generator, lr, tile, overlap), whole, rtol=0, atol=1e-10)
    assert (upscale(generator, lr, tile, 0) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("scale", [4, 2])
def test_a_deeper_network_needs_less_than_it_could_see(scale: int) -> None:
    """Six blocks reach more than 90 pixels, or twice as many; with ESRGAN's initial weights hardly anything does."""
    generator = network(scale, num_block=6)
    lr = torch.rand(1, 3, 43, 38, dtype=torch.float64)
    whole = upscale(generator, lr, None, 0)
    errors = [(upscale(generator, lr, 16, overlap) - whole).abs().max().item() for overlap in (0, 4, 12)]
    assert errors[0] > 1e-3
    assert errors[2] < 1e-4 * whole.abs().max()
    assert errors == sorted(errors, reverse=True)


def test_tiles_keep_to_the_windows_of_attention() -> None:
    """Two blocks reach two windows and a shift of half a window, the convolutions around them a window more."""
    generator = SwinIR(2, 8, depths=[2], num_heads=[2], window_size=4, upsampler="pixelshuffledirect").double().eval()
    with torch.no_grad():  # the initial weights are so small that attention hardly counts
        for parameter in generator.parameters():
            parameter.mul_(3)
    lr = torch.rand(1, 3, 37, 22, dtype=torch.float64)
    whole = upscale(generator, lr, None, 0)
    torch.testing.assert_close(upscale(generator, lr, 8, 16), whole, rtol=0, atol=1e-10)
    assert (upscale(generator, lr, 8, 4) - whole).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"tile.*4.*6"):
        upscale(generator, lr, 6, 4)


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (2, 9), (8, 16), (17, 23)])
def test_ragged_images_are_continued_by_reflection(size: tuple[int, int]) -> None:
    generator = Enlarge(multiple=8)
    lr = torch.rand(1, 3, *size)
    sr = upscale(generator, lr, None, 0)
    assert torch.equal(sr, lr.repeat_interleave(2, -1).repeat_interleave(2, -2))
    margins = [(0, 0), (0, 0), *((0, -n % 8) for n in size)]
    assert np.array_equal(generator.seen[0].numpy(), np.pad(lr.numpy(), margins, mode="reflect"))


def test_tiles_are_aligned_and_no_larger_than_asked_for() -> None:
    generator = Enlarge(multiple=4)
    rows, columns = torch.meshgrid(torch.arange(50.0), torch.arange(41.0), indexing="ij")
    lr = torch.stack((rows, columns, rows))[None]
    sr = upscale(generator, lr, 12, 8)
    assert torch.equal(sr, lr.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert len(generator.seen) == 5 * 4
    for window in generator.seen:
        assert max(window.shape[-2:]) <= 12 + 2 * 8
        assert all(n % 4 == 0 for n in (*window.shape[-2:], *window[0, :2, 0, 0].tolist()))


def test_keeps_dtype_and_makes_no_graph() -> None:
    generator = network(4).float()
    lr = torch.rand(1, 3, 9, 9, dtype=torch.float32)
    for tile in (None, 4):
        with torch.autocast("cpu", torch.bfloat16):
            sr = upscale(generator, lr, tile, 4)
        assert sr.dtype == torch.float32
        assert not sr.requires_grad


def test_refuses_what_does_not_fit() -> None:
    generator = Enlarge(multiple=4)
    lr = torch.rand(1, 3, 8, 8)
    for tile in (-4, 0, 6):
        with pytest.raises(ValueError, match=f"tile must be a positive multiple of the network's 4, got {tile}"):
            upscale(generator, lr, tile, 0)
    for overlap in (-4, 3):
        with pytest.raises(ValueError, match=f"overlap.*4.*{overlap}"):
            upscale(generator, lr, 4, overlap)
    for shape in ((3, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(ValueError, match=r"lr must be \(B, C, h, w\) and not empty"):
            upscale(generator, torch.rand(shape), None, 0)
    with pytest.raises(TypeError, match=r"floating dtype, got torch\.uint8"):
        upscale(generator, lr.byte(), None, 0)


def test_bands_are_made_as_they_are_taken() -> None:
    """So no more than one of them need be in memory."""
    generator = Enlarge(multiple=2)
    lr = torch.randint(0, 256, (1, 3, 21, 30), dtype=torch.uint8)
    finished: list[tuple[int, ...]] = []

    def finish(sr: Tensor) -> Tensor:
        finished.append(tuple(sr.shape[-2:]))
        return (2 * sr).to(torch.int16)

    bands = upscale_bands(generator, lr, 8, 4, start=lambda window: window / 2, finish=finish)
    first = next(bands)
    assert [tuple(window.shape[-2:]) for window in generator.seen] == [(12, 12), (12, 16), (12, 16), (12, 10)]
    assert all(window.dtype == torch.float32 for window in generator.seen)
    assert finished == [(16, 16), (16, 16), (16, 16), (16, 12)]  # without the overlap
    rest = list(bands)
    assert [band.shape[-2] for band in (first, *rest)] == [16, 16, 10]
    assert torch.equal(torch.cat([first, *rest], -2), lr.short().repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_nothing_of_the_overlap_is_finished() -> None:
    """What a network makes of a tile's margin is not in the image: NaN there is no fault."""
    generator = Enlarge()
    seen: list[Tensor] = []

    def finish(sr: Tensor) -> Tensor:
        seen.append(sr)
        return sr

    lr = torch.arange(144.0).reshape(1, 1, 12, 12)
    assert torch.equal(upscale(generator, lr, 4, 4, finish), upscale(generator, lr, None, 0))
    assert sum(sr.numel() for sr in seen) == 4 * lr.numel()
