"""The audit against the reference in float64, on losses that are right, approximate or wrong."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss, audit, reference
from dec_kernels.backends import torch as torch_backend
from dec_kernels.spec import Spec
from tests.oracle import error, evaluate, images, threshold, truth

ALL = 10**6  # rows
ETA = threshold("l2", 3, 4)


def pair(batch: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """64 patches of 4 x 4 an image, one of them black."""
    sr, hr = images(batch, 3, 32, 32, 4, dtype)
    sr[0, :, :4, :4] = hr[0, :, :4, :4] = 0
    return sr, hr


def criterion(**arguments: Any) -> DECLoss:
    return DECLoss(**{"patch_size": 4, "threshold": ETA, "backend": "torch", **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"landmarks": 16, "reduction": "sum", "loss_weight": 1e-2},
        {"landmarks": 16, "temperature": "inside", "reduction": "none"},
        {"precision": "bf16", "distance": "rmse", "threshold": threshold("rmse", 3, 4)},
        {"precision": "bf16", "scope": "image", "patch_size": 5},
        {"landmarks": 16, "norm_floor": 0.3, "center": True},
    ],
    ids=lambda arguments: "-".join(map(str, arguments)) or "default",
)
def test_with_every_row_the_errors_are_those_against_the_reference(arguments: dict[str, Any]) -> None:
    sr, hr = pair()
    loss = criterion(**arguments)
    found = loss.audit(sr, hr, rows=ALL)

    spec = Spec(**{**vars(loss.spec), "reduction": "none", "loss_weight": 1.0})
    ours = evaluate(sr, hr, torch.ones(found.patches), **vars(spec))
    true = truth(sr, hr, spec, weights=torch.ones(found.patches))
    assert found.rows == found.patches == len(true.loss)
    assert found.gradient_error.value == pytest.approx(error(ours.gradient, true.gradient), rel=1e-5)
    assert found.loss_error.value == pytest.approx((ours.loss - true.loss).mean().item(), rel=1e-5)
    assert found.gradient_error.low == found.gradient_error.value == found.gradient_error.high
    assert found.loss_error.low == found.loss_error.value == found.loss_error.high
    assert found.loss == pytest.approx(ours.loss.mean().item(), rel=1e-5)


def test_errors_of_the_sums_are_those_against_the_reference() -> None:
    sr, hr = pair()
    loss = criterion(landmarks=16)
    found = loss.audit(sr, hr, rows=ALL)
    spec = loss.spec
    q, p = (reference.patch_rows(side.double(), 4).flatten(0, 1) for side in (sr, hr))
    constants = spec.constants(48, "ieee")
    z, h = (reference.unit_rows(x, spec.patch_size, constants) for x in (q, p))
    true = reference.similarity_sums(z, h, reference.positives(p, constants.radius), constants)
    ours = audit.evaluate(sr, hr, spec, "").sums.double()
    for spread, mine, theirs in zip((found.qpos, found.qneg), ours, true, strict=True):
        ratios = mine / theirs - 1
        assert spread.rms == pytest.approx(ratios.square().mean().sqrt().item(), rel=1e-5)
        assert spread.largest == pytest.approx(ratios.abs().max().item(), rel=1e-5)
    assert found.qpos.largest < 1e-6 < 1e-5 < found.qneg.rms


@pytest.mark.parametrize("rows", [64, ALL])
def test_a_wrong_gradient_is_off_by_its_factor(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch_backend.BACKEND.backward
    monkeypatch.setattr(torch_backend.BACKEND, "backward", lambda *inputs: 1.001 * right(*inputs))
    found = criterion().audit(*pair(), rows=rows)
    assert found.gradient_error.value == pytest.approx(1e-3, rel=1e-2)
    assert abs(found.loss_error.value) < 1e-6


@pytest.mark.parametrize("rows", [64, ALL])
def test_a_wrong_sum_is_off_by_its_factor_and_reaches_every_gradient(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch_backend.BACKEND.forward
    factors = torch.tensor([1.0, 1.001])[:, None]
    monkeypatch.setattr(torch_backend.BACKEND, "forward", lambda *inputs: factors * right(*inputs))
    found = criterion().audit(*pair(), rows=rows)
    assert found.qpos.rms < 1e-6
    assert found.qneg.rms == pytest.approx(1e-3, rel=1e-3)
    assert found.loss_error.value == pytest.approx(math.log(1.001), rel=1e-3)
    whole = criterion().audit(*pair(), rows=ALL).gradient_error.value
    assert found.gradient_error.value == pytest.approx(whole, rel=0.1)
    assert whole > 1e-4


@pytest.mark.parametrize("kind", ["landmarks", "bf16", "one row"])
def test_intervals_hold_the_errors_of_all_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sr, hr = images(8, 3, 32, 32, 4, torch.float32)
    loss = criterion(landmarks=12) if kind == "landmarks" else criterion(precision="bf16")
    if kind == "one row":  # has most of the gradient, and is in every sample: what varies is its sum over other betas
        sr[2, :, 8:12, 8:12] = 1e-4 * hr[2, :, 8:12, 8:12].flip(-1)
        right = torch_backend.BACKEND.forward
        noise = torch.randn(512, generator=torch.Generator().manual_seed(0))
        factors = torch.stack([torch.ones(512), 1 + 0.1 * noise])
        monkeypatch.setattr(torch_backend.BACKEND, "forward", lambda *inputs: factors * right(*inputs))
    whole = loss.audit(sr, hr, rows=ALL)
    samples = [loss.audit(sr, hr, rows=96, seed=seed) for seed in range(20)]
    assert len({sample.gradient_error for sample in samples}) == 20
    for name in ("gradient_error", "loss_error"):
        true = getattr(whole, name).value
        intervals = [getattr(sample, name) for sample in samples]
        assert all(low < value < high for value, low, high in intervals)
        assert sum(low <= true <= high for _, low, high in intervals) >= 16


def test_a_row_with_most_of_the_gradient_is_in_every_sample() -> None:
    """Its error is that of the whole batch, and an even sample would miss it."""
    sr, hr = pair()
    sr[2, :, 8:12, 8:12] = 1e-4 * hr[2, :, 8:12, 8:12].flip(-1)
    loss = criterion(precision="bf16")
    whole = loss.audit(sr, hr, rows=ALL).gradient_error.value
    for seed in range(5):
        found = loss.audit(sr, hr, rows=24, seed=seed)
        assert found.rows == 24
        assert found.gradient_error.value == pytest.approx(whole, rel=0.1)


def test_a_sample_has_the_same_results_again_and_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sr, hr = pair()
    found = criterion(landmarks=16).audit(sr, hr, rows=32)
    assert criterion(landmarks=16).audit(sr, hr, rows=32) == found
    assert found.rows == 32
    monkeypatch.setattr(audit, "_BLOCK", 7 * 48)  # neither the patches of an image nor their number are multiples
    blocks = criterion(landmarks=16).audit(sr, hr, rows=32)
    assert blocks.gradient_error == pytest.approx(found.gradient_error, rel=1e-6)
    assert blocks.qneg == pytest.approx(found.qneg, rel=1e-6)


def test_no_grad_inference_and_autocast() -> None:
    sr, hr = pair()
    loss = criterion(landmarks=16)
    found = loss.audit(sr, hr, rows=64)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert loss.audit(sr, hr, rows=64) == found
    with torch.inference_mode():
        assert loss.audit(sr.clone(), hr.clone(), rows=64) == found
    with torch.autocast("cpu", torch.bfloat16):
        rounded = criterion().audit(sr.bfloat16(), hr, rows=64)
    assert rounded.precision == "bf16"
    assert 1e-4 < rounded.gradient_error.value < 1e-1


def test_it_leaves_the_images_alone() -> None:
    sr, hr = pair()
    sr.requires_grad_()
    before = sr.detach().clone(), hr.clone()
    criterion().audit(sr, hr, rows=16)
    assert sr.grad is None
    assert torch.equal(sr, before[0])
    assert torch.equal(hr, before[1])


def test_float64_images_are_exact_and_float16_ones_are_off_by_the_rounding_of_their_gradient() -> None:
    assert criterion().audit(*pair(dtype=torch.float64), rows=64).gradient_error.value < 1e-12
    assert 1e-5 < criterion().audit(*pair(dtype=torch.float16), rows=64).gradient_error.value < 1e-3


def test_rows_without_negatives_have_no_errors() -> None:
    found = criterion(threshold=-100.0).audit(*pair(), rows=32)
    assert found.qneg == (0, 0)
    assert found.loss_error == found.gradient_error == (0, 0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_where_the_loss_is_nan_so_are_its_errors(value: float) -> None:
    sr, hr = pair()
    sr[1, 0, 5, 5] = value
    found = criterion().audit(sr, hr, rows=32)
    assert all(math.isnan(figure) for figure in (found.loss, *found.loss_error, *found.gradient_error))


@pytest.mark.parametrize("distance", [0.0, 0.1, 1e-200])
def test_ties_are_positives_as_in_the_loss(distance: float) -> None:
    """Patches whose distance is the radius, in pixels that are no binary fractions."""
    p = torch.rand(40, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p[20:] = p[:20]
    p[20:, 0] += distance
    rows = audit.Rows.of(torch.arange(40), p, p, 4, Spec().constants(48, "ieee"))
    for radius in (distance, (p[0] - p[20]).norm().item(), (p[0] - p[21]).norm().item(), math.inf):
        assert torch.equal(audit.positives(rows, rows, radius), reference.positives(p, radius))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"rows": 1}, ValueError, "rows must be at least 2, got 1"),
        ({"rows": 2.0}, TypeError, "rows.*2.0"),
        ({"rows": True}, TypeError, "rows.*True"),
        ({"seed": "x"}, TypeError, "seed.*'x'"),
        ({"hr": torch.rand(1, 3, 8, 8, requires_grad=True)}, ValueError, "hr.*detach"),
        ({"hr": torch.rand(1, 3, 8, 9)}, ValueError, "8, 9"),
        ({"sr": None}, TypeError, "sr.*NoneType"),
    ],
)
def test_what_cannot_be_audited(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"sr": torch.rand(1, 3, 8, 8), "hr": torch.rand(1, 3, 8, 8)}
    with pytest.raises(kind, match=message):
        criterion().audit(**{**given, **change})


def test_one_patch() -> None:
    found = criterion().audit(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))
    assert (found.rows, found.gradient_error) == (1, (0, 0, 0))


def test_the_table_has_the_figures() -> None:
    found = criterion(landmarks=16).audit(*pair(), rows=64)
    table = str(found)
    assert "64 of 256 rows" in table
    assert "16 landmarks" in table
    for value in (found.qpos.rms, found.qneg.largest, found.loss_error.value, *found.gradient_error):
        assert f"{value:.1e}" in table


@pytest.mark.parametrize("arguments", [{}, {"landmarks": 16}], ids=str)
def test_the_error_of_bf16_is_that_of_rounded_operands(arguments: dict[str, Any]) -> None:
    sr, hr = pair()
    spec = criterion(**arguments).spec
    q, p = (reference.patch_rows(side.double(), 4).flatten(0, 1) for side in (sr, hr))
    true = truth(sr, hr, Spec(patch_size=4, threshold=ETA, reduction="sum")).gradient
    mask = reference.positives(p, spec.radius(48))
    norms = [rows.norm(dim=1, keepdim=True) for rows in (q, p)]
    unit, h = (rows / torch.where(norm == 0, 1, norm) for rows, norm in zip((q, p), norms, strict=True))
    z = unit.bfloat16().double().requires_grad_()
    terms = (z @ z.T).exp() + 2 * (h.bfloat16().double() @ z.T).exp()
    (torch.where(mask, 0, terms).sum(1).log() - torch.where(mask, terms, 0).sum(1).log()).sum().backward()
    assert z.grad is not None
    g = (z.grad - (z.grad * unit).sum(1, keepdim=True) * unit) / torch.where(norms[0] == 0, math.inf, norms[0])
    off = error(g, reference.patch_rows(true, 4).flatten(0, 1))
    assert audit.bf16_error(sr, hr, spec, rows=ALL).value == pytest.approx(off, rel=1e-6)
    low, high = 0.7 * off, 1.4 * off
    assert all(low < audit.bf16_error(sr, hr, spec, rows=64, seed=seed).value < high for seed in range(5))
