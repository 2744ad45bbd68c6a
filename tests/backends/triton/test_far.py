"""Landmarks: pairs of near blocks exactly, by the band's kernels, and all others by features."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks import workload
from dec_kernels import dec_loss
from dec_kernels.backends import triton
from dec_kernels.backends.triton import far, layout, tiles, tune
from dec_kernels.backends.triton.layout import PreparedRows
from dec_kernels.patches import Batch
from dec_kernels.reference import positives
from dec_kernels.spec import Constants, Spec
from tests.backends.triton.cases import gradient_ramp
from tests.conftest import on_the_interpreter
from tests.oracle import error, evaluate

pytestmark = on_the_interpreter


def ramp(count: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """That many images of rows x columns patches of 4 x 4 pixels, of rising means over all images."""
    sr, hr = gradient_ramp(count * rows, columns, 4)
    return tuple(x.view(count, 1, 4 * rows, 4 * columns) for x in (sr, hr))


def prepared(
    sr: Tensor, hr: Tensor, spec: Spec, precision: str, own: slice | None = None
) -> tuple[PreparedRows, Constants]:
    """Rows of all images, or of those in `own` alone."""
    per_image = spec.scope == "image"
    constants = spec.constants(sr.shape[1] * spec.patch_size**2, precision, spec.landmarks or 0)
    batch = Batch.alone(sr, hr) if own is None else Batch(sr[own], sr, hr, own.start)
    return triton.BACKEND.prepare(batch, spec.patch_size, per_image, constants, torch.float32), constants


class Dense(NamedTuple):
    """Of all pairs in a group, (G, m, m) float64, rows by columns: kernels by landmarks, and whether pairs are near."""

    z: Tensor
    h: Tensor
    s: Tensor
    a: Tensor
    near: Tensor


def dense(rows: PreparedRows, constants: Constants) -> Dense:
    """By Nystroem's formula, from z' and h' as the products take them; and near blocks by a look at all pairs."""
    count, m, c = constants.landmarks, rows.size.m, constants.scale
    z, h = rows.z.double() / c, rows.h.double() / c
    tau = constants.t_neg if constants.inside else 1
    chosen = far.chosen(rows, constants).double() / c
    kernel = (chosen @ chosen.mT / tau).exp()
    kernel += 1e-8 * kernel.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(count, dtype=torch.float64)
    of_z, of_h = (z @ chosen.mT / tau).exp(), (h @ chosen.mT / tau).exp()
    of_columns = torch.linalg.solve(kernel, of_z.mT)
    close = (rows.mean[:, :, None] - rows.mean[:, None]).abs() <= constants.radius / math.sqrt(rows.size.dim) * (
        1 + 1e-4
    )
    block = torch.arange(m) // rows.size.block
    same = (block[:, None] == torch.arange(rows.size.blocks)).double()
    near = same @ (same.T @ close.double() @ same > 0).double() @ same.T > 0
    return Dense(z[..., : rows.size.dim], h[..., : rows.size.dim], of_z @ of_columns, of_h @ of_columns, near)


def far_part(d: Dense, beta: Tensor) -> tuple[Tensor, Tensor]:
    """What far pairs add to the sums and to dz of all columns."""
    s, a = (torch.where(d.near, 0, x) for x in (d.s, d.a))
    dz = ((beta[..., None] + beta[:, None]) * s) @ d.z + 2 * (beta[..., None] * a).mT @ d.h
    return (s + 2 * a).sum(2), dz


@pytest.mark.parametrize("precision", tiles.PRECISIONS)
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("mode", ["alone", "image", "rank"])
def test_far_sums_and_gradients_are_those_of_dense_features(
    monkeypatch: pytest.MonkeyPatch, precision: str, temperature: str, mode: str
) -> None:
    monkeypatch.setattr(far, "MOST_BLOCKS", 10)  # of two groups at a time
    sr, hr = ramp(3, 12, 12)  # blocks do not come out even
    scope = "image" if mode == "image" else "batch"
    spec = Spec(patch_size=4, threshold=26.0, t_neg=1.3, temperature=temperature, scope=scope, landmarks=17)
    rows, constants = prepared(sr, hr, spec, precision, slice(1, 2) if mode == "rank" else None)
    d = dense(rows, constants)
    assert 0.2 < d.near.double().mean() < 0.9
    beta = 0.5 + torch.rand(rows.mean.shape, generator=torch.Generator().manual_seed(0))
    found = far.sums(rows, rows.far), far.gradient(rows, rows.far, precision, beta, 1 / constants.scale)
    for ours, all_rows in zip(found, far_part(d, beta.double()), strict=True):
        true = all_rows.flatten(0, 1)[rows.column_of_row]
        assert error(ours, true) < 1e-5
        for row, true_row in zip(ours.flatten(0, 1), true.flatten(0, 1), strict=True):
            assert (row - true_row).abs().max() <= 1e-4 * true_row.abs().max()


