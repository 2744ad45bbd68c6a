"""The public face: arguments, inputs, policies. What every backend has to do alike runs on every backend."""

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from dec_kernels import DECLoss, dec_loss
from dec_kernels.spec import Spec
from tests.oracle import error, evaluate, images, threshold, truth

ETA = threshold("l2", 3, 4)


def pair(
    batch: int = 3, height: int = 20, width: int = 28, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    return images(batch, 3, height, width, 4, dtype)


# Arguments


def test_the_paper_s_settings_are_the_defaults() -> None:
    sr, hr = images(2, 3, 64, 64, 8, torch.float64)
    expected = truth(
        sr,
        hr,
        Spec(patch_size=8, threshold=34.0, t_pos=0.5, t_neg=1.5, max_val=1.0, distance="l2", temperature="outside"),
    )
    assert DECLoss()(sr, hr).item() == pytest.approx(expected.loss.item(), rel=1e-12)
    assert dec_loss(sr, hr).item() == pytest.approx(expected.loss.item(), rel=1e-12)


def test_module_and_function_are_one(backend: str) -> None:
    sr, hr = pair()
    arguments = {
        "patch_size": 4, "threshold": ETA, "t_pos": 0.7, "t_neg": 1.2, "max_val": 1.1, "distance": "rmse",
        "temperature": "inside", "scope": "image", "remainder": "error", "loss_weight": 3.0, "reduction": "none",
        "precision": "ieee", "backend": backend, "process_group": None,
    }  # fmt: skip
    module = DECLoss(**arguments)
    assert torch.equal(module(sr, hr), dec_loss(sr, hr, **arguments))
    assert not list(module.parameters())
    assert not module.state_dict()


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(DECLoss()) == "DECLoss(patch_size=8)"
    assert repr(DECLoss(4, distance="rmse")) == "DECLoss(patch_size=4, distance='rmse')"


@pytest.mark.parametrize("scope", ["batch", "image"])
def test_reductions(backend: str, scope: str) -> None:
    sr, hr = pair()
    terms = {r: dec_loss(sr, hr, 4, ETA, scope=scope, reduction=r, backend=backend) for r in ("none", "sum", "mean")}
    assert terms["none"].shape == (3 * 5 * 7,)
    torch.testing.assert_close(terms["none"].sum(), terms["sum"])
    torch.testing.assert_close(terms["none"].mean(), terms["mean"])


@pytest.mark.parametrize("scope", ["batch", "image"])
def test_none_keeps_image_order_and_honours_each_incoming_gradient(float64_backend: str, scope: str) -> None:
    sr, hr = pair(dtype=torch.float64)
    weights = torch.rand(105, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    spec = Spec(patch_size=4, threshold=ETA, scope=scope, reduction="none")
    ours = evaluate(
        sr, hr, weights, patch_size=4, threshold=ETA, scope=scope, reduction="none", backend=float64_backend
    )
    true = truth(sr, hr, spec, weights=weights)
    torch.testing.assert_close(ours.loss, true.loss, rtol=1e-12, atol=1e-14)
    assert error(ours.gradient, true.gradient) < 1e-12


def test_loss_weight_scales_loss_and_gradient() -> None:
    sr, hr = pair()
    one, three = (evaluate(sr, hr, patch_size=4, threshold=ETA, loss_weight=w) for w in (1.0, -3.0))
    torch.testing.assert_close(-3 * one.loss, three.loss)
    torch.testing.assert_close(-3 * one.gradient, three.gradient)


def test_temperatures_outside_add_a_constant_and_never_reach_the_gradient(float64_backend: str) -> None:
    sr, hr = pair(dtype=torch.float64)
    one = evaluate(sr, hr, patch_size=4, threshold=ETA, t_pos=1.0, t_neg=1.0, backend=float64_backend)
    other = evaluate(sr, hr, patch_size=4, threshold=ETA, t_pos=0.1, t_neg=2.5, backend=float64_backend)
    assert (other.loss - one.loss).item() == pytest.approx(math.log(0.1 / 2.5), rel=1e-12)
    torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-9, atol=1e-18)


def test_scope_image_is_each_image_by_itself(backend: str) -> None:
    sr, hr = pair()
    whole = dec_loss(sr, hr, 4, ETA, scope="image", reduction="none", backend=backend)
    each = [dec_loss(sr[b : b + 1], hr[b : b + 1], 4, ETA, reduction="none", backend=backend) for b in range(3)]
    torch.testing.assert_close(whole, torch.cat(each))


def test_remainder_crop_is_the_cropped_image_and_error_refuses(backend: str) -> None:
    sr, hr = pair(2, 23, 29)
    ours = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    cropped = evaluate(sr[:, :, :20, :28], hr[:, :, :20, :28], patch_size=4, threshold=ETA, backend=backend)
    assert torch.equal(ours.loss, cropped.loss)
    assert torch.equal(ours.gradient[:, :, :20, :28], cropped.gradient)
    assert ours.gradient[:, :, 20:].count_nonzero() == ours.gradient[:, :, :, 28:].count_nonzero() == 0
    with pytest.raises(ValueError, match=r"patch_size=4.* 23 x 29"):
        dec_loss(sr, hr, 4, remainder="error")
    dec_loss(sr[:, :, :20, :28], hr[:, :, :20, :28], 4, remainder="error")


def test_arguments_are_attributes_that_can_be_set(backend: str) -> None:
    sr, hr = pair()
    criterion = DECLoss(4, ETA, backend=backend)
    plain = criterion(sr, hr)
    assert criterion.loss_weight == 1.0
    criterion.loss_weight = np.float32(0.5)
    assert criterion.loss_weight == 0.5
    torch.testing.assert_close(criterion(sr, hr), 0.5 * plain)
    changed = {"threshold": 20.0, "distance": "rmse", "scope": "image", "reduction": "none", "t_neg": 1.0}
    for name, value in changed.items():
        setattr(criterion, name, value)
        assert getattr(criterion, name) == value
    expected = dec_loss(sr, hr, 4, backend=backend, loss_weight=0.5, **changed)
    assert torch.equal(criterion(sr, hr), expected)
    with pytest.raises(ValueError, match=r"t_pos .*-1"):
        criterion.t_pos = -1
    with pytest.raises(ValueError, match=r"process_group .*scope='image'"):
        criterion.process_group = "world"
    everywhere = DECLoss(process_group="world")
    assert everywhere.process_group == "world"
    with pytest.raises(ValueError, match=r"process_group .*scope='image'"):
        everywhere.scope = "image"
    assert criterion.t_pos == 0.5
    assert criterion.process_group is None
    assert set(inspect.signature(DECLoss).parameters) <= set(dir(criterion))


def test_a_schedule_of_the_weight_in_a_compiled_step() -> None:
    torch.compiler.reset()
    sr, hr = pair()
    criterion = DECLoss(4, ETA)
    plain = criterion(sr, hr)
    compiled = torch.compile(lambda sr: criterion(sr, hr), fullgraph=True, backend="aot_eager")
    for weight in torch.linspace(0.1, 2, 12):
        criterion.loss_weight = weight
        torch.testing.assert_close(compiled(sr), weight * plain)


def test_numpy_s_numbers_in_a_compiled_step() -> None:
    torch.compiler.reset()
    sr, hr = pair()
    compiled = torch.compile(lambda sr: dec_loss(sr, hr, 4, np.float64(ETA)), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(sr), dec_loss(sr, hr, 4, ETA))


def test_an_argument_cannot_be_set_before_the_module_is_made() -> None:
    class Early(DECLoss):
        def __init__(self) -> None:
            self.loss_weight = 2.0
            super().__init__()

    with pytest.raises(AttributeError, match="loss_weight"):
        Early()


# Precision


def test_auto_precision_follows_torch_s_setting(tiled: str) -> None:
    sr, hr = pair()

    def gradient(precision: str) -> Tensor:
        return evaluate(sr, hr, patch_size=4, threshold=ETA, precision=precision, backend=tiled).gradient

    found = torch.get_float32_matmul_precision()
    try:
        for setting, preset in (("highest", "tf32x3"), ("high", "tf32"), ("medium", "bf16")):
            torch.set_float32_matmul_precision(setting)
            assert torch.equal(gradient("auto"), gradient(preset))
        assert not torch.equal(gradient("auto"), gradient("ieee"))
    finally:
        torch.set_float32_matmul_precision(found)


@pytest.mark.parametrize(("autocast", "preset"), [(torch.bfloat16, "bf16"), (torch.float16, "tf32")])
def test_under_autocast_the_loss_runs_in_float32_with_the_preset_of_its_dtype(
    tiled: str, autocast: torch.dtype, preset: str
) -> None:
    sr, hr = pair(dtype=autocast)
    arguments = {"patch_size": 4, "threshold": ETA, "backend": tiled}
    with torch.autocast("cpu", dtype=autocast):
        ours = evaluate(sr, hr.float(), **arguments)
    plain = evaluate(sr.float(), hr.float(), precision=preset, **arguments)
    assert ours.loss.dtype == torch.float32
    assert torch.equal(ours.loss, plain.loss)
    assert ours.gradient.dtype == autocast
    assert torch.equal(ours.gradient, plain.gradient.to(autocast))


# Inputs


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_result_and_gradient_dtypes(backend: str, dtype: torch.dtype) -> None:
    if backend == "triton" and dtype == torch.float64:
        with pytest.raises(RuntimeError, match=r"triton: .*float64"):
            dec_loss(*pair(dtype=dtype), 4, ETA, backend=backend)
        return
    ours = evaluate(*pair(dtype=dtype), patch_size=4, threshold=ETA, backend=backend)
    assert ours.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert ours.gradient.dtype == dtype


def test_channels_last_gives_a_channels_last_gradient(backend: str) -> None:
    sr, hr = pair()
    plain = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    sr, hr = (x.contiguous(memory_format=torch.channels_last) for x in (sr, hr))
    ours = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    assert ours.gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.gradient, plain.gradient, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.flip(3).flip(3),
        lambda x: torch.stack([x, -x], dim=-1)[..., 0],
        lambda x: torch.nn.functional.pad(x, (3, 2, 1, 5))[:, :, 1:-5, 3:-2],
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x[:, :1].expand(-1, 3, -1, -1),
    ],
)
def test_any_strides(backend: str, view: Callable[[Tensor], Tensor]) -> None:
    sr, hr = (view(x) for x in pair())
    ours = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    plain = evaluate(sr.contiguous(), hr.contiguous(), patch_size=4, threshold=ETA, backend=backend)
    torch.testing.assert_close(ours.loss, plain.loss)
    torch.testing.assert_close(ours.gradient, plain.gradient, rtol=1e-5, atol=1e-10)


