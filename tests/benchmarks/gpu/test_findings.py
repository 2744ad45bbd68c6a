import io
from typing import NamedTuple

import pytest
from rich.console import Console

from benchmarks.gpu import findings, tables
from benchmarks.gpu.competitors import LABELS
from benchmarks.results import MIB


def timed(competitor, precision, seconds, n=8192, dim=192):
    timing = {"rounds": [seconds], "q1": seconds, "median": seconds, "q3": seconds, "first_call": 9.0}
    place = {"competitor": competitor, "n": n, "dim": dim, "precision": precision}
    return [place | timing | {"direction": direction} for direction in ("forward", "backward", "both", "graph", "host")]


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
        "missing": ["ninja is not there: a pity."],
        "tests": {"test_it": {"outcome": "failed", "seconds": 1.0, "message": "1 is not 2"}},
        "tiles": [{"row": '("sm_90", 192)', "precision": "tf32"}],
        "kernels": [],
        "clocks": [{"n": 8192, "dim": 192, "precision": "tf32", "mhz": 1755.0}],
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
        results["time"] += timed("landmarks", precision, times * ours / 9)  # approximate: in no claim, and has no share
        results["time"] += timed("triton", precision, 1.0, 262144, 48)
        if precision != "tf32x3":
            for name, slower in (("eager", 12.1), ("compile", 6.1), ("chunked_64", 3.0), ("cublas_triton_32", 2.1)):
                results["time"] += timed(name, precision, times * ours * slower)
    return results


def finished(results):
    for derive in (findings.shares, findings.predictions, findings.crossover, findings.claims):
        results[derive.__name__] = derive(results)
    return results


def test_claims_met(measured):
    made = finished(measured)["claims"]
    assert [claim["met"] for claim in made] == [True] * 15
    assert [claim.get("live") for claim in made] == [claim["measured"] for claim in made[:13]] + [None, None]
    by_name = {claim["claim"]: claim["measured"] for claim in made}
    assert by_name["tf32: six products' share of cuBLAS's rate in tf32"] == pytest.approx(0.51)
    assert by_name["tf32x3: six products' share of cuBLAS's rate in ieee"] == pytest.approx(0.51)
    assert by_name["bf16: times faster than cuBLAS + Triton, 32 MiB in bf16, n = 8192, D = 192"] == pytest.approx(2.1)


def test_tf32x3_is_held_against_ieee_and_tf32(measured):
    shares = [r for r in finished(measured)["shares"] if (r["precision"], r["direction"]) == ("tf32x3", "graph")]
    against = {r["against"]: r["share"] for r in shares}
    assert against["ieee"] == pytest.approx(10 * against["tf32"])


def test_our_faster_backend_counts(measured):
    for r in measured["time"]:
        if r["competitor"] == "cpp":
            r["median"] /= 4
    assert findings.fastest(measured, ("triton", "cpp"), ["tf32"], 8192, 192, "graph").name == "cpp"


def test_claims_are_made_of_graphs_and_live_calls_stand_beside(measured):
    """Twice as slow when called from Python, as we are at a small n: a claim about kernels does not change."""
    for r in measured["time"]:
        if r["competitor"] in ("triton", "cpp") and r["direction"] == "both":
            r["median"] *= 2
    for claim in finished(measured)["claims"][:13]:
        assert claim["met"]
        assert claim["live"] == pytest.approx(claim["measured"] / 2)


def test_one_that_cannot_be_captured_takes_part_as_it_is_and_it_is_said(measured):
    measured["time"] = [
        r for r in measured["time"] if not (r["competitor"] == "cublas_triton_32" and r["direction"] == "graph")
    ]
    others = [claim for claim in finished(measured)["claims"] if "cuBLAS + Triton" in claim["claim"]]
    assert len(others) == 3
    assert all("cuBLAS + Triton, 32 MiB (live)" in claim["claim"] for claim in others)
    assert all(claim["measured"] == pytest.approx(2.1) for claim in others)


def test_ours_counts_as_a_graph_or_not_at_all(measured):
    measured["time"] = [
        r for r in measured["time"] if r["competitor"] not in ("triton", "cpp") or r["direction"] != "graph"
    ]
    made = finished(measured)["claims"]
    assert [claim["met"] for claim in made[:13]] == 13 * [None]
    assert all(claim["live"] for claim in made[:13])


def kernel(name, milliseconds, launches=1.0):
    place = {"n": 8192, "dim": 192, "precision": "tf32", "competitor": "triton"}
    return place | {"kernel": name, "median": milliseconds / 1e3, "launches": launches}


