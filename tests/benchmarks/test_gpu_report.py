import io

import pytest
from rich.console import Console

from benchmarks.gpu import report
from benchmarks.gpu.competitors import LABELS
from benchmarks.results import MIB


def timed(competitor, precision, seconds, n=8192, dim=192):
    timing = {"rounds": [seconds], "q1": seconds, "median": seconds, "q3": seconds, "first_call": 9.0}
    place = {"competitor": competitor, "n": n, "dim": dim, "precision": precision}
    return [place | timing | {"direction": direction} for direction in ("forward", "backward", "both")]


@pytest.fixture
def measured():
    """Every claim is met, and none by much. cuBLAS does 1e15 FLOP/s in tf32 and bf16, and a tenth in ieee."""
    ours = 6 * 2 * 8192**2 * 192 / 1e15 / 0.51
    results = {
        "dry_run": False,
        "labels": LABELS,
        "machine": {"gpu": "made up"},
        "claims_at": {"speed": 8192, "memory": 262144},
        "parts": {"tests": {"outcome": "done", "seconds": 1.0, "counts": {"passed": 3}}},
        "ceilings": [
            {"precision": precision, "flop": 1e12, "median": 1e12 / rate}
            for precision, rate in (("tf32", 1e15), ("bf16", 1e15), ("ieee", 1e14))
        ],
        "time": [],
        "memory": [],
        "accuracy": [],
        "left_out": [],
    }
    for precision, times in (("tf32", 1), ("bf16", 1), ("ieee", 10), ("tf32x3", 10)):
        results["time"] += timed("triton", precision, times * ours)
        results["time"] += timed("cpp", precision, times * ours * 1.1)
        results["memory"] += [
            {"competitor": "triton", "n": n, "dim": dim, "precision": precision, "extra_bytes": extra * MIB}
            for n, dim, extra in ((8192, 192, 47), (262144, 48, 2047))
        ]
        results["time"] += timed("triton", precision, 1.0, 262144, 48)
        if precision != "tf32x3":
            for name, slower in (("eager", 12.1), ("compile", 6.1), ("chunked_64", 3.0), ("cublas_triton_32", 2.1)):
                results["time"] += timed(name, precision, times * ours * slower)
    return results


def finished(results):
    for derive in (report.shares, report.crossover, report.claims):
        results[derive.__name__] = derive(results)
    return results


def test_claims_met(measured):
    made = finished(measured)["claims"]
    assert [claim["met"] for claim in made] == [True] * 15
    by_name = {claim["claim"]: claim["measured"] for claim in made}
    assert by_name["tf32: six products' share of cuBLAS's rate in tf32"] == pytest.approx(0.51)
    assert by_name["tf32x3: six products' share of cuBLAS's rate in ieee"] == pytest.approx(0.51)
    assert by_name["bf16: times faster than cuBLAS + Triton, 32 MiB in bf16, n = 8192, D = 192"] == pytest.approx(2.1)


def test_tf32x3_is_held_against_ieee_and_tf32(measured):
    against = {r["against"]: r["share"] for r in finished(measured)["shares"] if r["precision"] == "tf32x3"}
    assert against["ieee"] == pytest.approx(10 * against["tf32"])


def test_our_faster_backend_counts(measured):
    for r in measured["time"]:
        if r["competitor"] == "cpp":
            r["median"] /= 4
    assert report.fastest(measured, ("triton", "cpp"), ["tf32"], 8192, 192).name == "cpp"


def test_claims_about_what_was_not_measured(measured):
    measured["time"] = [r for r in measured["time"] if r["competitor"] in ("eager", "compile")]
    measured["memory"], measured["ceilings"] = [], []
    assert {claim["met"] for claim in finished(measured)["claims"]} == {None}


def test_claims_missed(measured):
    for r in measured["time"]:
        if r["competitor"] in ("triton", "cpp"):
            r["median"] *= 1.2
    made = finished(measured)["claims"]
    assert [claim["met"] for claim in made] == [False] * 13 + [True] * 2


def test_crossover(measured):
    for n, triton, cpp in ((1024, 1.0, 0.9), (2048, 1.0, 2.0), (4096, 1.0, 0.9), (16384, 1.0, 0.5)):
        measured["time"] += timed("triton", "bf16", triton, n, 48) + timed("cpp", "bf16", cpp, n, 48)
    rows = {(r["dim"], r["precision"]): r["cpp_from_n"] for r in report.crossover(measured)}
    assert rows[48, "bf16"] == 4096  # at 1024 it is faster too, but then not at 2048
    assert rows[192, "tf32"] is None


def test_tables_can_be_made(measured):
    measured["left_out"] = [
        {"competitor": who, "n": 64, "dim": 192, "precision": "tf32", "from_n": 0, "reason": "because"}
        for who in ("keops", None, "triton_graph")
    ]
    measured["accuracy"] = [
        {"competitor": "eager", "n": 8192, "dim": 192, "precision": "tf32", "loss": "inf", "loss_error": "inf"}
        | {"gradient_error": "nan"}
    ]
    out = io.StringIO()
    report.print_tables(finished(measured), Console(file=out, width=160))
    text = out.getvalue()
    assert all(shown in text for shown in ("inf", "nan", "because", "3 passed", "never", "cuBLAS + Triton, 32 MiB"))
    assert "mean nothing" not in text


@pytest.mark.parametrize("measure", ["time", "memory"])
def test_lines_of_a_plot_go_up_in_n(measured, measure):
    measured["time"] += timed("triton", "tf32", 0.1, 1024)
    measured["memory"] += [{"competitor": "triton", "n": 1024, "dim": 192, "precision": "tf32", "extra_bytes": 1}]
    line = next(line for line in report.lines(measured, measure) if line.label == LABELS["triton"])
    assert list(line.points) == [1024, 8192]
    assert "made up" in report.note(measured)
