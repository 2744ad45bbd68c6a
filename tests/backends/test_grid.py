"""Every tiled backend against the dense float64 truth, over the whole grid of arguments and inputs.

Tolerances are in units of the plain float32 computation: dense tensors, same images, float32 throughout.
"""

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dec_kernels.backends import cpp
from dec_kernels.spec import Spec
from tests.conftest import on_the_interpreter
from tests.oracle import Result, error, evaluate, images, threshold, truth

# D = C * P * P
DIMENSIONS = {12: (3, 2), 48: (3, 4), 64: (1, 8), 108: (3, 6), 192: (3, 8), 432: (3, 12), 768: (3, 16)}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "sliced": lambda x: torch.nn.functional.pad(x, (3, 2, 1, 5))[:, :, 1:-5, 3:-2],
}


def case(dim: int, distance: str, temperature: str, scope: str) -> Spec:
    channels, patch_size = DIMENSIONS[dim]
    # Temperatures that no binary float holds exactly.
    eta = threshold(distance, channels, patch_size)
    return Spec(
        patch_size=patch_size, threshold=eta, t_pos=0.4, t_neg=1.3, distance=distance, temperature=temperature,
        scope=scope,
    )  # fmt: skip


LARGE = (9, 11)  # with 3 images n = 297 rows, 99 an image: tiles do not come out even
SMALL = (5, 7)


def inputs(dim: int, dtype: torch.dtype, size: tuple[int, int] = LARGE) -> tuple[Tensor, Tensor]:
    """3 images of so many rows and columns of patches, and a remainder."""
    channels, patch_size = DIMENSIONS[dim]
    return images(3, channels, size[0] * patch_size + 1, size[1] * patch_size + 1, patch_size, dtype)


@functools.cache
def expected(dim: int, dtype: torch.dtype, spec: Spec, size: tuple[int, int] = LARGE) -> tuple[Result, float, float]:
    """The truth, and the errors of the plain float32 computation's loss and gradient."""
    sr, hr = inputs(dim, dtype, size)
    true = truth(sr, hr, spec)
    plain = truth(sr, hr, spec, torch.float32)
    return true, error(plain.loss, true.loss), error(plain.gradient, true.gradient)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_against_the_truth(
    compiled: str, dim: int, distance: str, temperature: str, scope: str, dtype: torch.dtype, layout: str
) -> None:
    _compare(compiled, dim, distance, temperature, scope, dtype, layout, LARGE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_cpp_as_with_many_columns(
    dim: int, distance: str, temperature: str, scope: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the backward prepares the rows again, and makes its own products."""
    monkeypatch.setattr(cpp, "FEW", 0)
    _compare("cpp", dim, distance, temperature, scope, dtype, "contiguous", LARGE)


def _compare(
    backend: str,
    dim: int,
    distance: str,
    temperature: str,
    scope: str,
    dtype: torch.dtype,
    layout: str,
    size: tuple[int, int],
    precision: str = "ieee",
) -> None:
    spec = case(dim, distance, temperature, scope)
    true, loss_error, gradient_error = expected(dim, dtype, spec, size)
    sr, hr = (LAYOUTS[layout](x) for x in inputs(dim, dtype, size))
    ours = evaluate(sr, hr, **(vars(spec) | {"backend": backend, "precision": precision}))

    if dtype == torch.float64:
        assert error(ours.loss, true.loss) < 1e-14
        assert error(ours.gradient, true.gradient) < 1e-12
        return
    # float32's own rounding of the result can be larger than a lucky error of the plain loss.
    assert error(ours.loss, true.loss) <= 2 * loss_error + 4 * torch.finfo(torch.float32).eps
    rounding = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps
    smallest = true.gradient.numel() ** 0.5 * torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    rounding += smallest / true.gradient.norm().item()
    assert error(ours.gradient, true.gradient) <= 2 * gradient_error + rounding


ARGUMENTS = list(itertools.product(["l2", "rmse"], ["outside", "inside"], ["batch", "image"]))
# The interpreter takes a second for a case and ten for wide rows, so that not every input meets every argument: each D
# meets four of the eight, every other time the other four, and the two widest one each. There tf32x3 is float32.
INTERPRETED = [
    (dim, *ARGUMENTS[which])
    for i, dim in enumerate(DIMENSIONS)
    for which in (([0, 3, 5, 6], [1, 2, 4, 7])[i % 2] if dim < 432 else [[0], [7]][i % 2])
]


@on_the_interpreter
@pytest.mark.parametrize(("dim", "distance", "temperature", "scope"), INTERPRETED)
def test_triton_against_the_truth(dim: int, distance: str, temperature: str, scope: str) -> None:
    case = (list(DIMENSIONS).index(dim), distance == "l2", temperature == "inside", scope == "image")
    inputs = list(itertools.product(DTYPES[:3], LAYOUTS))
    dtype, layout = inputs[sum(x * y for x, y in zip(case, (1, 2, 4, 5), strict=True)) % len(inputs)]
    _compare("triton", dim, distance, temperature, scope, dtype, layout, SMALL, "tf32x3")


# The budget of bf16 operands: 2^-9 a product, of which some survives the sums over j.
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_the_bf16_preset_keeps_to_its_budget(compiled: str, dim: int, temperature: str, scope: str) -> None:
    spec = case(dim, "l2", temperature, scope)
    true, _, _ = expected(dim, torch.float32, spec)
    ours = evaluate(*inputs(dim, torch.float32), **(vars(spec) | {"backend": compiled, "precision": "bf16"}))
    budget = 2.0**-8 * (1 if temperature == "outside" else 1 / spec.t_pos)
    assert 2.0**-20 < error(ours.gradient, true.gradient) < budget
    assert error(ours.loss, true.loss) < budget / 4


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape_and_arguments(data: st.DataObject) -> None:
    draw = data.draw
    patch_size, channels = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    batch = draw(st.integers(1, 4))
    height, width = (draw(st.integers(patch_size, 9 * patch_size)) for _ in "hw")
    distance = draw(st.sampled_from(["l2", "rmse"]))
    spec = Spec(
        patch_size=patch_size,
        threshold=threshold(distance, channels, patch_size) + draw(st.floats(-12, 12)),
        t_pos=draw(st.floats(0.05, 5)),
        t_neg=draw(st.floats(0.05, 5)),
        distance=distance,
        temperature=draw(st.sampled_from(["outside", "inside"])),
        scope=draw(st.sampled_from(["batch", "image"])),
        loss_weight=draw(st.floats(-3, 3)),
        reduction=draw(st.sampled_from(["mean", "sum"])),
    )
    sr, hr = images(batch, channels, height, width, patch_size, torch.float64, draw(st.integers(0, 99)))
    true = truth(sr, hr, spec)
    for backend in ("reference", "torch", "cpp"):  # in float64; triton/test_precision.py does the same in float32
        ours = evaluate(sr, hr, **(vars(spec) | {"backend": backend}))
        torch.testing.assert_close(ours.loss, true.loss, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(ours.gradient, true.gradient, rtol=1e-8, atol=1e-12)
