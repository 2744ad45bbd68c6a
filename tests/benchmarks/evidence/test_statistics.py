"""Bootstrap, paired differences and the control's curve, against closed forms."""

import numpy as np
import pytest

from benchmarks.evidence.statistics import against_control, choose, difference, interval, means, resample


def test_the_variance_of_resampled_means() -> None:
    """Of x = a_s + b_i, with seeds and images drawn independently, it is var(a) / S + var(b) / I."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 2, (5, 1)), rng.normal(0, 3, (1, 12))
    resampled = means(a + b, resample(5, 12, count=40_000))
    assert resampled[0] == pytest.approx((a + b).mean())
    assert resampled[1:].mean() == pytest.approx((a + b).mean(), abs=0.05)
    assert resampled[1:].var() == pytest.approx(a.var() / 5 + b.var() / 12, rel=0.03)


def test_every_resample_of_two_seeds_and_one_image() -> None:
    """The mean of two seeds, 0 and 1, is 0, 1/2 or 1 with probabilities 1/4, 1/2 and 1/4."""
    resampled = means(np.array([[0.0], [1.0]]), resample(2, 1, count=20_000))[1:]
    for value, probability in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
        assert (resampled == value).mean() == pytest.approx(probability, abs=0.02)


def test_an_interval_is_the_middle_95_percent() -> None:
    assert interval(np.array([5.0, *range(1001)])) == pytest.approx((5, 25, 975))
    assert np.isnan(interval(np.full(4, np.nan))).all()


def test_differences_are_paired() -> None:
    """What seeds and images have in common cancels."""
    rng = np.random.default_rng(2)
    a = rng.normal(0, 10, (3, 8))
    resamples = resample(3, 8)
    assert difference(a + 0.25, a, resamples) == pytest.approx((0.25, 0.25, 0.25))
    assert interval(means(a, resamples)).high - interval(means(a, resamples)).low > 5


def test_images_without_a_figure_are_left_out() -> None:
    values = np.array([[1.0, np.nan, 4.0], [3.0, 7.0, 8.0]])
    resamples = resample(2, 3)
    assert means(values, resamples)[0] == (1 + 4 + 3 + 8) / 4
    assert np.nanmax(means(values, resamples)) == 8
    assert np.isnan(means(np.full((2, 3), np.nan), resamples)).all()


@pytest.mark.parametrize(
    ("quality", "distance", "target", "place"),
    [
        ([30, 29, 28], [0.30, 0.20, 0.25], 29.5, 0.5),  # between two nodes
        ([30, 29, 28], [0.30, 0.20, 0.25], 29.0, 1.0),  # at a node
        ([30, 29, 28], [0.30, 0.20, 0.25], 28.5, 1.0),  # more of it would be worse
        ([30, 29, 28], [0.30, 0.20, 0.10], 28.25, 1.75),
        ([30, 29, 28], [0.30, 0.20, 0.10], 20.0, 2.0),  # below the whole curve
        ([30, 29, 28], [0.30, 0.20, 0.25], 31.0, 0.0),  # above it
        ([30, 31, 29], [0.30, 0.28, 0.20], 30.5, 1.25),  # the curve has that PSNR twice
        ([30, 31, 29], [0.30, 0.28, 0.20], 32.0, 1.0),
    ],
)
def test_the_place_on_the_curve(quality: list[float], distance: list[float], target: float, place: float) -> None:
    columns = [np.array(values, dtype=float)[:, None] for values in (quality, distance)]
    assert choose(*columns, np.array([target])) == pytest.approx([place])


def test_every_resample_has_a_place_of_its_own() -> None:
    quality = np.array([[30.0, 31.0], [29.0, 29.0]])
    distance = np.array([[0.3, 0.3], [0.2, 0.2]])
    assert choose(quality, distance, np.array([29.5, 30.0])) == pytest.approx([0.5, 0.5])
    assert choose(quality, distance, np.array([29.25, 30.5])) == pytest.approx([0.75, 0.25])


AMOUNTS = np.array([0.0, 0.5, 2.0])


def curve_of(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A curve on which PSNR and LPIPS fall from node to node, for 3 seeds and 5 images; and a third figure."""
    fall = np.array([0.0, 0.5, 1.5])[:, None, None]
    return {
        "psnr_y": rng.normal(30, 3, (1, 3, 5)) - fall,
        "lpips": rng.normal(0.3, 0.05, (1, 3, 5)) - fall / 10,
        "colour_bias": rng.normal(1, 0.1, (3, 3, 5)),
    }


def test_a_method_on_the_curve_differs_from_it_by_nothing() -> None:
    """In every resample, so that the intervals have no width."""
    curve = curve_of(np.random.default_rng(3))
    for share in (0.0, 0.4):
        method = {name: (1 - share) * values[1] + share * values[2] for name, values in curve.items()}
        found = against_control(method, curve, AMOUNTS, resample(3, 5))
        assert found.amount == pytest.approx(0.5 + share * 1.5)
        assert not found.above
        for each in found.differences.values():
            assert each == pytest.approx((0, 0, 0), abs=1e-9)


def test_a_method_that_is_better_at_equal_psnr() -> None:
    curve = curve_of(np.random.default_rng(4))
    method = {name: values[1] - (0.02 if name == "lpips" else 0) for name, values in curve.items()}
    found = against_control(method, curve, AMOUNTS, resample(3, 5))
    assert found.differences["lpips"] == pytest.approx((-0.02, -0.02, -0.02))
    assert found.differences["psnr_y"] == pytest.approx((0, 0, 0), abs=1e-9)


def test_a_method_above_the_curve() -> None:
    curve = curve_of(np.random.default_rng(5))
    method = {name: values[0] + (1 if name == "psnr_y" else 0) for name, values in curve.items()}
    found = against_control(method, curve, AMOUNTS, resample(3, 5))
    assert found.above
    assert found.amount == 0
    assert found.differences["psnr_y"] == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("amounts", [[0.0], [0.0, 1.0, 0.5], [0.0, 0.5, 0.5]])
def test_amounts_that_make_no_curve(amounts: list[float]) -> None:
    curve = {name: values[: len(amounts)] for name, values in curve_of(np.random.default_rng(6)).items()}
    method = {name: values[0] for name, values in curve.items()}
    with pytest.raises(ValueError, match=rf"^amounts .*{amounts[-1]}"):
        against_control(method, curve, np.array(amounts), resample(3, 5))