def test_the_inputs_stay_as_they_are(backend: str) -> None:
    sr, hr = pair()
    before = sr.clone(), hr.clone()
    evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    assert torch.equal(sr, before[0])
    assert torch.equal(hr, before[1])


IMAGES = torch.rand(2, 3, 16, 16)


@pytest.mark.parametrize(
    ("sr", "hr", "kind", "message"),
    [
        (IMAGES, IMAGES[:1], ValueError, r"shape.*sr \(2, 3, 16, 16\).*hr \(1, 3, 16, 16\)"),
        (IMAGES, IMAGES[..., 1:], ValueError, "same shape"),
        (IMAGES, IMAGES.double(), TypeError, "dtype.*sr torch.float32.*hr torch.float64"),
        (IMAGES[0], IMAGES[0], ValueError, r"^sr must be \(B, C, H, W\), got 3 dimensions: \(3, 16, 16\)$"),
        (IMAGES, IMAGES[0], ValueError, r"^hr .*\(3, 16, 16\)"),
        (IMAGES[..., :7], IMAGES[..., :7], ValueError, "patch_size=8 does not fit into images of 16 x 7"),
        (IMAGES[:0], IMAGES[:0], ValueError, r"\(0, 3, 16, 16\)"),
        (IMAGES[:, :0], IMAGES[:, :0], ValueError, "at least one image with one channel"),
        (IMAGES.byte(), IMAGES, TypeError, "^sr .*torch.uint8.*sr.float"),
        (IMAGES, IMAGES.long(), TypeError, "^hr .*torch.int64"),
        (IMAGES, IMAGES + 0j, TypeError, "^hr .*torch.complex64"),
        (IMAGES, IMAGES.to(torch.float8_e4m3fn), TypeError, "^hr .*torch.float8_e4m3fn"),
        (IMAGES.to("meta"), IMAGES.to("meta"), TypeError, "meta"),
        (IMAGES.to_sparse(), IMAGES, TypeError, "^sr .*sparse_coo"),
        (IMAGES, IMAGES.to_mkldnn(), TypeError, "^hr .*mkldnn"),
        (torch.nested.nested_tensor(list(IMAGES)), IMAGES, TypeError, "^sr .*nested"),
        (torch.nested.nested_tensor(list(IMAGES), layout=torch.jagged), IMAGES, TypeError, "^sr .*nested"),
        (torch.quantize_per_tensor(IMAGES, 0.1, 0, torch.quint8), IMAGES, TypeError, "^sr .*quantized"),
        (IMAGES.numpy(), IMAGES, TypeError, "^sr .*ndarray"),
        (IMAGES, None, TypeError, "^hr .*NoneType"),
        (IMAGES, IMAGES.to("meta"), ValueError, "device.*sr on cpu.*hr on meta"),
        (IMAGES, IMAGES.clone().requires_grad_(), ValueError, r"hr is the target.*hr.detach\(\)"),
    ],
)  # fmt: skip
def test_bad_images_are_refused_by_name_with_what_came(sr, hr, kind, message) -> None:
    with pytest.raises(kind, match=message):
        DECLoss()(sr, hr)


