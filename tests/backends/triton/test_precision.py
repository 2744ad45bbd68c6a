"""What presets, the polynomial and any arguments do to the loss and its gradient, in the interpreter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dec_kernels import dec_loss, patches
from dec_kernels.backends import torch as torch_backend
from dec_kernels.backends import triton
from dec_kernels.backends.triton import tiles
from dec_kernels.spec import Spec
from tests.backends.triton.cases import SMALL, gradient_ramp, prepared
from tests.conftest import on_the_interpreter
from tests.oracle import error, evaluate, images, threshold, truth

pytestmark = on_the_interpreter

EPS = torch.finfo(torch.float32).eps


# Relative errors of the gradient. Operands rounded to TF32 or bfloat16 give about 2.6e-4 and 2.2e-3 on photographs.
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("ieee", 0, 4e-6), ("tf32x3", 0, 4e-6), ("tf32", 1e-6, 5e-4), ("bf16", 1e-5, 4e-3)]
)
def test_the_error_of_each_preset(precision: str, least: float, most: float) -> None:
    sr, hr = images(3, 3, 40, 56, 8, torch.float32)
    spec = Spec(patch_size=8, threshold=threshold("l2", 3, 8))
    true = truth(sr, hr, spec)
    ours = evaluate(sr, hr, **(vars(spec) | {"backend": "triton", "precision": precision}))
    assert least < error(ours.gradient, true.gradient) < most
    assert error(ours.loss, true.loss) < most / 8


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_exponentials_from_a_polynomial(monkeypatch: pytest.MonkeyPatch, precision: str, temperature: str) -> None:
    sr, hr = images(2, 3, 40, 56, 8, torch.float32)
    spec = Spec(patch_size=8, threshold=threshold("l2", 3, 8), temperature=temperature)
    arguments = vars(spec) | {"backend": "triton", "precision": precision, "reduction": "none"}
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    unit = dec_loss(sr, hr, **arguments)
    forward = SMALL[0].forward._replace(polynomial=True)
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0]._replace(forward=forward))
    if temperature == "inside":  # where exponents are as large as 1 / t
        assert torch.equal(dec_loss(sr, hr, **arguments), unit)
        return
    ours = evaluate(sr, hr, torch.full((70,), 1 / 70), **arguments)
    # Of a row's negative sum two thirds at most are off by the polynomial's error.
    assert 1e-6 < (ours.loss - unit).abs().max() < 4.4e-5
    budget = {"tf32": 5e-4, "bf16": 4e-3}[precision]
    assert error(ours.gradient, truth(sr, hr, spec).gradient) < budget


@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_exact_presets_take_no_polynomial(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    sr, hr = gradient_ramp(6, 8, 4)
    arguments = {"patch_size": 4, "threshold": 14.0, "backend": "triton", "precision": precision}
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
    unit = evaluate(sr, hr, **arguments)
    forward = SMALL[0].forward._replace(polynomial=True)
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0]._replace(forward=forward))
    assert torch.equal(evaluate(sr, hr, **arguments).loss, unit.loss)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_shape_and_arguments(data: st.DataObject) -> None:
    draw = data.draw
    patch_size, channels = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    height, width = (draw(st.integers(patch_size, 9 * patch_size)) for _ in "hw")
    distance = draw(st.sampled_from(["l2", "rmse"]))
    spec = Spec(
        patch_size=patch_size,
        threshold=threshold(distance, channels, patch_size) + draw(st.floats(-12, 12)),
        t_pos=draw(st.floats(0.2, 5)),
        t_neg=draw(st.floats(0.2, 5)),
        distance=distance,
        temperature=draw(st.sampled_from(["outside", "inside"])),
        scope=draw(st.sampled_from(["batch", "image"])),
    )
    sr, hr = images(
        draw(st.integers(1, 3)), channels, height, width, patch_size, torch.float32, draw(st.integers(0, 99))
    )
    true = truth(sr, hr, spec)
    # In the interpreter tf32x3 is float32, in larger chunks than ieee has.
    ours = evaluate(sr, hr, **(vars(spec) | {"backend": "triton", "precision": "tf32x3"}))
    torch.testing.assert_close(ours.loss.double(), true.loss, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(
        ours.gradient.double(), true.gradient, rtol=1e-3, atol=1e-6 + 1e-4 * true.gradient.abs().max().item()
    )


def test_the_torch_backend_agrees_on_the_same_rows() -> None:
    sr, hr = images(2, 3, 36, 44, 4, torch.float32)
    constants = Spec(patch_size=4, threshold=threshold("rmse", 3, 4), distance="rmse").constants(48, "tf32x3")
    ours, true = prepared(sr, hr, 4, constants, per_image=True)
    weights = torch.rand(2, true.h_scale.numel(), dtype=torch.float64)
    gradients = (
        triton.BACKEND.backward(ours, constants, weights.float()),
        torch_backend.BACKEND.backward(true, constants, weights),
    )
    gradient = triton.BACKEND.to_images(gradients[0], ours.order, sr, 4, constants)
    assert error(gradient, patches.to_images(gradients[1], true.order, sr.double(), 4)) < 4 * EPS
