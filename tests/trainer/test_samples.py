from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from dec_kernels.trainer import samples
from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.metrics import measure
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
    name, tiles, maps = cut_sample(pair, {"one": 255 - pair.hr}, top=8, left=20, size=12)
    assert not maps
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


def test_any_method_can_stand_above_its_tiles(pair: Pair, tmp_path: Path) -> None:
    def draw(method: str) -> bytes:
        draw_samples(tmp_path / "a.png", [cut_sample(pair, {method: pair.hr}, 0, 0, 16)])
        return (tmp_path / "a.png").read_bytes()

    assert draw("a" * 200) == draw("…" + "a" * 19)
    assert draw("$_$") != draw("x")


def test_the_figures_of_each_tile_with_the_best_in_bold(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(samples, "save_figure", lambda path, figure: figures.append(figure))

    def red(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        """Instead of LPIPS: how much more red there is."""
        return (sr - hr)[:, 0].mean(dim=(1, 2))

    reddish, dark = pair.hr // 2, pair.hr // 4
    reddish[0] = 255
    sample = cut_sample(pair, {"reddish": reddish, "dark": dark}, 0, 0, 16)
    draw_samples(tmp_path / "a.png", [sample], red)
    _, first, second, truth = figures[0].axes
    tiles = [measure(sample.tiles[name], sample.tiles["HR"], 0, red) for name in ("reddish", "dark")]
    for axis, wanted, lpips_weight in ((first, tiles[0], "normal"), (second, tiles[1], "bold")):
        psnr, lpips = axis.xaxis.label, axis.texts[0]
        assert psnr.get_text() == f"{wanted['psnr_y']:.2f} dB"
        assert lpips.get_text() == f"LPIPS {wanted['lpips']:.4f}"
        assert lpips.get_weight() == lpips_weight
        best = wanted["psnr_y"] == max(tile["psnr_y"] for tile in tiles)
        assert psnr.get_weight() == ("bold" if best else "normal")
    assert [truth.get_xlabel(), *truth.texts] == ["ground truth"]


def test_maps_come_behind_the_ground_truth_without_figures(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(samples, "save_figure", lambda path, figure: figures.append(figure))
    sample = cut_sample(pair, {"one": 255 - pair.hr}, 8, 20, 16, maps={"map": pair.hr // 2})
    assert torch.equal(sample.maps["map"], pair.hr[:, 8:24, 20:36] // 2)
    draw_samples(tmp_path / "a.png", [sample])
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == ["LR (nearest)", "one", "HR", "map"]
    assert [axis.get_xlabel() for axis in axes[2:]] == ["ground truth", ""]
    assert torch.equal(torch.from_numpy(axes[3].images[0].get_array()).permute(2, 0, 1), sample.maps["map"])
