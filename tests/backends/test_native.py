"""What `csrc/` does beside the exact walk, held against the PyTorch calls and formulas that say what it means."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from dec_kernels import landmarks, patches
from dec_kernels.backends import cpp, reference
from dec_kernels.patches import Batch, Patches
from dec_kernels.spec import Constants, Spec
from tests.oracle import images, threshold

NATIVE = cpp.BACKEND
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def constants(hr: Tensor, patch_size: int, **spec: object) -> Constants:
    return Spec(patch_size=patch_size, **spec).constants(hr.shape[1] * patch_size**2, "ieee")


def near_problem(
    dtype: torch.dtype,
    patch_size: int = 4,
    per_image: bool = False,
    own: slice = slice(None),
    flat: int = 0,
    **spec: object,
) -> tuple[Patches, Constants, Tensor]:
    """Rows with features, and alpha and beta of their columns; `flat` images have equal patches alone."""
    sr, hr = images(3, 3, 29, 33, patch_size, dtype)
    hr[:flat] = 0.25
    limits = constants(hr, patch_size, **{"threshold": threshold("l2", 3, patch_size)} | spec)
    batch = Batch(sr[own], sr, hr, own.start or 0)
    rows = NATIVE.prepare(batch, patch_size, per_image, limits._replace(landmarks=9 if per_image else 40), dtype)
    weights = torch.rand((2, *rows.h_scale.shape), dtype=dtype, generator=torch.Generator().manual_seed(0)) - 0.5
    return rows, limits, weights


def strided(x: Tensor, how: str) -> Tensor:
    """Images of the same values with other strides."""
    if how == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if how == "sliced":
        return torch.nn.functional.pad(x, (3, 2, 1, 4), value=math.nan)[:, :, 1:-4, 3:-2]
    if how == "transposed":
        return x.mT.contiguous().mT
    if how == "every_second":
        return x.repeat_interleave(2, dim=3)[..., ::2]
    return x.contiguous()


def check(found: Patches, expected: Patches, tolerance: float) -> None:
    """Equal but for rounding: where means are equal but for rounding, columns may have another order."""
    groups, m = found.column_order.shape
    found_at, expected_at = found.column_order.argsort(1), expected.column_order.argsort(1)

    def close(name: str, a: Tensor, b: Tensor, **bounds: float) -> None:
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        torch.testing.assert_close(
            a, b, **{"rtol": tolerance, "atol": 0.0} | bounds, equal_nan=True, msg=lambda m: f"{name}: {m}"
        )

    def patch(columns: Tensor, at: Tensor) -> Tensor:
        return torch.stack([columns[g, at[g]] for g in range(groups)])

    for name in ("z", "p", "x", "h_scale"):
        close(name, patch(getattr(found, name), found_at), patch(getattr(expected, name), expected_at))
    longest = expected.p.nan_to_num(0, 0, 0).norm(dim=-1).max().item()
    close("sketch", patch(found.sketch, found_at), patch(expected.sketch, expected_at), atol=2 * tolerance * longest)
    close("reach", found.reach, expected.reach)
    assert found.column_of_row.dtype == found.order.dtype == found.first.dtype == found.last.dtype == torch.int64
    assert torch.equal(found.column_of_row.diff(), found.column_of_row.diff().clamp(min=1))
    assert torch.equal(found.order.sort().values, expected.order.sort().values)
    batch_order = found.of_rows(found.column_order)
    assert (batch_order - found.order).unique().numel() == 1

    def row(values: Tensor, order: Tensor) -> Tensor:
        return values.gather(1, order.argsort(1))

    close("z_scale", row(found.z_scale, found.order), row(expected.z_scale, expected.order))
    # A mean that rounding moved to the other side of a band's end moves that by one.
    for name in ("first", "last"):
        a, b = row(getattr(found, name), found.order), row(getattr(expected, name), expected.order)
        assert ((a - b).abs() <= max(1, m // 100)).all(), name
    means = patch(found.p, found_at).double().mean(-1)
    sorted_means = means.gather(1, found.column_order)
    finite = sorted_means.isfinite()
    assert (sorted_means.diff() >= -tolerance * sorted_means[finite].abs().max())[finite[:, 1:]].all()


def both(batch: Batch, patch_size: int, per_image: bool, limits: Constants, dtype: torch.dtype) -> tuple[Patches, ...]:
    arguments = (batch, patch_size, per_image, limits, dtype)
    return NATIVE.rows(*arguments), patches.prepare(*arguments)


def tolerance_of(dtype: torch.dtype) -> float:
    return 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("patch_size", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_prepares_what_pytorch_prepares(dtype: torch.dtype, per_image: bool, patch_size: int) -> None:
    sr, hr = images(3, 3, 21, 34, patch_size, dtype, seed=patch_size)
    for computed in (torch.float32, torch.float64):
        found, expected = both(Batch.alone(sr, hr), patch_size, per_image, constants(hr, patch_size), computed)
        check(found, expected, tolerance_of(computed))


@pytest.mark.parametrize("how", ["channels_last", "sliced", "transposed", "every_second"])
@pytest.mark.parametrize("patch_size", [4, 5])
def test_strides_do_not_matter(how: str, patch_size: int) -> None:
    sr, hr = images(2, 3, 22, 33, patch_size, torch.float32)
    limits = constants(hr, patch_size)
    found = NATIVE.rows(Batch.alone(strided(sr, how), strided(hr, how)), patch_size, False, limits, torch.float32)
    expected = NATIVE.rows(Batch.alone(sr, hr), patch_size, False, limits, torch.float32)
    for field in dataclasses.fields(Patches):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        assert a is b or torch.equal(a, b), field.name


@pytest.mark.parametrize("start", [0, 1, 3])
def test_rows_of_one_rank_among_the_columns_of_all(start: int) -> None:
    sr, hr = images(4, 2, 13, 18, 4, torch.float32)
    batch = Batch(sr[start : start + 1].clone(), sr, hr, start)
    found, expected = both(batch, 4, False, constants(hr, 4), torch.float32)
    assert found.z_scale.shape == (1, 12)
    check(found, expected, tolerance_of(torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "scales",
    [
        [0.0, 1.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0],
        [1e-30, 1.0, 1e30, 0.0],
        [1e-42, 1e-44, 1.0, 1.0],
        [1.0, 1e37, 1.0, 1e37],
        [1.0, 1e160, 1e-170, 1.0],
        [1.0, math.nan, 1.0, 1.0],
        [math.inf, 1.0, -math.inf, 1.0],
        [math.inf, math.nan, 1.0, 0.0],
    ],
)
def test_degenerate_patches_are_treated_alike(scales: list[float], dtype: torch.dtype) -> None:
    sr, hr = (
        torch.rand(2, 1, 2, 4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    ).unbind()
    scale = torch.tensor(scales, dtype=torch.float64).repeat_interleave(4)
    sr, hr = (sr * scale).to(dtype), (hr * scale).to(dtype)
    for images_of_z, images_of_p in ((sr, hr), (sr, torch.ones_like(hr)), (torch.ones_like(sr), hr)):
        found, expected = both(Batch.alone(images_of_z, images_of_p), 4, False, constants(hr, 4), dtype)
        check(found, expected, tolerance_of(dtype))


@pytest.mark.parametrize("radius", [0.0, 1e300, math.inf])
def test_bands_at_the_ends_of_the_radius(radius: float) -> None:
    sr, hr = images(1, 3, 20, 20, 4, torch.float32)
    limits = constants(hr, 4)._replace(radius=radius)
    found, expected = both(Batch.alone(sr, hr), 4, False, limits, torch.float32)
    check(found, expected, tolerance_of(torch.float32))


@pytest.mark.parametrize("how", ["contiguous", "channels_last", "sliced", "transposed", "every_second"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("patch_size", [1, 3, 4, 8])
def test_the_way_back(patch_size: int, dtype: torch.dtype, how: str) -> None:
    sr, hr = (strided(x, how) for x in images(2, 3, 24, 37, patch_size, dtype))
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    for per_image in (False, True):
        limits = constants(hr, patch_size, norm_floor=0.4, center=patch_size > 1 and per_image)
        found = NATIVE.rows(Batch.alone(sr, hr), patch_size, per_image, limits, computed)
        expected = Patches(*(getattr(found, field.name) for field in dataclasses.fields(Patches)))
        dz = torch.randn(found.z_scale.shape + found.z.shape[-1:], dtype=computed)
        ours, theirs = found.project_(dz.clone(), limits), expected.project_(dz.clone(), limits)
        tolerance = tolerance_of(computed) * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
        image = NATIVE.to_images(theirs, found.order, sr, patch_size, limits)
        true = patches.to_images(theirs, found.order, sr, patch_size)
        assert (image.dtype, image.stride()) == (true.dtype, true.stride())
        assert torch.equal(image, true)


def test_the_way_back_of_one_rank() -> None:
    sr, hr = images(3, 2, 13, 18, 4, torch.float64)
    own = sr[1:2].clone()
    found, expected = both(Batch(own, sr, hr, 1), 4, False, constants(hr, 4), torch.float64)
    dz = torch.randn(1, 12, 32, dtype=torch.float64)
    limits = constants(hr, 4)
    ours, theirs = found.project_(dz.clone(), limits), expected.project_(dz.clone(), limits)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    image = NATIVE.to_images(ours, found.order, own, 4, limits)
    true = patches.to_images(theirs, expected.order, own, 4)
    torch.testing.assert_close(image, true, rtol=0, atol=1e-14)


def test_preparing_gives_the_same_bits_with_any_number_of_threads() -> None:
    sr, hr = images(4, 3, 128, 128, 8, torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            limits = constants(hr, 8)
            rows = NATIVE.rows(Batch.alone(sr, hr), 8, False, limits, torch.float32)
            image = NATIVE.to_images(rows.project_(rows.p.clone(), limits), rows.order, sr, 8, limits)
            results.append([*(getattr(rows, field.name) for field in dataclasses.fields(Patches)), image])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(a is b or torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def in_float64(rows: Patches) -> Patches:
    values = {field.name: getattr(rows, field.name) for field in dataclasses.fields(Patches)}
    doubles = {name: x.double() for name, x in values.items() if isinstance(x, Tensor) and x.is_floating_point()}
    features = landmarks.Features(rows.features.z.double(), rows.features.h.double(), rows.features.kept)
    return dataclasses.replace(rows, **doubles, features=features)


def check_near(rows: Patches, limits: Constants, weights: Tensor) -> Tensor:
    """Against the dense formula in float64 on the same rows and features; returns the number of positives."""
    dtype = rows.z.dtype
    bound = 1e-12 if dtype == torch.float64 else 2e-6
    true = in_float64(rows)
    found, expected = NATIVE.near_sums(rows, limits), reference.BACKEND.near_sums(true, limits)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=bound, atol=0)
    assert torch.equal(found[2].double(), expected[2])

    dz = torch.randn(rows.z_scale.shape + rows.z.shape[-1:], dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected_dz = dz.double()
    NATIVE.near_gradients_(dz, rows, limits, *weights)
    reference.BACKEND.near_gradients_(expected_dz, true, limits, *weights.double())
    torch.testing.assert_close(dz.double(), expected_dz, rtol=0, atol=bound * expected_dz.abs().max().item())
    return found[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("patch_size", [3, 4, 8])
def test_positives_add_what_the_formula_says(
    dtype: torch.dtype, temperature: str, per_image: bool, patch_size: int
) -> None:
    rows, limits, weights = near_problem(dtype, patch_size, per_image, temperature=temperature)
    positives = check_near(rows, limits, weights)
    assert 1 < positives.mean() < rows.z.shape[1] / 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positives_of_the_rows_of_one_rank(dtype: torch.dtype) -> None:
    rows, limits, weights = near_problem(dtype, own=slice(1, 2))
    check_near(rows, limits, weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_rows_without_negatives_have_no_gradient_by_features(dtype: torch.dtype, temperature: str) -> None:
    rows, limits, weights = near_problem(dtype, 2, per_image=True, flat=2, temperature=temperature)
    positives = check_near(rows, limits, weights)
    assert (positives[:2] == rows.z.shape[1]).all()  # more than a run of them
    assert (positives[2] < rows.z.shape[1]).all()


def test_positives_are_what_the_distance_says_to_the_last_bit() -> None:
    """Patches whose distance is the radius and its neighbours in float64."""
    radius = 0.3
    distances = [math.nextafter(radius, 0), radius, math.nextafter(radius, 1), 0.29999, 0.30001, 0.0]
    hr = torch.zeros(1, 1, 2, 14, dtype=torch.float64)
    hr[0, 0, 0, 2::2] = torch.tensor(distances, dtype=torch.float64)
    limits = constants(hr, 2)._replace(radius=radius, landmarks=3)
    rows = NATIVE.prepare(Batch.alone(torch.rand_like(hr), hr), 2, False, limits, torch.float64)
    _, _, positives = NATIVE.near_sums(rows, limits)
    assert torch.equal(positives, reference.BACKEND.near_sums(rows, limits)[2])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_patch_leaves_the_positives_of_the_others(value: float) -> None:
    sr, hr = images(2, 3, 20, 24, 4, torch.float32)
    broken = hr.clone()
    broken[0, 0, 0, 0] = value
    limits = constants(hr, 4, threshold=threshold("l2", 3, 4))
    rows = NATIVE.rows(Batch.alone(sr, broken), 4, False, limits, torch.float32)
    ones = torch.ones(1, 60, 1)
    rows = dataclasses.replace(rows, features=landmarks.Features(ones, ones, ones))
    good = rows.p.isfinite().all(-1)
    positives = NATIVE.near_sums(rows, limits)[2][good]
    assert torch.equal(positives, reference.BACKEND.near_sums(in_float64(rows), limits)[2].float()[good])
    assert good.sum() == 59
    assert positives.max() > 1


def test_positives_give_the_same_bits_with_any_number_of_threads() -> None:
    rows, limits, weights = near_problem(torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            dz = torch.zeros_like(rows.z)
            NATIVE.near_gradients_(dz, rows, limits, *weights)
            results.append([*NATIVE.near_sums(rows, limits), dz])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
