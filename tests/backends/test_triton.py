"""The Triton kernels in Triton's interpreter: what the tests of all backends do not reach at a few hundred rows."""

import itertools
import math

import pytest
import torch
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from triton import jit

from benchmarks import workload
from dec_kernels import dec_loss, patches
from dec_kernels.backends import torch as torch_backend
from dec_kernels.backends import triton
from dec_kernels.backends.triton import tiles, tune
from dec_kernels.backends.triton.rows import _rounded
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.backends.triton.walk import load_rows, small_exp2
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants, Spec
from tests.conftest import on_the_interpreter
from tests.oracle import error, evaluate, images, threshold, truth

pytestmark = on_the_interpreter

EPS = torch.finfo(torch.float32).eps
# Small tiles, of which those of the band and the others know nothing of each other.
SMALL = [
    Tiles(Tile(32, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 32, 4, 1), Tile(16, 16, 4, 1)),
    Tiles(Tile(16, 16, 4, 1), Tile(32, 64, 4, 1), Tile(32, 32, 4, 1), Tile(64, 32, 4, 1)),
]


def gradient_ramp(rows: int, columns: int, patch_size: int) -> tuple[Tensor, Tensor]:
    """Patches of steadily rising mean, some of them close to each other: a narrow band, and tiles on both sides."""
    generator = torch.Generator().manual_seed(3)
    mean = torch.linspace(0.1, 0.9, rows * columns)[torch.randperm(rows * columns, generator=generator)]
    patterns = 0.05 * torch.rand(3, patch_size, patch_size, generator=generator)[torch.randint(3, (rows * columns,))]
    tiles_ = mean[:, None, None] + patterns
    hr = tiles_.view(rows, columns, patch_size, patch_size).transpose(1, 2)
    hr = hr.reshape(1, 1, rows * patch_size, columns * patch_size)
    return (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1), hr


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_tiles_on_both_sides_of_a_narrow_band(
    monkeypatch: pytest.MonkeyPatch, small: Tiles, splits: int, temperature: str
) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", small)
    monkeypatch.setattr(triton, "_splits", lambda rows, tile, shares: splits)
    sr, hr = gradient_ramp(12, 15, 4)
    spec = Spec(4, 14.0, 0.4, 1.3, temperature=temperature)
    constants = spec.constants(16, "ieee")
    rows = triton.BACKEND.prepare(Batch.alone(sr, hr), 4, False, constants, torch.float32)
    share = (rows.last - rows.first).float().mean() / 180
    assert 0.05 < share < 0.3
    true = truth(sr, hr, spec)
    # Positives and negatives pull against each other here, and what is left is as exact as the same formula is in
    # float32 by PyTorch calls.
    calls, ours = (evaluate(sr, hr, **(vars(spec) | {"backend": b, "precision": "ieee"})) for b in ("torch", "triton"))
    assert error(ours.loss, true.loss) < 4 * EPS
    assert error(ours.gradient, true.gradient) <= 2 * error(calls.gradient, true.gradient)
    assert error(calls.gradient, true.gradient) < 1e-5


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])


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
    constants = Spec(4, eta).constants(16, "ieee")
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
    rows, _ = prepared(sr, hr, 4, Spec(4, eta).constants(16, "ieee"))
    begin, end = rows.first.view(5, 16).amax(1), rows.last.view(5, 16).amin(1)
    whole = (begin + 15) // 16 * 16 + 16
    assert ((end >= whole) & (end < 80) & (end % 16 != 0)).any()
    agree(sr, hr, threshold=eta)


def test_a_row_has_sums_of_exactly_zero_where_it_has_no_pairs(small_tiles: None) -> None:
    sr, hr = gradient_ramp(5, 8, 4)
    constants = Spec(4, -40.0).constants(16, "ieee")
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