@pytest.mark.parametrize(("own", "block"), [(None, 32), (slice(1, 2), 32), (None, 64)])
def test_bands_are_those_of_blocks_and_hold_the_rows_own(
    monkeypatch: pytest.MonkeyPatch, own: slice | None, block: int
) -> None:
    monkeypatch.setattr(layout, "SMALLEST_BLOCK", block)
    monkeypatch.setattr(layout, "_known_places", layout.places)  # and not those of other blocks
    sr, hr = ramp(2, 12, 12)
    spec = Spec(patch_size=4, threshold=26.0, landmarks=5)
    rows, constants = prepared(sr, hr, spec, "ieee", own)
    exact, _ = prepared(sr, hr, Spec(patch_size=4, threshold=26.0), "ieee", own)
    assert (rows.first <= exact.first).all()
    assert (rows.last >= exact.last).all()
    near = dense(rows, constants).near[0][rows.column_of_row[0]]
    columns = torch.arange(288)
    assert torch.equal((columns >= rows.first[0, :, None]) & (columns < rows.last[0, :, None]), near)
    assert 0.2 < near.double().mean() < 0.9


def test_blocks_are_near_each_other_or_neither_is() -> None:
    generator = torch.Generator().manual_seed(0)
    means = [torch.randn(1, m, generator=generator).sort().values for m in (1, 32, 33, 300, 700)]
    means += [torch.zeros(1, 200), torch.randn(3, 99, generator=generator).mul(1e30).sort().values]
    means[3][0, -90:] = math.nan
    means[4][0, :2], means[4][0, -120:] = -math.inf, math.inf
    for mean in means:
        gap = (mean.double()[:, :, None] - mean.double()[:, None]).abs()
        of_column = torch.arange(mean.shape[1]) // 32
        for width in (0.0, 0.01, 3.0, math.inf):
            first, last = far.near_blocks(mean, width, 32)
            blocks = torch.arange(first.shape[1])
            near = (blocks >= first[..., None]) & (blocks < last[..., None])
            assert torch.equal(near, near.mT)
            assert near.diagonal(dim1=1, dim2=2).all()
            assert near[:, of_column][:, :, of_column][(gap <= width) & gap.isfinite()].all()


@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("scope", ["batch", "image"])
def test_the_loss_and_its_gradient(temperature: str, scope: str) -> None:
    sr, hr = ramp(2, 11, 12)
    spec = Spec(
        patch_size=4, threshold=24.0, t_pos=0.4, t_neg=1.3, temperature=temperature, scope=scope, reduction="sum",
        landmarks=9, precision="ieee", backend="triton",
    )  # fmt: skip
    rows, constants = prepared(sr, hr, spec, "ieee")
    d, inner = dense(rows, constants), constants.t_pos if constants.inside else 1
    mask = positives(rows.p.double(), constants.radius)
    assert d.near[mask].all()
    assert (d.near & ~mask).any()
    assert not d.near.all()

    def kernel(product: Tensor, by_features: Tensor) -> Tensor:
        exact = torch.where(mask, product / inner, product / (constants.t_neg if constants.inside else 1)).exp()
        return torch.where(d.near, exact, by_features)

    s, a = kernel(d.z @ d.z.mT, d.s), kernel(d.h @ d.z.mT, d.a)
    t_pos, t_neg = (1, 1) if constants.inside else (constants.t_pos, constants.t_neg)
    qpos, qneg = torch.where(mask, s + 2 * a, 0).sum(2) / t_pos, torch.where(mask, 0, s + 2 * a).sum(2) / t_neg
    w = torch.where(mask, -1 / qpos[..., None] / constants.t_pos, 1 / qneg[..., None] / constants.t_neg)
    dz = ((w + w.mT) * s) @ d.z + 2 * (w * a).mT @ d.h
    true = triton.BACKEND.to_images(dz.float()[None], rows.order, sr, 4, constants)
    ours = evaluate(sr, hr, **vars(spec))
    assert error(ours.loss, (qneg / qpos).log().sum()) < 1e-6
    assert error(ours.gradient, true) < 2e-5


