"""The loss by landmarks: against its own formula as dense tensors, and against the exact loss."""

import functools
import math

import pytest
import torch
from torch import Tensor

from benchmarks import workload
from dec_kernels import DECLoss, dec_loss, landmarks, reference
from dec_kernels.backends import BACKENDS, cpp
from dec_kernels.distributed import ALONE
from dec_kernels.op import row_losses, row_losses_backward
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.oracle import Result, error, evaluate, images, threshold, truth

ETA = threshold("l2", 3, 4)
SHAPE = (3, 3, 29, 37, 4)  # 3 images of 7 x 9 patches, and a remainder


def similar_pairs(z: Tensor, h: Tensor, count: int, tau: float) -> tuple[Tensor, Tensor]:
    """Nyström's exp(S / tau) and exp(A / tau) of sorted rows (n, D), dense."""

    def evenly(count: int) -> Tensor:
        return torch.stack([(z, h)[t % 2][(2 * t + 1) * len(z) // (2 * count)] for t in range(count)])

    chosen, sample = evenly(count - 1), evenly(min(16 * (count - 1), 2 * len(z)))
    sample = sample[sample.any(1)]
    nearest = torch.cdist(sample, chosen).argmin(1)
    chosen = torch.stack(
        [sample[nearest == k].mean(0) if (nearest == k).any() else chosen[k] for k in range(count - 1)]
    )
    chosen = torch.cat([chosen, torch.zeros_like(z[:1])])
    values, vectors = torch.linalg.eigh((chosen @ chosen.T / tau).exp())
    values = torch.where(values > 1e-6 * values[-1], values, math.inf)
    inverse = (vectors / values) @ vectors.T
    of_z, of_h = (z @ chosen.T / tau).exp(), (h @ chosen.T / tau).exp()
    return of_z @ inverse @ of_z.T, of_h @ inverse @ of_z.T


def approximated(sr: Tensor, hr: Tensor, spec: Spec) -> Result:
    """The mean loss and its gradient: the exact equations, with Nyström's kernel for every negative pair."""
    p = reference.patch_rows(hr.double(), spec.patch_size)
    q = reference.patch_rows(sr.double(), spec.patch_size).requires_grad_()
    means = torch.nn.functional.avg_pool2d(hr, spec.patch_size).mean(1).flatten(1)  # in the order of ties, too
    if spec.scope == "batch":
        p, q_rows, means = p.flatten(0, 1)[None], q.flatten(0, 1)[None], means.flatten()[None]
    else:
        q_rows = q
    terms = []
    gradient = torch.zeros_like(q_rows)
    n = q_rows.shape[0] * q_rows.shape[1]
    inside = spec.temperature == "inside"
    tau, inner = (spec.t_neg, spec.t_pos) if inside else (1.0, 1.0)
    for g in range(len(p)):
        order = means[g].sort(stable=True).indices
        p_g, q_g = p[g, order], q_rows[g, order].detach()
        z, h = torch.nn.functional.normalize(q_g), torch.nn.functional.normalize(p_g)
        m = reference.positives(p_g, spec.radius(p_g.shape[1]))
        s_near, a_near = (z @ z.T / inner).exp(), (h @ z.T / inner).exp()
        s_far, a_far = similar_pairs(z, h, spec.landmarks, tau)
        t_pos, t_neg = (1.0, 1.0) if inside else (spec.t_pos, spec.t_neg)
        qpos = (m * (s_near + 2 * a_near)).sum(1) / t_pos
        qneg = (~m * (s_far + 2 * a_far)).sum(1) / t_neg
        complete = (~m).any(1)
        terms.append(torch.where(complete, (qneg / qpos).log(), 0))
        alpha = torch.where(complete, -1 / qpos, 0) / n / spec.t_pos
        beta = torch.where(complete, 1 / qneg, 0) / n / spec.t_neg
        w = torch.where(m, alpha[:, None], beta[:, None])
        s, a = torch.where(m, s_near, s_far), torch.where(m, a_near, a_far)
        dz = ((w + w.T) * s) @ z + 2 * (w * a).T @ h
        norm = q_g.norm(dim=1, keepdim=True)
        dq = torch.where(norm == 0, 0, (dz - (dz * z).sum(1, keepdim=True) * z) / torch.where(norm == 0, 1, norm))
        gradient[g, order] = dq
    rows = gradient.view(sr.shape[0], -1, gradient.shape[-1])
    height, width = (spec.patch_size * (side // spec.patch_size) for side in sr.shape[2:])
    covered = torch.nn.functional.fold(rows.mT, (height, width), spec.patch_size, stride=spec.patch_size)
    whole = torch.nn.functional.pad(covered, (0, sr.shape[3] - width, 0, sr.shape[2] - height))
    return Result(torch.cat(terms).mean(), whole)


@functools.cache
def photographs(n: int) -> tuple[Tensor, Tensor]:
    return workload.images(n, 8)


@pytest.mark.parametrize("count", [2, 9, 40])
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_in_float64_it_is_the_formula(
    float64_backend: str, distance: str, temperature: str, scope: str, count: int
) -> None:
    sr, hr = images(*SHAPE, torch.float64)
    hr[0, :, :8, :4], sr[1, :, :4, :12], sr[2, :, 4:8] = 0, 0, 0
    eta = threshold(distance, 3, 4)
    spec = Spec(
        patch_size=4, threshold=eta, t_pos=0.4, t_neg=1.3, distance=distance, temperature=temperature, scope=scope,
        landmarks=count,
    )  # fmt: skip
    expected = approximated(sr, hr, spec)
    found = evaluate(sr, hr, **vars(spec) | {"backend": float64_backend})
    assert error(found.loss, expected.loss) < 1e-9
    # With few landmarks the kernel is wrong by much; the formula is the same.
    assert error(found.gradient, expected.gradient) < 1e-8


@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_on_photographs_it_is_near_the_exact_loss(compiled: str, distance: str, temperature: str) -> None:
    sr, hr = photographs(1024)
    arguments = {"distance": distance, "temperature": temperature}
    exact = evaluate(sr.double(), hr.double(), backend="cpp", **arguments)
    found = evaluate(sr, hr, backend=compiled, precision="ieee", landmarks=128, **arguments)
    assert error(found.loss, exact.loss) < 1e-5
    assert error(found.gradient, exact.gradient) < 3e-4


def test_more_landmarks_are_nearer(compiled: str) -> None:
    sr, hr = photographs(1024)
    exact = evaluate(sr.double(), hr.double(), backend="cpp")
    errors = [
        error(evaluate(sr, hr, backend=compiled, precision="ieee", landmarks=count).gradient, exact.gradient)
        for count in (4, 16, 64, 256)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


@pytest.mark.parametrize("count", [2 * 189, 2**16])
def test_as_many_landmarks_as_patches_mean_the_exact_loss(backend: str, count: int) -> None:
    sr, hr = images(*SHAPE, torch.float32)
    exact = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    found = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend, landmarks=count)
    assert torch.equal(found.loss, exact.loss)
    assert torch.equal(found.gradient, exact.gradient)


@pytest.mark.parametrize("count", [1, 5, 13])
def test_rows_that_repeat(float64_backend: str, count: int) -> None:
    """Two kinds of patches: K has a rank of at most 3, and the features are exact if each kind is a landmark."""
    kinds = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hr = kinds[torch.arange(24) % 2].view(4, 6, 3, 4, 4).permute(2, 0, 3, 1, 4).reshape(1, 3, 16, 24)
    sr = hr.flip(1)
    exact = evaluate(sr, hr, patch_size=4)
    found = evaluate(sr, hr, patch_size=4, landmarks=count, backend=float64_backend)
    if count > 2:
        assert error(found.loss, exact.loss) < 1e-9
        assert error(found.gradient, exact.gradient) < 1e-6
    assert found.loss.isfinite()
    assert found.gradient.isfinite().all()


def test_a_row_without_negatives_beside_others_that_have_some(float64_backend: str) -> None:
    """It has nothing of the gradient by features: its positives' alone is left."""
    hr = torch.full((1, 3, 4, 12), 0.5, dtype=torch.float64)
    hr[..., :4] -= 2e-3
    hr[..., 8:] += 2e-3
    sr = torch.rand(1, 3, 4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    constants = Spec(patch_size=4).constants(48, "ieee", 3)
    module = BACKENDS[float64_backend]
    rows = module.prepare(Batch.alone(sr, hr), 4, False, constants, torch.float64)
    qneg = module.forward(rows, constants)[1]
    assert (qneg == 0).tolist() == [False, True, False]
    dz = torch.full_like(rows.z, 1e9)
    ones = torch.ones_like(rows.z_scale)
    module.near_gradients_(dz, rows, constants, ones, ones)
    assert (dz[0].abs().amax(1) > 1e8).tolist() == [True, False, True]


@pytest.mark.parametrize("count", [5, 20])
def test_sums_that_rounding_would_make_negative_stay_positive(compiled: str, count: int) -> None:
    """exp(1 / t) of a patch and itself, which is taken off, is 21 orders above exp(0 / t) of all the others."""
    patches = torch.eye(48)[: 3 * 4].view(3, 4, 3, 4, 4)  # no two are similar
    hr = patches.permute(2, 0, 3, 1, 4).reshape(1, 3, 12, 16)
    arguments = {"patch_size": 4, "temperature": "inside", "t_neg": 0.02, "landmarks": count}
    found = evaluate(0.5 * hr, hr, backend=compiled, **arguments)
    assert found.loss.isfinite()
    assert found.gradient.isfinite().all()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_rows_without_negatives_are_exactly_zero(backend: str, value: float, count: int) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    found = evaluate(sr, torch.full_like(hr, value), patch_size=4, backend=backend, landmarks=count)
    assert found.loss == 0
    assert not found.gradient.any()


def test_one_negative_among_many_positives(compiled: str) -> None:
    """What is taken off is nearly all: Qneg stays positive, and near to the exact one."""
    sr, hr = images(2, 3, 64, 64, 4, torch.float32)
    hr = 0.5 + 1e-4 * hr
    hr[0, :, :4, :4] = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    exact = evaluate(sr.double(), hr.double(), patch_size=4, backend="cpp")
    found = evaluate(sr, hr, patch_size=4, backend=compiled, landmarks=32)
    assert error(found.loss, exact.loss) < 1e-3
    assert error(found.gradient, exact.gradient) < 1e-2


def test_a_patch_of_norm_zero_has_no_similarity_and_no_gradient(backend: str) -> None:
    sr, hr = images(2, 3, 24, 24, 4, torch.float32)
    sr[0, :, :4, :4] = 0
    hr[1, :, 4:8, :4] = 0
    found = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend, landmarks=60)
    exact = truth(sr, hr, Spec(patch_size=4, threshold=ETA))
    assert not found.gradient[0, :, :4, :4].any()
    assert error(found.loss, exact.loss) < 1e-3
    assert error(found.gradient, exact.gradient) < 2e-2


@pytest.mark.parametrize("which", ["sr", "hr"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 5])  # a patch that is a landmark, and one that is not
def test_nan_and_infinity_show(backend: str, which: str, bad: float, place: int) -> None:
    sr, hr = images(2, 3, 24, 24, 4, torch.float32)
    {"sr": sr, "hr": hr}[which][0, 0, 4 * place, 0] = bad
    assert dec_loss(sr, hr, 4, backend=backend, landmarks=8).isnan()


def test_the_same_bits_again(compiled: str) -> None:
    sr, hr = photographs(512)
    first = evaluate(sr, hr, backend=compiled, landmarks=64)
    for _ in range(50):
        again = evaluate(sr, hr, backend=compiled, landmarks=64)
        assert torch.equal(again.loss, first.loss)
        assert torch.equal(again.gradient, first.gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_layouts_and_autocast(compiled: str, dtype: torch.dtype) -> None:
    sr, hr = (x.to(dtype).contiguous(memory_format=torch.channels_last) for x in photographs(256))
    exact = evaluate(sr.double(), hr.double(), backend="cpp")
    found = evaluate(sr, hr, backend=compiled, landmarks=128)
    assert found.gradient.dtype == dtype
    assert found.gradient.is_contiguous(memory_format=torch.channels_last)
    assert found.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert error(found.loss, exact.loss) < 1e-4
    assert error(found.gradient, exact.gradient) < (1e-2 if dtype in (torch.float16, torch.bfloat16) else 1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        cast = evaluate(sr, hr, backend=compiled, landmarks=128)
    assert error(cast.loss, exact.loss) < 1e-3
    assert error(cast.gradient, exact.gradient) < 1e-2


@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck(backend: str, per_image: bool) -> None:
    dtype = torch.float64 if backend == "reference" else torch.float32
    sr, hr = images(2, 3, 13, 16, 4, torch.float32)
    arguments = (ALONE, 4, per_image, 0.3, 0.5, 1.5, False, "ieee", 5, 0.4, True, backend, dtype)
    torch.library.opcheck(row_losses, (sr.requires_grad_(), sr.detach(), hr, *arguments))
    sr = sr.detach()
    *_, kept = row_losses(sr, sr, hr, *arguments)
    columns = (None, None) if backend == "triton" else (sr, hr)
    torch.library.opcheck(row_losses_backward, (torch.rand(2, 24), sr, kept, *columns, *arguments))


def test_what_is_kept_holds_nothing_by_chance(compiled: str) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    hr = hr[:1, :, :4, :4].repeat(2, 1, 3, 4)  # few features
    torch.use_deterministic_algorithms(True)  # fills memory that nothing was written to
    try:
        *_, kept = row_losses(
            sr, sr, hr, ALONE, 4, False, 0.3, 0.5, 1.5, False, "ieee", 40, 0.0, False, compiled, torch.float32
        )
    finally:
        torch.use_deterministic_algorithms(False)
    number = int(kept[:8].view(torch.int64))
    assert number < 40
    assert not kept[16 + 2 * 24 * number * 4 :].any()


def test_compiled_and_exported_equal_eager(compiled: str) -> None:
    torch.compiler.reset()
    sr, hr = images(*SHAPE, torch.float32)
    criterion = DECLoss(4, ETA, backend=compiled, landmarks=20, reduction="none")

    def step(sr: Tensor) -> Tensor:
        return criterion(2 * sr, hr).sum()

    results = []
    for function in (step, torch.compile(step, fullgraph=True)):
        leaf = sr.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(*(loss for loss, _ in results), rtol=1e-6, atol=0)  # the compiler sums in its own order
    assert torch.equal(results[0][1], results[1][1])
    exported = torch.export.export(criterion, (sr, hr)).module()
    assert torch.equal(exported(sr, hr), criterion(sr, hr))


def test_second_derivatives_are_refused(compiled: str) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    loss = dec_loss(sr.requires_grad_(), hr, 4, backend=compiled, landmarks=5)
    (gradient,) = torch.autograd.grad(loss, sr, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        gradient.square().sum().backward()


def test_reductions_and_weights(compiled: str) -> None:
    sr, hr = images(*SHAPE, torch.float64)
    arguments = {"patch_size": 4, "threshold": ETA, "backend": compiled, "landmarks": 30}
    mean = evaluate(sr, hr, **arguments)
    terms = evaluate(sr, hr, torch.full((189,), 1 / 189, dtype=torch.float64), reduction="none", **arguments)
    assert error(terms.loss.mean(), mean.loss) < 1e-12
    assert error(terms.gradient, mean.gradient) < 1e-12
    doubled = evaluate(sr, hr, loss_weight=2.0, **arguments)
    assert error(doubled.gradient, 2 * mean.gradient) < 1e-12


def test_the_tf32_rounding_is_to_the_nearest() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    rounded = landmarks.round_to_tf32(x)
    assert not (rounded.view(torch.int32) & 0x1FFF).any()
    assert ((rounded - x).abs() <= x.abs() * 2**-11).all()
    assert landmarks.round_to_tf32(torch.tensor([math.nan])).isnan()


def test_cpp_refuses_landmarks_on_a_gpu() -> None:
    if cpp.extension is None:
        pytest.skip("the extension is not built")
    reasons = cpp.BACKEND.reasons(torch.device("cuda"), torch.float32, 192, 128)
    assert any("landmarks" in reason for reason in reasons) or not hasattr(cpp.extension, "forward_cuda")