def test_many_undecided_pairs_of_a_strip_are_decided_as_in_float64(small_tiles: None) -> None:
    """Two clusters that lie the radius apart, within 1e-8 of it: float32 decides none of their pairs."""
    generator = torch.Generator().manual_seed(5)
    base = torch.rand(4, 4, generator=generator) / 2
    step, radius = torch.zeros(4, 4), 10 ** (-20 / 20)
    step[1, 2], step[3, 0] = 0.5, -0.5  # leaves the mean where it is
    scale = (
        radius / step.norm() * (1 + torch.tensor([0, 1e-8, -1e-8, 3e-8, -3e-8, 6e-8, -6e-8, 1e-7], dtype=torch.float64))
    )
    patches_ = torch.cat([base.expand(8, 4, 4), (base + step * scale[:, None, None]).float()])
    hr = patches_.transpose(0, 1).reshape(1, 1, 4, 64)
    constants = Spec(4, 20.0).constants(16, "ieee")
    rows, _ = prepared(torch.zeros_like(hr), hr, 4, constants)
    p = rows.p[0].double()
    distances = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist")
    assert (((distances - constants.radius).abs() < 1e-6 * constants.radius).sum(1) >= 8).all()
    mask = distances <= constants.radius
    assert 0 < mask[distances > 0.01].sum() < 128
    qpos, qneg = triton.BACKEND.forward(rows, constants)[:, rows.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))
    assert torch.equal((qneg.double() * constants.t_neg / 3).round().long(), (~mask).sum(1))


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


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_exponentials_from_a_polynomial(monkeypatch: pytest.MonkeyPatch, precision: str, temperature: str) -> None:
    sr, hr = images(2, 3, 40, 56, 8, torch.float32)
    spec = Spec(8, threshold("l2", 3, 8), temperature=temperature)
    arguments = vars(spec) | {"backend": "triton", "precision": precision, "reduction": "none"}
    weights = torch.ones(70)
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    unit = evaluate(sr, hr, weights, **arguments)
    forward = SMALL[0].forward._replace(polynomial=True)
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0]._replace(forward=forward))
    ours = evaluate(sr, hr, weights, **arguments)
    if temperature == "inside":  # where exponents are as large as 1 / t
        assert torch.equal(ours.loss, unit.loss)
        return
    # Of a row's negative sum two thirds at most are off by the polynomial's error.
    assert 1e-6 < (ours.loss - unit.loss).abs().max() < 4.4e-5
    assert error(ours.gradient, unit.gradient) < 4.4e-5 * 10
    true = truth(sr, hr, Spec(8, threshold("l2", 3, 8)))
    budget = {"tf32": 5e-4, "bf16": 4e-3}[precision]
    assert error(evaluate(sr, hr, **(arguments | {"reduction": "mean"})).gradient, true.gradient) < budget


@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_exact_presets_take_no_polynomial(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    sr, hr = gradient_ramp(6, 8, 4)
    arguments = {"patch_size": 4, "threshold": 14.0, "backend": "triton", "precision": precision}
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    unit = evaluate(sr, hr, **arguments)
    forward = SMALL[0].forward._replace(polynomial=True)
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0]._replace(forward=forward))
    assert torch.equal(evaluate(sr, hr, **arguments).loss, unit.loss)


def test_tuning_finds_tiles_that_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plain, band = [Tile(32, 32, 4, 1), Tile(48, 32, 4, 1)], [Tile(16, 16, 4, 1), Tile(64, 128, 4, 1)]
    monkeypatch.setattr(tune, "PROMISING", {"forward": plain, "backward": plain})
    monkeypatch.setattr(tune, "PLAIN", plain)
    monkeypatch.setattr(tune, "BAND", band)
    monkeypatch.setattr(tiles, "INTERPRETED", Tiles(plain[0], band[0], plain[0], band[0]))
    # The last one tried is the fastest, and 48 rows are no power of two.
    speeds = itertools.count(1000.0, -1.0)
    monkeypatch.setattr(tune, "_on_cpu", lambda call: [next(speeds)])
    monkeypatch.setenv(triton.AUTOTUNE, "1")
    monkeypatch.setattr(triton, "_tuned", {})
    sr, hr = gradient_ramp(6, 8, 4)
    arguments = {"patch_size": 4, "threshold": 14.0, "backend": "triton", "precision": "ieee"}
    tuned = evaluate(sr, hr, **arguments)
    one_program = Tile(32, 32, 4, 1, splits=1)
    assert triton._tuned == {(tiles.INTERPRETER, 16, "ieee"): Tiles(one_program, band[1], one_program, band[1])}
    assert "left out" in capsys.readouterr().out
    row = tune.row("sm_90", 16, "ieee", Tiles(plain[0], band[0], one_program, band[0]))
    assert row == '("sm_90", 16, "ieee", (32, 32, 4, 1), (16, 16, 4, 1), (32, 32, 4, 1, 1, False), (16, 16, 4, 1))'
    monkeypatch.delenv(triton.AUTOTUNE)
    assert error(tuned.gradient, evaluate(sr, hr, **arguments).gradient) < 1e-6


