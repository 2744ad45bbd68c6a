import pytest

from benchmarks.results import claims, curve, slope


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_slope_is_the_exponent(exponent):
    points = {n: 3e-9 * n**exponent for n in (2048, 4096, 8192)}
    assert slope({512: 1.0} | points) == pytest.approx(exponent)
    assert slope({512: 1.0, 2048: 1.0}) is None


@pytest.fixture
def measured():
    """n -> seconds and MiB such that every claim is met, and none by much."""
    seconds = {"cpp": 0.9, "cpp_bf16": 0.45, "torch": 2.0, "eager": 2.0, "compile": 1.4, "products_six": 0.8}
    linear = {n: 0.04 * (n / 8192) ** 1.24 for n in (8192, 65536, 262144)}
    return {
        "labels": {name: name for name in (*seconds, "cpp_landmarks")},
        "claims_at": {"speed": 8192, "memory": 32768},
        "errors": {"cpp_landmarks": 4.9e-4},
        "time": [
            *({"competitor": name, "n": 8192, "dim": 192, "median": s} for name, s in seconds.items()),
            *({"competitor": "cpp_landmarks", "n": n, "dim": 192, "median": s} for n, s in linear.items()),
            *({"competitor": name, "n": 256, "dim": 192, "median": s} for name, s in (("cpp", 0.5), ("compile", 0.51))),
        ],
        "memory": [
            *({"competitor": "cpp_landmarks", "n": n, "dim": 192, "extra_bytes": 600 * n} for n in linear),
            {"competitor": "cpp_landmarks", "n": 2**20, "dim": 48, "extra_bytes": 600, "peak_bytes": 23 * 2**30},
            {"competitor": "cpp", "n": 32768, "dim": 192, "extra_bytes": 63 * 2**20},
            *({"competitor": "cpp", "n": n, "dim": 48, "extra_bytes": 600 * n} for n in (16384, 32768, 65536)),
        ],
    }


def test_claims_met(measured):
    assert [claim["met"] for claim in claims(measured)] == [True] * 12
    assert curve(measured, "memory", "cpp") == {32768: 63 * 2**20}


@pytest.mark.parametrize(
    ("name", "seconds", "expected"),
    [
        ("products_six", 0.6, [0]),
        ("compile", 1.3, [2]),
        ("eager", 1.1, [1, 2, 6]),
        ("cpp_landmarks", 0.08, [5, 6]),
    ],
)
def test_claims_about_time_missed(measured, name, seconds, expected):
    next(r for r in measured["time"] if r["competitor"] == name)["median"] = seconds
    assert missed(measured) == expected


def test_that_cpp_is_the_fastest_at_every_n_is_missed_where_n_is_small(measured):
    next(r for r in measured["time"] if r["n"] == 256)["median"] = 0.52
    assert missed(measured) == [11]
    assert claims(measured)[11]["claim"].endswith("n = 256 to 8192, least at 256")


def test_claims_about_memory_missed(measured):
    for record in measured["memory"]:
        record["extra_bytes"] = record["n"] ** 2
    assert missed(measured) == [3, 4, 9]


def test_claims_about_landmarks_missed(measured):
    measured["errors"]["cpp_landmarks"] = 5.1e-4
    for record in measured["time"]:
        if record["n"] == 262144:
            record["median"] *= 1.1
    measured["memory"][3]["peak_bytes"] = 25 * 2**30
    assert missed(measured) == [7, 8, 10]


def missed(measured):
    return [i for i, claim in enumerate(claims(measured)) if not claim["met"]]
