from typing import Any

import pytest

from dec_kernels.doctor import advice
from dec_kernels.spec import Spec

TRIED = [
    {"landmarks": 32, "gradient_error": 3e-3, "seconds": 0.0625},
    {"landmarks": 64, "gradient_error": 1.5e-3, "seconds": 0.125},
]


def sentences(**changed: Any) -> str:
    """The advice on made-up facts, with the values in `changed` instead of theirs."""

    def facts(**values: Any) -> Any:
        return values | {name: value for name, value in changed.items() if name in values}

    curves = {"l2": {"alone": [0.1, 0.2, 0.9]}, "rmse": {"alone": [0.6, 0.7, 0.8]}}
    return " ".join(
        advice.sentences(
            Spec(threshold=30.0),
            192,
            facts(rows=84, rows_without_negatives=0),
            facts(alone={"l2": 0.25, "rmse": 0.125}),
            facts(thresholds=[20.0, 23.0, 26.0], curves=curves),
            facts(strongest=0.1, strongest_with_floor=0.03, dec_over_l1=2.5, dec_over_l1_median=0.75),
            facts(share=0.5, l1_weight=0.01, weight=0.002),
            facts(columns=84, tried=TRIED, bf16_error=2e-3, exact_seconds=0.5, suggested=64),
        )
    )


def test_the_threshold_is_judged_by_rows_that_are_alone() -> None:
    text = sentences()
    assert "At 30 dB with l2, 25.0%" in text
    assert "rmse: 12.5%" in text
    assert "up to 23 dB with l2 and at no threshold with rmse" in text
    assert "22.8 dB" in text  # 10 log10(192)


def test_rows_without_negatives_are_counted() -> None:
    assert "negative" not in sentences()
    assert "7 of 84 rows" in sentences(rows_without_negatives=7)


def test_the_weight_is_suggested_if_there_is_one() -> None:
    assert "loss_weight=0.002" in sentences()
    assert "loss_weight=" not in sentences(weight=None)
    assert "loss_weight" in sentences(weight=None)


@pytest.mark.parametrize(("strongest", "warned"), [(0.5, True), (0.49, False), (None, False)])
def test_a_gradient_of_few_patches_is_a_warning(strongest: float | None, warned: bool) -> None:
    assert all(
        (figure in sentences(strongest=strongest)) == warned
        for figure in ("50.0%", "0.75", "2.5 ", "norm_floor=0.1", "3.0%")
    )


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, ["landmarks=64", "1.5e-03", "2.0e-03", "0.125 s", "0.5 s", "32, 64"]),
        ({"exact_seconds": 0.125}, ["landmarks=None", "landmarks=64", "1.5e-03", "0.125 s"]),
        ({"exact_seconds": None}, ["landmarks=64", "1.5e-03", "0.125 s"]),
        ({"suggested": None}, ["landmarks=None", "2.0e-03", "1.5e-03", "32, 64"]),
        ({"tried": [], "suggested": None}, ["landmarks=None", "84 patches", "65 patches"]),
    ],
    ids=["worth it", "no faster", "exact untimed", "not exact enough", "too few patches"],
)
def test_landmarks_are_advised_where_they_are_exact_enough_and_faster(changed: dict, wanted: list[str]) -> None:
    text = sentences(**changed)
    assert all(figure in text for figure in wanted)
    assert ("Stay with landmarks=None" in text) == (wanted[0] == "landmarks=None")
