"""The forward and the backward kernels, by the loss: tiles beside the band, in it, and on its edges."""

import math

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss
from dec_kernels.backends import triton
from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.host import Host, forward_walks
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.backends.triton.cases import SMALL, gradient_ramp, prepared
from tests.conftest import on_the_interpreter
from tests.oracle import error, evaluate, truth

pytestmark = on_the_interpreter

EPS = torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    ("small", "multiprocessors", "splits", "temperature"),
    [
        (SMALL[0], 1, 1, "outside"),
        (SMALL[0], 1000, 4, "inside"),
        (SMALL[1], 1, 1, "inside"),
        (SMALL[1], 1000, 4, "outside"),
    ],
)
def test_tiles_on_both_sides_of_a_narrow_band(
    monkeypatch: pytest.MonkeyPatch, small: Tiles, multiprocessors: int, splits: int, temperature: str
) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", small)
    host = Host(tiles.INTERPRETER, multiprocessors)
    monkeypatch.setattr(triton, "host_of", lambda device: host)
    sr, hr = gradient_ramp(12, 15, 4)
    spec = Spec(patch_size=4, threshold=14.0, t_pos=0.4, t_neg=1.3, temperature=temperature)
    constants = spec.constants(16, "ieee")
    rows = triton.BACKEND.prepare(Batch.alone(sr, hr), 4, False, constants, torch.float32)
    assert forward_walks(rows.size, constants, host.architecture, multiprocessors, small).splits == splits
    share = (rows.last - rows.first).float().mean() / 180
    assert 0.05 < share < 0.3
    true = truth(sr, hr, spec)
    # Positives and negatives pull against each other here, and what is left is as exact as the same formula is in
    # float32 by PyTorch calls.
    calls, ours = (evaluate(sr, hr, **(vars(spec) | {"backend": b, "precision": "ieee"})) for b in ("torch", "triton"))
    assert error(ours.loss, true.loss) < 4 * EPS
    assert error(ours.gradient, true.gradient) <= 2 * error(calls.gradient, true.gradient)
    assert error(calls.gradient, true.gradient) < 1e-5


def agree(sr: Tensor, hr: Tensor, **arguments: object) -> None:
    """The loss, row by row, and its gradient by the kernels are those of the torch backend."""
    arguments |= {"patch_size": 4, "precision": "ieee", "reduction": "none"}
    weights = torch.linspace(0.5, 1.5, sr.shape[0] * (sr.shape[2] // 4) * (sr.shape[3] // 4))
    calls, ours = (evaluate(sr, hr, weights, backend=backend, **arguments) for backend in ("torch", "triton"))
    torch.testing.assert_close(ours.loss, calls.loss, rtol=2e-6, atol=2e-6)
    most = calls.gradient.abs().max().item()
    torch.testing.assert_close(ours.gradient, calls.gradient, rtol=0, atol=1e-5 * most)


@pytest.mark.parametrize("columns", [1, 7, 16, 17, 31, 33])
def test_groups_of_any_size_beside_a_tile_of_16_columns(small_tiles: None, columns: int) -> None:
    sr, hr = gradient_ramp(1, columns, 4)
    agree(sr, hr, threshold=14.0)


@pytest.mark.parametrize("eta", [60.0, 23.0, 4.0])
def test_patches_of_one_mean_are_one_band(small_tiles: None, eta: float) -> None:
    sr, hr = gradient_ramp(5, 8, 4)
    tiles_ = torch.nn.functional.unfold(hr, 4, stride=4)
    hr = torch.nn.functional.fold(tiles_ - tiles_.mean(1, keepdim=True) + 0.5, hr.shape[2:], 4, stride=4)
    constants = Spec(patch_size=4, threshold=eta).constants(16, "ieee")
    rows, _ = prepared(sr, hr, 4, constants)
    if eta < 60:
        assert (rows.first == 0).all()
        assert (rows.last == 40).all()
    agree(sr, hr, threshold=eta)


@pytest.mark.parametrize("eta", [0.0, -1.3, -3.3])
def test_tiles_inside_of_a_wide_band_are_left_out(monkeypatch: pytest.MonkeyPatch, eta: float) -> None:
    narrow = Tile(16, 16, 4, 1)
    monkeypatch.setattr(tiles, "INTERPRETED", Tiles(*4 * (narrow,)))
    sr, hr = gradient_ramp(8, 10, 4)
    rows, _ = prepared(sr, hr, 4, Spec(patch_size=4, threshold=eta).constants(16, "ieee"))
    begin, end = rows.first.view(5, 16).amax(1), rows.last.view(5, 16).amin(1)
    whole = (begin + 15) // 16 * 16 + 16
    assert ((end >= whole) & (end < 80) & (end % 16 != 0)).any()
    agree(sr, hr, threshold=eta)


def test_a_row_has_sums_of_exactly_zero_where_it_has_no_pairs(small_tiles: None) -> None:
    sr, hr = gradient_ramp(5, 8, 4)
    constants = Spec(patch_size=4, threshold=-40.0).constants(16, "ieee")
    rows, _ = prepared(sr, hr, 4, constants)
    qpos, qneg = triton.BACKEND.forward(rows, constants)
    assert (qpos > 0).all()
    assert (qneg == 0).all()


def test_a_nan_stays_in_its_group(small_tiles: None) -> None:
    sr, hr = (torch.cat(pair) for pair in zip(gradient_ramp(5, 7, 4), gradient_ramp(5, 7, 4), strict=True))
    arguments = {"patch_size": 4, "threshold": 14.0, "scope": "image", "reduction": "none", "backend": "triton"}
    whole = evaluate(sr, hr, torch.ones(70), **arguments)
    for bad in (0, 1):
        spoiled = sr.clone()
        spoiled[bad] = math.nan
        losses = dec_loss(spoiled, hr, **arguments).view(2, 35)
        assert losses[bad].isnan().all()
        assert torch.equal(losses[1 - bad], dec_loss(sr, hr, **arguments).view(2, 35)[1 - bad])
        gradient = evaluate(spoiled, hr, torch.ones(70), **arguments).gradient
        assert torch.equal(gradient[1 - bad], whole.gradient[1 - bad])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_hr_patch_leaves_the_mask_of_its_neighbours(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    sr, hr = gradient_ramp(6, 8, 4)
    hr[..., 4:8, 8:12] = bad
    arguments = {"patch_size": 4, "threshold": 14.0, "reduction": "none"}
    ours, true = (dec_loss(sr, hr, backend=backend, **arguments) for backend in ("triton", "reference"))
    assert ours.isnan().sum() == 1
    torch.testing.assert_close(ours.double(), true.double(), rtol=1e-5, atol=1e-5, equal_nan=True)


def test_a_threshold_of_any_size_is_taken() -> None:
    sr, hr = gradient_ramp(3, 4, 4)
    assert evaluate(sr, hr, patch_size=4, threshold=-4000.0, backend="triton").loss == 0  # all are positives
    assert evaluate(sr, hr, patch_size=4, threshold=4000.0, backend="triton").loss.isfinite()
