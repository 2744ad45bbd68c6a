from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import workload
from dec_kernels import patches, reference
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.oracle import images, threshold


def prepare(sr: torch.Tensor, hr: torch.Tensor, patch_size: int = 4, per_image: bool = False, **spec: object):
    constants = Spec(patch_size=patch_size, **spec).constants(hr.shape[1] * patch_size**2, "ieee")
    return patches.prepare(Batch.alone(sr, hr), patch_size, per_image, constants, hr.dtype), constants


@pytest.mark.parametrize("per_image", [False, True])
def test_rows_are_the_patches_of_the_images_sorted_by_mean(per_image: bool) -> None:
    sr, hr = images(3, 3, 13, 22, 4, torch.float64)
    rows, _ = prepare(sr, hr, per_image=per_image)
    groups = 3 if per_image else 1
    p = reference.patch_rows(hr, 4).reshape(groups, -1, 48)
    q = reference.patch_rows(sr, 4).reshape(groups, -1, 48)
    means = rows.p.mean(-1)
    assert (means.diff(dim=1) >= -1e-15).all()
    for g in range(groups):
        torch.testing.assert_close(rows.p[g], p[g, rows.order[g]], rtol=0, atol=0)
        torch.testing.assert_close(rows.z[g], torch.nn.functional.normalize(q[g, rows.order[g]], dim=1))
    torch.testing.assert_close(rows.h_scale, 1 / rows.p.norm(dim=-1))


def test_sorting_values_back_and_forth() -> None:
    sr, hr = images(3, 1, 12, 20, 4, torch.float32)
    rows, _ = prepare(sr, hr, per_image=True)
    values = torch.arange(90.0).view(2, 45)
    torch.testing.assert_close(rows.unsort(*rows.sort(values)), values)
    for ours, of_all in zip(rows.sort(values), values, strict=True):
        torch.testing.assert_close(ours, of_all.view(3, 15).gather(1, rows.order))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    offset=st.sampled_from([0.0, -0.5, 1e4]),
    distance=st.sampled_from(["l2", "rmse"]),
    eta=st.floats(0, 60),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_every_positive_lies_in_the_band(
    seed: int, offset: float, distance: str, eta: float, dtype: torch.dtype
) -> None:
    sr, hr = images(2, 3, 20, 24, 4, dtype, seed)
    rows, constants = prepare(sr, hr + offset, threshold=eta, distance=distance)
    positives = reference.positives(rows.p.double(), constants.radius)
    j = torch.arange(rows.p.shape[1])
    in_band = (rows.first[..., None] <= j) & (j < rows.last[..., None])
    assert not (positives & ~in_band).any()


@pytest.mark.parametrize(("distance", "share"), [("l2", 0.02), ("rmse", 0.08)])
def test_the_band_is_narrow_on_photographs(distance: str, share: float) -> None:
    sr, hr = workload.images(8192, 8)
    rows, _ = prepare(sr, hr, 8, distance=distance)
    assert (rows.last - rows.first).float().mean() / 8192 < share


def test_all_means_equal_puts_every_column_in_the_band() -> None:
    sr = hr = torch.full((1, 1, 16, 16), 0.5)
    rows, _ = prepare(sr, hr)
    assert (rows.first == 0).all()
    assert (rows.last == 16).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_patch_leaves_the_band_of_the_others_complete(value: float) -> None:
    sr, hr = images(2, 3, 20, 24, 4, torch.float32)
    hr[0, 0, 0, 0] = value
    rows, constants = prepare(sr, hr, threshold=threshold("l2", 3, 4))
    good = rows.p.isfinite().all(-1)[0]
    positives = reference.positives(rows.p.double(), constants.radius)[0]
    j = torch.arange(rows.p.shape[1])
    in_band = (rows.first[0, :, None] <= j) & (j < rows.last[0, :, None])
    assert not (positives & ~in_band)[good][:, good].any()


def noise(size: int) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def smooth(size: int) -> Tensor:
    """Patches that differ in little else than the sketch holds: there the bound is tight."""
    slope = torch.linspace(0, 1, size, dtype=torch.float64)
    return (slope[:, None] + slope**2).expand(1, 3, -1, -1) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("patch_size", [1, 4, 8])