def test_a_target_made_in_inference_mode(backend: str) -> None:
    sr, hr = pair()
    with torch.inference_mode():
        target = hr.clone()
    plain = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    ours = evaluate(sr, target, patch_size=4, threshold=ETA, backend=backend)
    assert torch.equal(ours.loss, plain.loss)
    assert torch.equal(ours.gradient, plain.gradient)
    with torch.autocast("cpu", torch.bfloat16):
        evaluate(sr, target, patch_size=4, threshold=ETA, backend=backend)
    dec_loss(sr, target, 4, backend=backend)


@pytest.mark.parametrize("which", ["sr", "hr"])
def test_forward_mode_derivatives_are_refused(which: str) -> None:
    inputs = dict(zip(("sr", "hr"), pair(), strict=True))
    tangent = torch.ones_like(inputs[which])

    def of(x: Tensor) -> Tensor:
        return dec_loss(**inputs | {which: x}, patch_size=4)

    with pytest.raises(NotImplementedError, match=f"forward-mode.*{which}"):
        torch.func.jvp(of, (inputs[which],), (tangent,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        of(forward_ad.make_dual(inputs[which], tangent))


def test_batching_by_vmap_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.vmap(lambda sr, hr: dec_loss(sr[None], hr[None], 4))(*pair())


def test_gradients_for_several_incoming_ones_at_once(compiled: str) -> None:
    sr, hr = pair(1)
    terms = dec_loss(sr.requires_grad_(), hr, 4, ETA, reduction="none", backend=compiled)
    incoming = torch.eye(len(terms))[:3]
    each = [torch.autograd.grad(terms, sr, weights, retain_graph=True)[0] for weights in incoming]
    (batched,) = torch.autograd.grad(terms, sr, incoming, is_grads_batched=True)
    assert torch.equal(batched, torch.stack(each))


# Policies


def test_a_patch_of_norm_zero_has_no_similarity_and_no_gradient(backend: str) -> None:
    sr, hr = pair()
    sr[0, :, :8, :12] = 0
    hr[1, :, 4:8] = 0
    hr[0, :, :4, :4] = 0  # black in both
    ours = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    true = truth(sr, hr, Spec(patch_size=4, threshold=ETA))
    assert ours.gradient.isfinite().all()
    assert (ours.gradient[0, :, :8, :12] == 0).all()
    assert error(ours.loss, true.loss) < 1e-6
    assert error(ours.gradient, true.gradient) < 1e-5


def test_rows_without_negatives_contribute_zero_and_the_mean_stays_over_n(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hr = torch.cat([torch.full((1, 3, 16, 16), 0.5), torch.rand(1, 3, 16, 16, generator=generator)])
    sr = torch.rand(2, 3, 16, 16, generator=generator)
    ours = evaluate(sr, hr, patch_size=4, scope="image", backend=backend)
    alone = evaluate(sr[1:], hr[1:], patch_size=4, backend=backend)
    assert (ours.gradient[0] == 0).all()
    torch.testing.assert_close(ours.loss, alone.loss / 2)
    torch.testing.assert_close(ours.gradient[1:], alone.gradient / 2)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 1, 32, 32)])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_nothing_to_contrast_is_zero(backend: str, shape: tuple[int, ...], value: float) -> None:
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        ours = evaluate(torch.rand(shape), torch.full(shape, value), backend=backend)
    assert ours.loss == 0
    assert (ours.gradient == 0).all()