def test_tuning_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = itertools.count(0.0, 10.0)
    monkeypatch.setattr(tune.time, "monotonic", lambda: next(now))
    tried = []
    monkeypatch.setattr(tune, "seconds", lambda call, device: tried.append(call) or 1.0)
    constants = Spec(4, 14.0).constants(16, "bf16")
    rows, _ = prepared(*gradient_ramp(3, 4, 4), 4, constants)
    assert tune.fastest(rows, constants, deadline=35.0) == tiles.INTERPRETED
    assert len(tried) == 2 + 4  # the table's, forward and backward, and a candidate at each time from 0 to 30
    assert "out of time" in capsys.readouterr().out


def test_the_most_promising_candidates_come_first() -> None:
    def order(precision: str, temperature: str = "outside") -> list[tuple[str, dict]]:
        return list(tune.changes(Spec(temperature=temperature).constants(192, precision)))

    first = order("bf16")
    wide = {"rows": 128, "columns": 128, "warps": 8, "stages": 2}
    narrow = {"rows": 64, "columns": 64, "warps": 4, "stages": 2}
    assert first[0][0] == "forward"
    assert wide.items() <= first[0][1].items()
    assert {role for role, change in first[:8] if narrow.items() <= change.items()} == {"forward", "backward"}
    assert ("forward", {"polynomial": True}) in first[:10]
    assert ("backward", {"splits": 2}) in first[:14]
    for other in (order("ieee"), order("tf32x3"), order("bf16", "inside")):
        assert ("forward", {"polynomial": True}) not in other


def test_the_table_has_a_row_for_everything() -> None:
    architectures = ("sm_80", "sm_90", "sm_100", "sm_120")
    assert set(tiles.TABLE) == set(itertools.product(architectures, tiles.WIDTHS, tiles.PRECISIONS))
    for width, precision in itertools.product(tiles.WIDTHS, tiles.PRECISIONS):
        shape = tiles.shape_of(width, precision, "sm_90")
        assert shape["CHUNKS"] * shape["CHUNK"] == width
        assert shape["CHUNKS"] % shape["OWNED"] == 0
        assert shape["OWNED"] == shape["CHUNKS"] or not shape["RESIDENT"]


@pytest.mark.parametrize(
    ("capability", "row"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_120"),
        ((8, 9), "sm_120"),
        ((9, 0), "sm_90"),
        ((10, 3), "sm_100"),
        ((12, 0), "sm_120"),
    ],
)
def test_each_device_has_a_row(capability: tuple[int, int], row: str) -> None:
    assert tiles.architecture_of(capability) == row


def prepared(sr: Tensor, hr: Tensor, patch_size: int, constants: Constants, per_image: bool = False) -> tuple:
    ours = triton.BACKEND.prepare(Batch.alone(sr, hr), patch_size, per_image, constants, torch.float32)
    return ours, patches.prepare(Batch.alone(sr.double(), hr.double()), patch_size, per_image, constants, torch.float64)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dim", [(1, 2), (3, 3), (3, 6), (1, 12), (3, 16)])
def test_the_rows_are_those_of_the_other_backends(dim: tuple[int, int], per_image: bool) -> None:
    channels, patch_size = dim
    sr, hr = images(3, channels, 4 * patch_size + 1, 5 * patch_size, patch_size, torch.float32)
    width = channels * patch_size**2
    constants = Spec(patch_size, threshold("l2", channels, patch_size)).constants(width, "ieee")
    ours, true = prepared(sr, hr, patch_size, constants, per_image)
    assert torch.equal(ours.order, true.order)
    assert torch.equal(ours.p.double(), true.p)
    c = math.sqrt(math.log2(math.e))
    for rows, expected in ((ours.z, true.z), (ours.h, true.p * true.p_scale[..., None])):
        assert rows.shape[-1] == tiles.width_of(width)
        assert (rows[..., width:] == 0).all()
        torch.testing.assert_close(rows[..., :width].double(), c * expected, rtol=4 * EPS, atol=0)
    torch.testing.assert_close(ours.mean.double(), true.p.mean(-1), rtol=EPS, atol=0)
    # The band may be wider than in float64, by rows whose means are as good as equal, and never narrower.
    assert (ours.first <= true.first).all()
    assert (ours.last >= true.last).all()
    assert (ours.last - ours.first).sum() <= 1.01 * (true.last - true.first).sum() + 2


