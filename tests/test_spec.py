import math
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from dec_kernels import DECLoss
from dec_kernels.spec import NUMBERS, Spec


@pytest.mark.parametrize(
    ("argument", "value", "kind"),
    [
        ("patch_size", 0, ValueError),
        ("patch_size", -8, ValueError),
        ("patch_size", 8.0, TypeError),
        ("patch_size", True, TypeError),
        ("threshold", math.nan, ValueError),
        ("threshold", math.inf, ValueError),
        ("threshold", "34", TypeError),
        ("threshold", np.bool_(True), TypeError),
        ("threshold", np.array([34.0]), TypeError),
        ("threshold", 1j, TypeError),
        ("patch_size", np.float32(8.0), TypeError),
        ("patch_size", torch.tensor(True), TypeError),
        ("patch_size", np.array(8.0), TypeError),
        ("loss_weight", torch.tensor(1.0, requires_grad=True), TypeError),
        ("threshold", 10**400, ValueError),
        ("max_val", Fraction(10**400), ValueError),
        ("t_neg", 1e40, ValueError),
        ("t_pos", 1e-21, ValueError),
        ("loss_weight", -1e31, ValueError),
        ("t_pos", 0.0, ValueError),
        ("t_pos", -1, ValueError),
        ("t_neg", 0, ValueError),
        ("t_neg", None, TypeError),
        ("max_val", 0, ValueError),
        ("max_val", -255, ValueError),
        ("loss_weight", math.nan, ValueError),
        ("distance", "L2", ValueError),
        ("distance", np.array(["l2", "rmse"]), ValueError),
        ("temperature", "in", ValueError),
        ("scope", "patch", ValueError),
        ("remainder", "pad", ValueError),
        ("reduction", "batchmean", ValueError),
        ("precision", "fp32", ValueError),
        ("backend", "cuda", ValueError),
    ],
)
def test_a_bad_constant_is_refused_by_name_with_what_came(argument: str, value: object, kind: type[Exception]) -> None:
    came = repr(value) if isinstance(value, np.ndarray) else "inf" if isinstance(value, Fraction) else str(value)
    with pytest.raises(kind, match=f"^{argument} .*{re.escape(came)}"):
        DECLoss(**{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["t_pos", "t_neg"])
def test_inside_temperatures_below_what_float32_can_hold_are_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} .*0.02.*temperature='inside'.*0.019"):
        Spec(temperature="inside", **{argument: 0.019})  # type: ignore[arg-type]
    Spec(temperature="inside", **{argument: 0.02})  # type: ignore[arg-type]
    Spec(temperature="outside", **{argument: 0.019})  # type: ignore[arg-type]


@pytest.mark.parametrize("of", [np.float32, np.float64, np.float16, np.int64, np.array, torch.tensor, Fraction, int])
def test_numbers_of_any_library(of: Callable[[float], Any]) -> None:
    spec = Spec(patch_size=np.int64(4), threshold=of(30), t_pos=of(1), t_neg=of(2), max_val=of(1), loss_weight=of(3))
    assert spec == Spec(patch_size=4, threshold=30, t_pos=1, t_neg=2, max_val=1, loss_weight=3)
    assert all(type(getattr(spec, name)) in (int, float) for name in NUMBERS)
    assert Spec(patch_size=torch.tensor(4)).patch_size == Spec(patch_size=np.uint8(4)).patch_size == 4


def test_an_integer_may_be_as_large_as_a_float() -> None:
    images = torch.rand(2, 1, 1, 8, 16)
    losses = [DECLoss(4, 20, loss_weight=kind(10) ** 25)(*images) for kind in (int, float)]
    assert torch.equal(*losses)


def test_a_number_that_is_a_text_says_how_yaml_reads_it() -> None:
    with pytest.raises(TypeError, match=r"^loss_weight .*'1e-2'.*1\.0e-2"):
        DECLoss(loss_weight="1e-2")  # type: ignore[arg-type]


def test_radius_in_l2_units() -> None:
    assert Spec(threshold=40).constants(192, "ieee").radius == pytest.approx(0.01)
    assert Spec(threshold=40, max_val=255).constants(192, "ieee").radius == pytest.approx(2.55)
    assert Spec(threshold=40, distance="rmse").constants(192, "ieee").radius == pytest.approx(0.01 * math.sqrt(192))
    assert Spec(threshold=-7000).constants(192, "ieee").radius == 1e300
    assert Spec(threshold=-7000, max_val=1e300, distance="rmse").constants(192, "ieee").radius == math.inf
    assert Spec(threshold=8000).constants(192, "ieee").radius == 0


def test_a_spec_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Spec().threshold = 30  # type: ignore[misc]