@pytest.fixture
def predicted(measured, monkeypatch):
    """Of the forward, and of the rows, which run twice in a step; not of a sort of PyTorch's, and of the means."""
    measured["kernels"] = [
        kernel("forward_plain", 0.3),
        kernel("void at::native::(anonymous namespace)::sort<int>(int)", 0.2),
        kernel("rows_kernel", 0.004, launches=2.0),
        kernel("means_kernel", 0.001),
    ]

    class Prediction(NamedTuple):
        seconds: tuple[float, float]
        limit: str

    asked = []

    def stored(*where):
        asked.append(where)
        return {
            "forward_plain": Prediction((2e-4, 5e-4), "special functions"),
            "rows": Prediction((1e-6, 4e-6), "DRAM"),
        }

    monkeypatch.setattr(findings.cycles, "stored", stored)
    finished(measured)
    assert asked == [("made up", 8192, 192, "tf32")]
    return measured


def test_predictions_stand_beside_the_seconds_of_a_launch(predicted):
    forward, rows = predicted["predictions"]
    assert (forward["kernel"], rows["kernel"]) == ("forward_plain", "rows_kernel")
    assert forward["measured"] == pytest.approx(3e-4)
    assert rows["measured"] == pytest.approx(2e-6)
    assert (rows["overlapped"], rows["added"], rows["limit"]) == (1e-6, 4e-6, "DRAM")


def test_the_table_of_kernels(predicted):
    out = io.StringIO()
    tables.print_tables(predicted, Console(file=out, width=160))
    assert "precision tf32, n = 8192, D = 192, at 1755 MHz" in " ".join(out.getvalue().split())
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["forward_plain", "special", "functions", "1", "0.300", "0.300", "0.200", "to", "0.500", "1.50"] in lines
    assert ["rows_kernel", "DRAM", "2", "0.00400", "0.00200", "0.00100", "to", "0.00400", "2.00"] in lines
    assert ["at::native::sort", "1", "0.200", "0.200"] in lines
    assert ["1", "shorter", "ones", "1", "0.00100"] in lines
    assert ["all", "5", "0.505"] in lines


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
    rows = {(r["dim"], r["precision"]): r["cpp_from_n"] for r in findings.crossover(measured)}
    assert rows[48, "bf16"] == 4096  # at 1024 it is faster too, but then not at 2048
    assert rows[192, "tf32"] is None


def test_tables_can_be_made(measured):
    measured["left_out"] = [
        {"competitor": who, "n": 64, "dim": 192, "precision": "tf32", "from_n": 0, "reason": "because"}
        for who in ("keops", None, "cublas_triton_32 as a graph")
    ]
    measured["accuracy"] = [
        {"competitor": "eager", "n": 8192, "dim": 192, "precision": "tf32", "loss": "inf", "loss_error": "inf"}
        | {"gradient_error": "nan"}
    ]
    out = io.StringIO()
    tables.print_tables(finished(measured), Console(file=out, width=160))
    text = out.getvalue()
    shown = ("inf", "nan", "because", "3 passed", "never", "cuBLAS + Triton, 32 MiB as a graph", "1 is not 2")
    assert all(x in text for x in (*shown, "ninja is not there: a pity.", '("sm_90", 192)'))
    assert "mean nothing" not in text


def test_square_brackets_are_shown_as_they_are(measured):
    """Rich would take them for markup: parameters of tests would vanish, and a path in brackets would be an error."""
    name, message = "test_every_size[triton-3-8-bf16]", "no such file [/usr/bin/nvcc]"
    measured["tests"] = {name: {"outcome": "failed", "seconds": 1.0, "message": message}}
    measured["parts"]["build"] = {"outcome": "failed", "reason": message}
    out = io.StringIO()
    tables.print_tables(finished(measured), Console(file=out, width=160))
    assert name in out.getvalue()
    assert out.getvalue().count(message) == 2


@pytest.mark.parametrize("measure", ["time", "memory"])
def test_lines_of_a_plot_go_up_in_n(measured, measure):
    measured["time"] += timed("triton", "tf32", 0.1, 1024)
    measured["memory"] += [{"competitor": "triton", "n": 1024, "dim": 192, "precision": "tf32", "extra_bytes": 1}]
    line = next(line for line in tables.lines(measured, measure) if line.label == LABELS["triton"])
    assert list(line.points) == [1024, 8192]
    assert "made up" in tables.note(measured)