def test_the_rows_of_a_rank_are_among_those_of_one_process() -> None:
    sr, hr = ramp(3, 6, 9)
    spec = Spec(patch_size=4, threshold=24.0, landmarks=9)
    weights = torch.rand(2, 3 * 54, generator=torch.Generator().manual_seed(0))

    def step(own: slice | None) -> tuple[Tensor, Tensor]:
        rows, constants = prepared(sr, hr, spec, "ieee", own)
        images = sr if own is None else sr[own]
        q = triton.BACKEND.forward(rows, constants)
        kept = triton.BACKEND.restore(rows.kept, None, images, 3 * 54, 4, False, constants, torch.float32)
        dz = triton.BACKEND.backward(kept, constants, weights)
        return q.unflatten(1, (-1, 54)), triton.BACKEND.to_images(dz, kept.order, images, 4, constants)

    whole, rank = step(None), step(slice(1, 2))
    torch.testing.assert_close(rank[0][:, 0], whole[0][:, 1], rtol=1e-6, atol=0)
    torch.testing.assert_close(rank[1], whole[1][1:2], rtol=1e-4, atol=1e-5 * whole[1].abs().max().item())


def test_photographs_are_near_the_exact_loss() -> None:
    """What far pairs add, beside exact sums over the same pairs."""
    sr, hr = workload.images(1024, 4)
    rows, constants = prepared(sr, hr, Spec(patch_size=4, landmarks=128), "ieee")
    d = dense(rows, constants)
    assert (~d.near).double().mean() > 0
    beta = torch.ones_like(rows.mean)
    exact = d._replace(s=(d.z @ d.z.mT).exp(), a=(d.h @ d.z.mT).exp())
    found = far.sums(rows, rows.far), far.gradient(rows, rows.far, "ieee", beta, 1 / constants.scale)
    sums, dz = far_part(exact, beta.double())
    assert error(found[0], sums) < 2e-4
    assert error(found[1], dz) < 2e-4


@pytest.mark.parametrize("landmarks", [1, 40])
def test_patches_that_are_all_equal(landmarks: int) -> None:
    """The mask is empty beside the diagonal where HR patches of one mean are far, and K has a rank of 2 or 3."""
    kinds = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    hr = kinds[(torch.arange(160) >= 80).long()].view(10, 16, 4, 4).transpose(1, 2).reshape(1, 1, 40, 64)
    arguments = {"patch_size": 4, "threshold": 40.0, "backend": "triton", "precision": "ieee"}
    sr = hr + 0.1
    exact = evaluate(sr, hr, **arguments)
    ours = evaluate(sr, hr, **arguments, landmarks=landmarks)
    assert ours.loss.isfinite()
    assert ours.gradient.isfinite().all()
    if landmarks > 2:
        assert error(ours.loss, exact.loss) < 1e-5
        assert error(ours.gradient, exact.gradient) < 1e-3
    flat = evaluate(sr, torch.full_like(hr, 0.5), **arguments, landmarks=landmarks)
    assert flat.loss == 0
    assert not flat.gradient.any()


@pytest.mark.parametrize(("which", "count"), [(0, 132), (1, 1)])
def test_a_nan_spoils_what_it_spoils_without_landmarks(which: int, count: int) -> None:
    pair = list(ramp(2, 11, 12))
    pair[which][0, :, 4:8, 8:12] = math.nan
    arguments = {"patch_size": 4, "threshold": 24.0, "scope": "image", "reduction": "none", "backend": "triton"}
    losses = dec_loss(*pair, **arguments, landmarks=121).view(2, 132)  # the last of h is among them
    assert losses[0].isnan().sum() == count
    assert losses[1].isfinite().all()


@pytest.mark.parametrize("precision", tiles.PRECISIONS)
def test_landmarks_are_numbers_that_the_products_take_as_they_are(precision: str) -> None:
    rows, constants = prepared(*ramp(1, 12, 12), Spec(patch_size=4, landmarks=9), precision)
    low_bits = far.chosen(rows, constants).view(torch.int32) & 0x1FFF
    assert bool(low_bits.any()) == (precision in ("ieee", "tf32x3"))


def test_small_groups_are_computed_exactly() -> None:
    sr, hr = ramp(1, 7, 18)
    arguments = {"patch_size": 4, "threshold": 24.0, "backend": "triton"}
    assert torch.equal(dec_loss(sr, hr, **arguments, landmarks=9), dec_loss(sr, hr, **arguments))


def test_there_are_never_many_blocks() -> None:
    operand = layout.Operand.of(192, "bf16", tiles.INTERPRETER)
    for m, block in ((128, 32), (32768, 32), (32769, 64), (65536, 64), (262144, 256), (10**6, 1024)):
        size = layout.Size(1, m, m, 192, operand, 128)
        assert size.block == block
        assert (size.blocks - 1) * block < m <= size.blocks * block


def test_groups_with_landmarks_fill_a_tile_of_the_plain_kernels() -> None:
    table = [*tiles.TABLE.values(), tiles.INTERPRETED]
    assert all(max(chosen.forward.columns, chosen.backward.columns) <= layout.FEWEST_COLUMNS for chosen in table)
    assert all(tile.columns <= layout.FEWEST_COLUMNS for tile in tune.PLAIN)
