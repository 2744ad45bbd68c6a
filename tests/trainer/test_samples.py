from pathlib import Path

import pytest
import torch

from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.samples import baseline, bicubic, cut_sample, draw_samples, repeat_pixels


@pytest.fixture
def pair() -> Pair:
    return make_pair("x", torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8), scale=4)


def test_repeats_pixels(pair: Pair) -> None:
    assert torch.equal(repeat_pixels(pair), pair.lr.repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_pairs_of_16_bits() -> None:
    fine = make_pair("x", torch.randint(0, 65536, (3, 24, 24), dtype=torch.int32).to(torch.uint16), scale=4)
    assert bicubic(fine).dtype == repeat_pixels(fine).dtype == torch.uint8
    tiles = cut_sample(fine, {}, 0, 0, 16).tiles
    assert all(tile.dtype == torch.uint8 for tile in tiles.values())


def test_samples_are_cut_at_one_place(pair: Pair) -> None:
    name, tiles = cut_sample(pair, {"one": 255 - pair.hr}, top=8, left=20, size=12)
    assert name == "x"
    assert list(tiles) == ["LR (nearest)", "one", "HR"]
    assert torch.equal(tiles["HR"], pair.hr[:, 8:20, 20:32])
    assert torch.equal(tiles["one"], 255 - tiles["HR"])
    assert torch.equal(tiles["LR (nearest)"][:, 0, 0], pair.lr[:, 2, 5])


def test_samples_of_restoration_have_their_input_once(pair: Pair) -> None:
    noisy = Pair("x", pair.hr, 255 - pair.hr)
    assert noisy.scale == 1
    name, image = baseline(noisy)
    assert name == "Input"
    assert torch.equal(image, noisy.lr)
    tiles = cut_sample(noisy, {name: image, "one": pair.hr}, 0, 0, 16).tiles
    assert list(tiles) == ["Input", "one", "Target"]
    assert list(cut_sample(noisy, {"one": pair.hr}, 0, 0, 16).tiles) == ["Input", "one", "Target"]
    assert [name for name, _ in (baseline(pair), baseline(noisy))] == ["Bicubic", "Input"]
    assert torch.equal(baseline(pair)[1], bicubic(pair))


def test_any_name_can_stand_beside_a_sample(pair: Pair, tmp_path: Path) -> None:
    def draw(name: str) -> bytes:
        draw_samples(tmp_path / "a.png", [cut_sample(pair._replace(name=name), {}, 0, 0, 16)])
        return (tmp_path / "a.png").read_bytes()

    assert draw("a" * 200) == draw("…" + "a" * 19)
    assert draw("$_$") != draw("x")  # to Matplotlib, this is a formula with a mistake