def test_a_patch_is_its_own_positive_at_any_threshold(backend: str) -> None:
    sr, hr = pair()
    for eta in (150.0, 1000.0, 10000.0):
        terms = dec_loss(sr, hr, 4, eta, reduction="none", backend=backend)
        assert terms.isfinite().all()
        assert terms.count_nonzero() == len(terms)


def test_duplicates_are_positives_at_any_threshold(backend: str) -> None:
    sr, hr = pair(1)
    sr, hr = sr.repeat(2, 1, 1, 1), hr.repeat(2, 1, 1, 1)
    ours = dec_loss(sr, hr, 4, 300.0, backend=backend)
    assert error(ours, truth(sr, hr, Spec(patch_size=4, threshold=300.0)).loss) < 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["sr", "hr"])
@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 3, 4, 8), (2, 3, 12, 12)])
def test_nan_and_infinity_show(backend: str, shape: tuple[int, ...], which: str, bad: float) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {"sr": torch.rand(shape, generator=generator), "hr": torch.rand(shape, generator=generator)}
    inputs[which][0, 1, 2, 3] = bad
    for temperature in ("outside", "inside"):
        ours = evaluate(**inputs, patch_size=4, temperature=temperature, backend=backend)
        assert ours.loss.isnan()


def test_a_bad_hr_patch_leaves_the_terms_of_the_others(backend: str) -> None:
    sr, hr = pair()
    broken = hr.clone()
    broken[0, 0, 0, 0] = math.nan
    terms = dec_loss(sr, broken, 4, ETA, reduction="none", backend=backend)
    assert terms[0].isnan()
    assert terms[1:].isfinite().all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30, 3e38])
