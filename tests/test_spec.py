import math
from dataclasses import FrozenInstanceError

import pytest

from dec_kernels import DECLoss
from dec_kernels.spec import Spec


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
        ("t_pos", 0.0, ValueError),
        ("t_pos", -1, ValueError),
        ("t_neg", 0, ValueError),
        ("t_neg", None, TypeError),
        ("max_val", 0, ValueError),
        ("max_val", -255, ValueError),
        ("loss_weight", math.nan, ValueError),
        ("distance", "L2", ValueError),
        ("temperature", "in", ValueError),
        ("scope", "patch", ValueError),
        ("remainder", "pad", ValueError),
        ("reduction", "batchmean", ValueError),
        ("precision", "fp32", ValueError),
        ("backend", "cuda", ValueError),
    ],
)
def test_a_bad_constant_is_refused_by_name_with_what_came(argument: str, value: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^{argument} must be .*{str(value).replace('.', '[.]')}"):
        DECLoss(**{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["t_pos", "t_neg"])
def test_inside_temperatures_below_what_float32_can_hold_are_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be at least 0.02 with temperature='inside'.*0.019"):
        Spec(temperature="inside", **{argument: 0.019})  # type: ignore[arg-type]
    Spec(temperature="inside", **{argument: 0.02})  # type: ignore[arg-type]
    Spec(temperature="outside", **{argument: 0.019})  # type: ignore[arg-type]


def test_radius_in_l2_units() -> None:
    assert Spec(threshold=40).constants(192, "ieee").radius == pytest.approx(0.01)
    assert Spec(threshold=40, max_val=255).constants(192, "ieee").radius == pytest.approx(2.55)
    assert Spec(threshold=40, distance="rmse").constants(192, "ieee").radius == pytest.approx(0.01 * math.sqrt(192))


def test_a_spec_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Spec().threshold = 30  # type: ignore[misc]
