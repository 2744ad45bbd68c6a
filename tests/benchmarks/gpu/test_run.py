"""Runs of `make gpu` as a whole, by stand-ins for its parts: cuts across `benchmarks.gpu`."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import findings, parts, processes, tables
from benchmarks.gpu.competitors import LABELS
from benchmarks.gpu.parts import PARTS, STEPS, Job, Step
from benchmarks.gpu.plan import DRY
from benchmarks.gpu.records import Records
from dec_kernels.backends.triton import tiles, tune


def aborts(job, limit):
    return job.run(60, sys.executable, "-c", "import os; os.abort()")


def hangs(job, limit):
    return job.run(0.5, sys.executable, "-c", "import time; time.sleep(600)")


def raises(job, limit):
    raise ValueError("a mistake in the command itself")


def wait_until(condition):
    end = time.monotonic() + 250
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def run(*arguments):
    """Its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gpu", "--dry-run", *map(str, arguments)])
        return gpu.main()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What is left of a dry run that is killed in the second of its cases."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--parts", "B", "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: Records(folder / "gpu.jsonl").of("accuracy", precision=DRY["measurements"].cases[1].precision)
        )
    finally:
        process.kill()
        process.wait()
    return folder


@pytest.fixture(scope="module")
def folder(killed, tmp_path_factory):
    """What a dry run leaves that goes on from there, when three of its steps come to grief, each in its own way."""
    assert not any(
        str(killed) in argument for p in psutil.process_iter(["cmdline"]) for argument in p.info["cmdline"] or ()
    )
    folder = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        for name, step in (("tests", aborts), ("memcheck", hangs), ("racecheck", raises)):
            patch.setitem(STEPS, name, Step(step, 0, 100))
        status = run("--out", folder, "--resume", killed, "--minutes", "15")
    assert status == 1
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "gpu.json").read_text())