def test_sr_may_have_any_scale(backend: str, scale: float) -> None:
    sr, hr = pair()
    ours = evaluate(sr * scale, hr, patch_size=4, threshold=ETA, backend=backend)
    plain = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend)
    torch.testing.assert_close(ours.loss, plain.loss)
    if scale < 1e38:  # where the gradient itself is too small for float32
        assert error(ours.gradient.double() * scale, plain.gradient) < 1e-5


@pytest.mark.parametrize(
    ("scale", "max_val"), [(1e-30, 1e-30), (1e12, 1.0), (1e19, 1e19), (1e25, 1e25), (1e30, 1.0), (9e33, 9e33)]
)
def test_hr_may_have_any_scale_with_max_val_or_far_from_it(backend: str, scale: float, max_val: float) -> None:
    sr, hr = pair()
    ours = evaluate(sr, hr * scale, patch_size=4, threshold=ETA, max_val=max_val, backend=backend)
    true = truth(sr, hr * scale, Spec(patch_size=4, threshold=ETA, max_val=max_val))
    assert error(ours.loss, true.loss) < 1e-5
    assert error(ours.gradient, true.gradient) < 1e-5


def test_hr_at_the_end_of_float32_s_range_is_refused(backend: str) -> None:
    sr, hr = pair()
    with pytest.raises(ValueError, match=r"hr .*1e\+38.*1e\+34"):
        dec_loss(sr, hr * 1e38, 4, backend=backend)