@pytest.mark.parametrize("patch_size", [1, 2, 3])
def test_every_one_of_many_small_rows_is_made(patch_size: int) -> None:
    sr, hr = images(1, 1, 40 * patch_size, 41 * patch_size, patch_size, torch.float32)
    constants = Spec(patch_size, 40.0).constants(patch_size**2, "tf32x3")
    ours, true = prepared(sr, hr, patch_size, constants)
    assert torch.equal(ours.p.double(), true.p)
    torch.testing.assert_close(ours.z[..., : patch_size**2].double(), 1.2011224087864498 * true.z, rtol=4 * EPS, atol=0)
    dz = torch.randn(3, *ours.p.shape)  # in three parts
    back = triton.BACKEND.to_images(dz, ours.order, sr, patch_size)
    expected = patches.to_images(true.project_(dz.double().sum(0)), true.order, sr.double(), patch_size)
    before = (
        (dz.sum(0).norm(dim=-1) * true.z_scale).max().item()
    )  # the projection: of a row of one value nothing is left
    torch.testing.assert_close(back.double(), expected, rtol=1e-5, atol=4 * EPS * before)


@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_the_mask_of_photographs_is_the_float64_mask(distance: str) -> None:
    _, hr = workload.images(512, 8)
    constants = Spec(distance=distance).constants(192, "ieee")
    rows = triton.BACKEND.prepare(Batch.alone(torch.zeros_like(hr), hr), 8, False, constants, torch.float32)
    p = rows.p[0].double()
    mask = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist") <= constants.radius
    qpos = triton.BACKEND.forward(rows, constants)[0, rows.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))