def test_what_a_kill_leaves_can_be_shown_at_once(killed, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tables", str(killed)])
    tables.main()
    left = json.loads((killed / "gpu.json").read_text())
    assert left["parts"]["measurements"] == {"outcome": "cut off", "reason": "the run ended before it did"}
    assert {r["precision"] for r in left["time"]} == {DRY["measurements"].cases[0].precision}
    assert "cut off" in capsys.readouterr().out


def test_failing_steps_are_reported_and_lose_nothing_else(results):
    outcomes = results["parts"]
    assert {name: outcome["outcome"] for name, outcome in outcomes.items()} == {
        "build": "done",
        "tests": "failed",
        "measurements": "done",
        "memcheck": "stopped",
        "racecheck": "failed",
        "tune": "done",
        "curves": "done",
    }
    assert outcomes["tests"]["reason"] == "it ended with SIGABRT"
    assert "limit" in outcomes["memcheck"]["reason"]
    assert outcomes["racecheck"]["reason"] == "ValueError: a mistake in the command itself"


def test_nothing_that_was_measured_before_the_kill_is_lost_or_measured_again(killed, folder, results):
    first = DRY["measurements"].cases[0]
    before, after = Records(killed / "gpu.jsonl").all, Records(folder / "gpu.jsonl").all
    assert after[: len(before)] == before
    assert [r for r in after if r["kind"] == "time" and r["precision"] == first.precision] == [
        r for r in before if r["kind"] == "time"
    ]
    assert len(results["runs"]) == 2
    assert results["runs"][0]["parts"] == ["B"]
    assert not [r for r in results["left_out"] if r["competitor"] != "keops"]


def test_what_is_done_is_not_done_again(folder, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "build", Step(hangs, 0, 100))
        status = run("--out", tmp_path, "--resume", folder, "--parts", "B", "D")
    assert status == 0
    assert {"measurements: done before", "tune: done before"} <= set(capsys.readouterr().out.splitlines())
    assert len(json.loads((tmp_path / "gpu.json").read_text())["tiles"]) == 4


def test_a_dry_run_says_that_it_is_one(results, folder):
    assert results["dry_run"]
    assert "mean nothing" in results["note"]
    assert (folder / "gpu.txt").read_text().count("mean nothing") == 2


def test_results_say_where_they_come_from(results):
    assert {"cpu", "python", "torch"} <= set(results["machine"])
    assert {"date", "commit", "commit_from", "sources", "command"} <= set(results["runs"][-1])


def test_every_competitor_is_measured_or_left_out_with_a_reason(results):
    measured = {r["competitor"] for r in results["time"]}
    left_out = {r["competitor"] for r in results["left_out"]}
    usual = {name for name in LABELS if not name.endswith(("_16", "_64", "_1024"))}
    assert usual <= measured | left_out
    assert {"torch", "eager", "compile", "chunked_256", "cublas_triton_32"} <= measured
    assert all(r["reason"] for r in results["left_out"])


def test_results_keep_every_round_of_every_way_to_time_a_step(results):
    for name in ("eager", "compile", "cublas_triton_32", "triton"):  # peers as ours
        found = {r["direction"] for r in results["time"] if r["competitor"] == name}
        assert found == {"forward", "backward", "both", "graph", "host"}
    assert all(len(r["rounds"]) >= 3 and r["q1"] <= r["median"] <= r["q3"] for r in results["time"])
    assert {r["precision"] for r in results["ceilings"]} == {"tf32", "bf16", "ieee"}
    assert {r["precision"] for r in results["kernels"]} == {"tf32", "bf16", "ieee", "tf32x3"}
    assert results["memory"] == []  # not measured on the CPU


def test_graphs_are_timed_before_live_calls(folder):
    """And ours alone before everything else."""
    times = [(r["competitor"], r["direction"]) for r in Records(folder / "gpu.jsonl").of("time")]
    assert times[:2] == [("triton", "graph"), ("cpp", "graph")]
    assert times[2][1] != "graph"


def test_results_are_accurate(results):
    assert {"eager", "cublas_triton_32"} <= {r["competitor"] for r in results["accuracy"]}
    # Where TF32 exists, as it does in Triton's interpreter, its operands keep 10 bits, those of bf16 7.
    limits = {"ieee": 1e-5, "tf32x3": 1e-5, "tf32": 2e-3, "bf16": 2e-2}
    for r in results["accuracy"]:
        assert r["gradient_error"] < limits[r["precision"]], r


def test_tables_and_plot_are_there(results, folder):
    text = (folder / "gpu.txt").read_text()
    assert all(claim["claim"] in text for claim in results["claims"])
    assert all(tile["row"] in text for tile in results["tiles"])
    assert (folder / "gpu_time.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_for_which_no_time_is_left_does_not_begin(tmp_path, monkeypatch):
    job = Job(tmp_path, True, time.time() + gpu.TABLES + 10)
    Records.begin(job.records, {"dry_run": True}, machine={}, provenance={}, parts=[], missing=[])
    monkeypatch.setitem(STEPS, "tune", Step(raises, 11, 100))
    assert gpu.run(job, "tune") == "not begun"
    monkeypatch.setitem(STEPS, "tune", Step(lambda job, limit: {"outcome": "done", "limit": limit}, 5, 100))
    assert gpu.run(job, "tune") == "done"
    assert Records(job.records).parts()["tune"]["limit"] <= 10


def test_later_steps_keep_the_least_that_they_take(tmp_path, monkeypatch):
    limits = {}
    job = Job(tmp_path, True, time.time() + gpu.TABLES + 100)
    Records.begin(job.records, {"dry_run": True}, machine={}, provenance={}, parts=[], missing=[])
    for name, least in (("tests", 20), ("memcheck", 50), ("racecheck", 40)):
        step = Step(lambda job, limit, name=name: limits.update({name: limit}) or {"outcome": "done"}, least, 1000)
        monkeypatch.setitem(STEPS, name, step)
    gpu.run(job, "tests", ["memcheck"])
    gpu.run(job, "memcheck", ["tests", "racecheck"])  # less is left than all take: it gets its own least all the same
    assert limits == pytest.approx({"tests": 50, "memcheck": 50}, abs=1)


def test_every_step_fits_into_nine_minutes():
    for steps in PARTS.values():
        assert sum(STEPS[name].most for name in steps if name != "build") + gpu.TABLES <= 540
    assert {name for steps in PARTS.values() for name in steps} == set(STEPS)
    assert all(steps.index("build") == 0 for steps in PARTS.values() if "build" in steps)


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


def test_with_nothing_to_go_on_from_it_begins_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STEPS, "tune", Step(lambda job, limit: {"outcome": "done"}, 0, 1))
    assert run("--out", tmp_path / "new", "--resume", tmp_path, "--parts", "D") == 0
    assert "no gpu.jsonl" in capsys.readouterr().out


def test_a_mistake_in_the_tables_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    done = []
    for name in (*PARTS["C"], *PARTS["D"]):
        monkeypatch.setitem(STEPS, name, Step(lambda job, limit: done.append(1) or {"outcome": "done"}, 0, 1))
    monkeypatch.setattr(findings, "claims", lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("--out", tmp_path, "--parts", "C", "D")
    assert len(done) == 4
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_records_of_other_sources_stay_and_do_not_count(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STEPS, "tune", Step(lambda job, limit: {"outcome": "done"}, 0, 1))
    run("--out", tmp_path, "--parts", "D")
    monkeypatch.setattr("benchmarks.machine.sources", lambda: {"dec_kernels": "other", "benchmarks/gpu": "as it was"})
    run("--out", tmp_path, "--resume", tmp_path, "--parts", "D")
    said = capsys.readouterr().out
    assert "3 records are of other sources" in said
    assert "done before" not in said
    assert len((tmp_path / "gpu.jsonl").read_text().splitlines()) == 6


# Each part's steps


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path, False, time.time() + 500)
    Records.begin(job.records, {"dry_run": True}, machine={}, provenance={}, parts=[], missing=[])
    return job


@pytest.fixture
def commands(job, monkeypatch):
    """Of the processes that would run, with their environments; each of them prints `printed`."""

    def start(command, log, limit, environment, hangs=None):
        start.given.append((list(command), environment, limit))
        return {"outcome": "done", "seconds": 1.0, "printed": start.printed}

    start.given, start.printed = [], ""
    monkeypatch.setattr(processes, "run", start)
    return start


def test_nothing_is_interpreted_on_a_device(job, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "TRITON_INTERPRET" not in job.environment
    assert Job(job.out, True, 0).environment["TRITON_INTERPRET"] == "1"


def test_only_files_with_tests_for_a_device_are_collected(job, commands, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    parts.tests(job, 100)
    ((command, environment, limit),) = commands.given
    files = [argument for argument in command if argument.endswith(".py")]
    assert {file.rpartition("tests/")[2] for file in files} == {"backends/test_gpu.py", "test_distributed.py"}
    assert {"-v", "timeout=300"} <= set(command)
    assert command[command.index("-n") + 1] == "16"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert limit == 100


def test_what_is_missing_is_said_with_what_it_means(job, monkeypatch):
    found = ("triton", "pytest", "skimage")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in found or None)
    monkeypatch.setattr("shutil.which", lambda name, path: "/bin/nvcc" if name == "nvcc" else None)
    sentences = parts.missing(job)
    assert [sentence.split()[0] for sentence in sentences] == [
        *("setuptools", "xdist", "pytest_timeout"),
        *("ninja", "compute-sanitizer"),
    ]
    assert sentences[0].endswith("the backend cpp is neither tested nor measured.")


def test_ninja_is_found_beside_the_interpreter(job, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(job.out / "python"))
    (job.out / "ninja").touch(mode=0o755)
    assert job.program("ninja") == str(job.out / "ninja")


def test_the_extension_is_built_once(job, commands, monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "STAMP", tmp_path / "build" / "stamp.json")
    for _ in range(2):
        assert parts.build(job, 100)["outcome"] == "done"
    monkeypatch.setattr(parts, "sources", lambda: {"csrc": "changed"})
    parts.build(job, 100)
    built = ["build_ext" in command for command, _, _ in commands.given]
    assert built == [True, False, False, True, False]


def test_of_the_sanitizer_each_call_and_each_error_is_counted(job, commands, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/bin/{name}")
    commands.printed = """triton in bf16, P = 8 ran: 2.3
========= Program hit CUDA_ERROR_INVALID_VALUE (error 1) on a call
========= Invalid __global__ read of size 4 bytes
=========     at forward_plain+0x10
cpp in tf32, P = 4 did not run: no such thing
========= ERROR SUMMARY: 1 error
"""
    outcome = parts.sanitizer(job, 100, "memcheck")
    ((command, environment, _),) = commands.given
    assert command[:3] == ["/bin/compute-sanitizer", "--tool", "memcheck"]
    assert environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] == "1"
    assert outcome["counts"] == {"ran": 1, "did not run": 1}
    assert outcome["failures"][0].startswith("Program hit")
    assert outcome["failures"][1:] == ["Invalid __global__ read of size 4 bytes", "ERROR SUMMARY: 1 error"]


ROW = f"    {tune.row('sm_90', 192, 'bf16', tiles.TABLE['sm_90', 192, 'bf16'])},\n"


def test_tuned_rows_are_kept_and_not_measured_again(job, commands):
    commands.printed = f"NVIDIA, for tiles.py:\n{ROW}"
    assert [parts.tune(job, 100)["outcome"] for _ in range(2)] == ["done", "done"]
    tiles = Records(job.records).of("tile")
    assert [tile["precision"] for tile in tiles] == ["bf16", "tf32", "ieee", "tf32x3"]
    assert tiles[0]["row"] == ROW.strip()
    assert len(commands.given) == 4
    command, _, limit = commands.given[0]
    assert limit == pytest.approx(100, abs=1)
    assert float(command[command.index("--seconds") + 1]) == pytest.approx(limit - parts.GRACE, abs=1)


def test_a_preset_is_tuned_long_enough_or_another_time(job, monkeypatch):
    clock, limits = [1000.0], []

    def start(command, log, limit, environment):
        limits.append(limit)
        clock[0] += limit
        return {"outcome": "done", "seconds": limit, "printed": ROW}

    monkeypatch.setattr("time.time", lambda: clock[0])
    monkeypatch.setattr(processes, "run", start)
    job.end = 5000.0
    outcome = parts.tune(job, 240)
    assert limits == [120, 120]
    assert outcome == {"outcome": "stopped", "reason": "no row yet for ieee, tf32x3", "seconds": 240}
    assert parts.tune(job, 240)["outcome"] == "done"


def test_a_preset_that_cannot_be_tuned_leaves_the_others_their_turn(job, monkeypatch):
    def start(command, *_):
        if "tf32" in command:
            return {"outcome": "failed", "reason": "it ended with status 1", "seconds": 1.0, "printed": ""}
        return {"outcome": "done", "seconds": 1.0, "printed": ROW}

    monkeypatch.setattr(processes, "run", start)
    assert parts.tune(job, 400) == {"outcome": "failed", "reason": "tf32: it ended with status 1", "seconds": 4.0}
    assert [tile["precision"] for tile in Records(job.records).of("tile")] == ["bf16", "ieee", "tf32x3"]


def test_what_takes_the_measurements_down_is_left_out(job, monkeypatch):
    """The first process dies with one competitor, the second hangs in the turns of a case, the third comes through."""
    place = {"n": 8, "dim": 48, "precision": "tf32", "among": 2}
    tried = iter(["triton", None, "nothing"])

    def start(*_):
        name = next(tried)
        if name == "nothing":
            return {"outcome": "done", "seconds": 1.0}
        Records(job.records).write("trying", competitor=name, **place)
        return {"outcome": "failed", "reason": "it died", "seconds": 1.0}

    monkeypatch.setattr(processes, "run", start)
    outcome = parts.measure(job, 100, "measurements")

    assert outcome["outcome"] == "stopped"  # there are cases left, of which nothing is known
    assert "first n = 8192, D = 192, bf16" in outcome["reason"]
    assert outcome["earlier_endings"] == ["it died", "it died"]
    records = Records(job.records)
    assert records.of("left_out", competitor="triton", from_n=0, reason="it died", **place)
    assert records.of("done", **place)  # so that the case is not tried a second time


def test_what_the_end_of_the_time_stops_is_not_left_out(job, monkeypatch):
    def start(*_):
        Records(job.records).write("trying", competitor="triton", n=8192, dim=192, precision="bf16", among=2)
        return {"outcome": "stopped", "reason": "it was stopped after its limit of 30 s", "seconds": 30.0}

    monkeypatch.setattr(processes, "run", start)
    assert parts.measure(job, 100, "measurements")["outcome"] == "stopped"
    assert not Records(job.records).of("left_out")


def test_measurements_that_get_nowhere_are_not_started_for_ever(job, monkeypatch):
    monkeypatch.setattr(processes, "run", lambda *_: {"outcome": "failed", "reason": "no such module", "seconds": 1.0})
    outcome = parts.measure(job, 100, "measurements")
    assert outcome["outcome"] == "failed"
    assert outcome["earlier_endings"] == ["no such module"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import sys; print('first'); sys.exit('setuptools is too old')",
            "it ended with status 1: setuptools is too old",
        ),
        ("import os; os.abort()", "it ended with SIGABRT"),
    ],
)
def test_a_process_that_fails_has_the_last_word(tmp_path, code, reason):
    outcome = processes.run([sys.executable, "-c", code], tmp_path / "log", 60, {"PYTHONUNBUFFERED": "1"})
    assert (outcome["outcome"], outcome["reason"]) == ("failed", reason)


def test_a_silent_process_is_stopped_with_what_it_started(tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    start = time.monotonic()
    outcome = processes.run(
        [sys.executable, "-c", code + "print('started', flush=True); time.sleep(600)"],
        tmp_path / "log",
        60,
        {},
        hangs=lambda: "started" in (tmp_path / "log").read_text().partition("\n")[2],
    )
    assert outcome["outcome"] == "hung"
    assert "nothing moved" in outcome["reason"]
    assert outcome["printed"] == "started\n"
    assert time.monotonic() - start < 30