def test_float64_images_may_go_beyond_float32_s_range(float64_backend: str) -> None:
    sr, hr = pair(dtype=torch.float64)
    plain = dec_loss(sr, hr, 4, 1000.0, backend=float64_backend)
    torch.testing.assert_close(dec_loss(1e100 * sr, 1e100 * hr, 4, 1000.0, backend=float64_backend), plain)
    for scales, name in (((1e160, 1), "sr"), ((1, 1e160), "hr")):
        with pytest.raises(ValueError, match=rf"{name} .*\S+e\+1\d\d.*1e\+150"):
            dec_loss(scales[0] * sr, scales[1] * hr, 4, backend=float64_backend)


@pytest.mark.parametrize(
    "arguments",
    [
        {"threshold": 8000.0},  # only duplicates are positives
        {"max_val": 1e-300},
        {"threshold": -300.0},  # all are
        {"threshold": -7000.0},
        {"max_val": 1e18, "threshold": 0.0},
        {"max_val": 1e308, "threshold": -7000.0, "distance": "rmse"},
        {"t_pos": 1e-20, "t_neg": 1e20},
        {"t_pos": 1e20, "t_neg": 1e-20},
        {"t_pos": 1e20, "t_neg": 1e20, "temperature": "inside"},
        {"t_pos": 0.02, "t_neg": 1e20, "temperature": "inside"},
        {"t_pos": 1e20, "t_neg": 0.5, "temperature": "inside"},
        {"loss_weight": 1e30},
        {"loss_weight": 1e-30},
    ],
)
def test_numbers_at_the_ends_of_their_ranges(backend: str, arguments: dict) -> None:
    sr, hr = pair()
    arguments = {"threshold": ETA} | arguments
    ours = evaluate(sr, hr, patch_size=4, backend=backend, **arguments)
    true = truth(sr, hr, Spec(patch_size=4, **arguments))
    assert abs(ours.loss.item() - true.loss.item()) <= 1e-5 * abs(true.loss.item())
    assert (ours.gradient.double() - true.gradient.double()).norm() <= 1e-4 * true.gradient.double().norm()


def test_the_coldest_inside_temperature_stays_finite(backend: str) -> None:
    sr, hr = pair()
    arguments = {"temperature": "inside", "t_pos": 0.02, "t_neg": 0.02}
    ours = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=backend, **arguments)
    true = truth(sr, hr, Spec(patch_size=4, threshold=ETA, **arguments))
    # Similarities are off by float32's eps, and exp(x / 0.02) makes 50 of that.
    assert error(ours.loss, true.loss) < 1e-4
    assert error(ours.gradient, true.gradient) < 1e-4


def test_no_gradient_is_asked_where_none_is_needed(backend: str) -> None:
    sr, hr = pair()
    assert not dec_loss(sr, hr, 4, backend=backend).requires_grad
    with torch.no_grad():
        assert not dec_loss(sr.requires_grad_(), hr, 4, backend=backend).requires_grad
    with torch.inference_mode():
        assert dec_loss(sr, hr, 4, backend=backend).isfinite()