@pytest.mark.parametrize("scale", [1.0, 255.0, 1e-3])
@pytest.mark.parametrize("eta", [20.0, 33.0, 60.0])
def test_the_mask_is_the_float64_mask(scale: float, eta: float) -> None:
    """The sums of blank SR rows count the positives; dozens of pairs lie on the radius or within 1e-8 to 3e-5 of it."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(1, 1, 32, 32, generator=generator)
    base[..., :8, :] = 0.7 + 0.0001 * torch.rand(8, 32, generator=generator)
    radius = 10 ** (-eta / 20)
    step = torch.zeros(1, 1, 32, 32)
    step[..., ::4, ::4] = radius  # one pixel of each patch moves by the radius, give or take
    nudge = torch.tensor([-1e-6, -1e-8, 0, 1e-8, 1e-6, 3e-5, -3e-5])[torch.randint(7, (8, 8), generator=generator)]
    moved = base + step * (1 + nudge.repeat_interleave(4, 0).repeat_interleave(4, 1))
    hr = scale * torch.cat([base, moved])
    constants = Spec(4, eta, max_val=scale).constants(16, "ieee")
    ours = triton.BACKEND.prepare(Batch.alone(torch.zeros_like(hr), hr), 4, False, constants, torch.float32)
    p = ours.p[0].double()
    distances = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist")
    assert ((distances - constants.radius).abs() < 1e-5 * constants.radius).sum() > 20
    mask = distances <= constants.radius
    qpos, qneg = triton.BACKEND.forward(ours, constants)[:, ours.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))
    assert torch.equal((qneg.double() * constants.t_neg / 3).round().long(), (~mask).sum(1))


# Relative errors of the gradient. Operands rounded to TF32 or bfloat16 give about 2.6e-4 and 2.2e-3 on photographs.
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("ieee", 0, 4e-6), ("tf32x3", 0, 4e-6), ("tf32", 1e-6, 5e-4), ("bf16", 1e-5, 4e-3)]
)
def test_the_error_of_each_preset(precision: str, least: float, most: float) -> None:
    sr, hr = images(3, 3, 40, 56, 8, torch.float32)
    spec = Spec(8, threshold("l2", 3, 8))
    true = truth(sr, hr, spec)
    ours = evaluate(sr, hr, **(vars(spec) | {"backend": "triton", "precision": precision}))
    assert least < error(ours.gradient, true.gradient) < most
    assert error(ours.loss, true.loss) < most / 8


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_shape_and_arguments(data: st.DataObject) -> None:
    draw = data.draw
    patch_size, channels = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    height, width = (draw(st.integers(patch_size, 9 * patch_size)) for _ in "hw")
    distance = draw(st.sampled_from(["l2", "rmse"]))
    spec = Spec(
        patch_size,
        threshold(distance, channels, patch_size) + draw(st.floats(-12, 12)),
        draw(st.floats(0.2, 5)),
        draw(st.floats(0.2, 5)),
        distance=distance,
        temperature=draw(st.sampled_from(["outside", "inside"])),
        scope=draw(st.sampled_from(["batch", "image"])),
    )
    sr, hr = images(
        draw(st.integers(1, 3)), channels, height, width, patch_size, torch.float32, draw(st.integers(0, 99))
    )
    true = truth(sr, hr, spec)
    ours = evaluate(sr, hr, **(vars(spec) | {"backend": "triton", "precision": "ieee"}))
    torch.testing.assert_close(ours.loss.double(), true.loss, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(
        ours.gradient.double(), true.gradient, rtol=1e-3, atol=1e-6 + 1e-4 * true.gradient.abs().max().item()
    )


@jit
def _copy(rows, out):
    (chunk,) = load_rows(rows, 2**25 + tl.arange(0, 16).to(tl.int64), None, 0, 1, 1, 64)
    tl.store(out + tl.arange(0, 16)[:, None] * 64 + tl.arange(0, 64)[None, :], chunk)


def test_offsets_pass_2_to_the_31() -> None:
    """Rows far into a tensor: what is stored there comes back, though its offset does not fit into 32 bits."""
    whole = torch.empty(2**25 + 16, 64, dtype=torch.bfloat16)  # 4 GiB that nothing but its last rows touches
    whole[2**25 :] = torch.arange(1024.0).view(16, 64)
    out = torch.empty(16, 64, dtype=torch.bfloat16)
    _copy[(1,)](whole.view(torch.float16), out.view(torch.float16))
    assert torch.equal(out, whole[2**25 :])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_hr_patch_leaves_the_mask_of_its_neighbours(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    sr, hr = gradient_ramp(6, 8, 4)
    hr[..., 4:8, 8:12] = bad
    arguments = {"patch_size": 4, "threshold": 14.0, "reduction": "none"}
    ours, true = (dec_loss(sr, hr, backend=backend, **arguments) for backend in ("triton", "reference"))
    assert ours.isnan().sum() == 1
    torch.testing.assert_close(ours.double(), true.double(), rtol=1e-5, atol=1e-5, equal_nan=True)


@jit
def _round(bits, out, ROUNDED: tl.constexpr):
    i = tl.arange(0, 8)
    tl.store(out + i, _rounded(tl.load(bits + i).to(tl.float32, bitcast=True), ROUNDED))


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


def test_a_threshold_of_any_size_is_taken() -> None:
    sr, hr = gradient_ramp(3, 4, 4)
    assert evaluate(sr, hr, patch_size=4, threshold=-4000.0, backend="triton").loss == 0  # all are positives
    assert evaluate(sr, hr, patch_size=4, threshold=4000.0, backend="triton").loss.isfinite()


def test_float64_rows_go_elsewhere() -> None:
    assert any("float64" in reason for reason in triton.BACKEND.reasons(torch.device("cpu"), torch.float64, 192))
    assert triton.BACKEND.reasons(torch.device("cpu"), torch.float32, 192) == []


def test_wider_rows_go_elsewhere() -> None:
    assert any("at most 768" in reason for reason in triton.BACKEND.reasons(torch.device("cpu"), torch.float32, 769))
    with pytest.raises(RuntimeError, match="these patches have 3072"):
        evaluate(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), patch_size=32, backend="triton")


def test_the_torch_backend_agrees_on_the_same_rows() -> None:
    sr, hr = images(2, 3, 36, 44, 4, torch.float32)
    constants = Spec(4, threshold("rmse", 3, 4), distance="rmse").constants(48, "tf32x3")
    ours, true = prepared(sr, hr, 4, constants, per_image=True)
    weights = torch.rand(2, true.p_scale.numel(), dtype=torch.float64)
    gradients = (
        triton.BACKEND.backward(ours, constants, weights.float()),
        torch_backend.BACKEND.backward(true, constants, weights),
    )
    gradient = triton.BACKEND.to_images(gradients[0], ours.order, sr, 4)
    assert error(gradient, patches.to_images(gradients[1], true.order, sr.double(), 4)) < 4 * EPS
