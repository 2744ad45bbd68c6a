import json
import sys
import time

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import parts
from benchmarks.gpu.competitors import LABELS
from benchmarks.gpu.records import Records


def aborts(job):
    return job.run(60, sys.executable, "-c", "import os; os.abort()")


def hangs(job):
    return job.run(0.5, sys.executable, "-c", "import time; time.sleep(600)")


def raises(job):
    raise ValueError("a mistake in the command itself")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a dry run leaves when three of its parts come to grief, each in its own way."""
    folder = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gpu", "--dry-run", "--out", str(folder)])
        for name, part in (("tests", aborts), ("memcheck", hangs), ("racecheck", raises)):
            patch.setitem(gpu.PARTS, name, part)
        gpu.main()
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "gpu.json").read_text())


def test_failing_parts_are_reported_and_lose_nothing_else(results):
    outcomes = results["parts"]
    assert {name: outcome["outcome"] for name, outcome in outcomes.items() if name != "build"} == {
        "tests": "failed",
        "measurements": "done",
        "memcheck": "stopped",
        "racecheck": "failed",
    }
    assert outcomes["tests"]["reason"] == "it ended with SIGABRT"
    assert "limit" in outcomes["memcheck"]["reason"]
    assert outcomes["racecheck"]["reason"] == "ValueError: a mistake in the command itself"


def test_a_dry_run_says_that_it_is_one(results, folder):
    assert results["dry_run"]
    assert "mean nothing" in results["note"]
    assert (folder / "gpu.txt").read_text().count("mean nothing") == 2


def test_results_say_where_they_come_from(results):
    assert {"cpu", "python", "torch"} <= set(results["machine"])
    assert {"date", "commit", "command"} <= set(results["run"])


def test_every_competitor_is_measured_or_left_out_with_a_reason(results):
    measured = {r["competitor"] for r in results["time"]}
    left_out = {r["competitor"] for r in results["left_out"]}
    usual = {name for name in LABELS if not name.endswith(("_16", "_64", "_1024"))}
    assert usual <= measured | left_out
    assert {"torch", "eager", "compile", "chunked_256", "cublas_triton_32"} <= measured
    assert all(r["reason"] for r in results["left_out"])


def test_results_keep_every_round_of_every_direction(results):
    assert {r["direction"] for r in results["time"] if r["competitor"] == "eager"} == {"forward", "backward", "both"}
    assert all(len(r["rounds"]) >= 3 and r["q1"] <= r["median"] <= r["q3"] for r in results["time"])
    assert {r["precision"] for r in results["ceilings"]} == {"tf32", "bf16", "ieee"}
    assert results["memory"] == []  # not measured on the CPU


def test_results_are_accurate(results):
    assert {"eager", "cublas_triton_32"} <= {r["competitor"] for r in results["accuracy"]}
    # Where TF32 exists, as it does in Triton's interpreter, its operands keep 10 bits, those of bf16 7.
    limits = {"ieee": 1e-5, "tf32x3": 1e-5, "tf32": 2e-3, "bf16": 2e-2}
    for r in results["accuracy"]:
        assert r["gradient_error"] < limits[r["precision"]], r


def test_tables_and_plot_are_there(results, folder):
    text = (folder / "gpu.txt").read_text()
    assert all(claim["claim"] in text for claim in results["claims"])
    assert (folder / "gpu_time.png").read_bytes().startswith(b"\x89PNG")


def test_the_tests_are_counted(tmp_path):
    outcome = gpu.tests(gpu.Job(tmp_path, True, time.time() + 100))
    assert outcome["outcome"] == "done"
    assert sum(outcome["counts"].values()) > 0


def test_a_dry_run_keeps_out_of_the_results(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu", "--dry-run"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--out" in capsys.readouterr().err


def test_without_a_device_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="--dry-run"):
        gpu.main()


def test_what_takes_the_measurements_down_is_left_out(tmp_path, monkeypatch):
    """The first process dies with one competitor, the second hangs in the turns of a case, the third comes through."""
    file, log, place = tmp_path / "records", tmp_path / "log", {"n": 8, "dim": 48, "precision": "tf32"}
    tried = iter(["triton", None, "nothing"])

    def run(*_):
        name = next(tried)
        if name == "nothing":
            return {"outcome": "done", "seconds": 1.0}
        Records(file).write("trying", competitor=name, **place)
        return {"outcome": "failed", "reason": "it died", "seconds": 1.0}

    monkeypatch.setattr(parts, "run", run)
    outcome = parts.measure([], file, log, time.time() + 100, {})

    assert outcome["outcome"] == "done"
    assert outcome["earlier_endings"] == ["it died", "it died"]
    assert Records(file).of("left_out", competitor="triton", from_n=0, reason="it died", **place)
    assert Records(file).of("done", **place)  # so that the case is not tried a second time


def test_measurements_that_get_nowhere_are_not_started_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "run", lambda *_: {"outcome": "failed", "reason": "no such module", "seconds": 1.0})
    outcome = parts.measure([], tmp_path / "records", tmp_path / "log", time.time() + 100, {})
    assert outcome["earlier_endings"] == ["no such module"]


def test_a_silent_process_is_stopped_with_what_it_started(tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    start = time.monotonic()
    outcome = parts.run(
        [sys.executable, "-c", code + "print('started', flush=True); time.sleep(600)"],
        tmp_path / "log",
        60,
        {},
        hangs=lambda: "started" in (tmp_path / "log").read_text().partition("\n")[2],
    )
    assert outcome["outcome"] == "stopped"
    assert "nothing moved" in outcome["reason"]
    assert outcome["printed"] == "started\n"
    assert time.monotonic() - start < 30