@pytest.mark.parametrize("pixels", [noise, smooth])
def test_sketches_are_no_farther_apart_than_patches(
    pixels: Callable[[int], Tensor], patch_size: int, scale: float, dtype: torch.dtype
) -> None:
    hr = (scale * pixels(patch_size * 12)).to(dtype)
    hr[..., -2 * patch_size :] = hr[..., : 2 * patch_size]  # equal patches, far from each other in memory
    radius = 0.01 * scale
    constants = Spec(patch_size=patch_size).constants(3 * patch_size**2, "ieee")._replace(radius=radius)
    rows = patches.prepare(Batch.alone(hr, hr), patch_size, False, constants, dtype)

    def distances(x: Tensor) -> Tensor:
        return torch.cdist(x[0].double(), x[0].double(), compute_mode="donot_use_mm_for_euclid_dist")

    bound, true = distances(rows.sketch), distances(rows.p)
    margin = rows.reach.item() - radius
    assert margin < 1e-4 * radius + 1e-4 * scale
    assert (bound - true).max() <= margin
    if pixels is smooth:
        assert (bound >= 0.9 * true).double().mean() > 0.9


def test_norms_at_the_ends_of_float32() -> None:
    sr = torch.rand(1, 1, 4, 16) + 0.1
    scale = torch.tensor([1e-30, 1.0, 1e30, 0.0]).repeat_interleave(4)
    rows, _ = prepare(sr * scale, sr * scale)
    assert rows.z.isfinite().all()
    norms = rows.z.double().norm(dim=-1).sort().values
    torch.testing.assert_close(norms, torch.tensor([[0.0, 1, 1, 1]], dtype=torch.float64), atol=1e-6, rtol=0)
    h = (rows.p.double() * rows.h_scale[..., None].double()).norm(dim=-1).sort().values
    torch.testing.assert_close(h, torch.tensor([[0.0, 1, 1, 1]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_sr_whose_norms_float32_holds_with_few_bits_gets_unit_rows() -> None:
    rows, _ = prepare(1e-42 * torch.rand(1, 1, 4, 16), torch.rand(1, 1, 4, 16))
    torch.testing.assert_close(rows.z.double().norm(dim=-1), torch.ones(1, 4).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_way_back_is_the_gradient_of_the_way_in(memory_format: torch.memory_format) -> None:
    sr, hr = images(2, 3, 13, 22, 4, torch.float64)
    sr = sr.contiguous(memory_format=memory_format)
    rows, constants = prepare(sr, hr)
    dz = torch.randn(rows.z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grad = patches.to_images(rows.project_(dz.clone(), constants), rows.order, sr, 4)

    leaf = sr.clone().requires_grad_()
    q = reference.patch_rows(leaf, 4).reshape(1, -1, 48)[:, rows.order[0]]
    (torch.nn.functional.normalize(q, dim=-1) * dz).sum().backward()
    torch.testing.assert_close(grad, leaf.grad, rtol=1e-12, atol=1e-14)
    assert grad.is_contiguous(memory_format=memory_format)
    assert (grad[:, :, 12:] == 0).all()
    assert (grad[:, :, :, 20:] == 0).all()


def test_a_norm_without_room_shows_as_nan_where_the_values_were_not_looked_at() -> None:
    sr, hr = torch.rand(2, 1, 3, 8, 16, dtype=torch.float64)
    bad = torch.ones(8, 16, dtype=torch.float64)
    for dtype, scale, of_sr, of_hr in (
        (torch.float32, 1e37, False, True),  # float32 SR has norms in float64
        (torch.float64, 1e37, False, False),
        (torch.float64, 1e160, True, True),
    ):
        bad[:, 8:] = scale
        rows, _ = prepare((sr * bad).to(dtype), (hr * bad).to(dtype), 8)
        assert rows.h_scale.isnan().tolist() == [[False, of_hr]]
        assert rows.z.isnan().any(-1).tolist() == [[False, of_sr]]
