"""The plugin that writes down how tests end."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from benchmarks.gpu import outcomes
from benchmarks.gpu.records import Records
from benchmarks.machine import ROOT

TESTS = """
import time
import pytest

@pytest.fixture
def broken():
    raise ValueError("no\\n  fixture")

def test_passes(): pass
def test_fails(): assert 1 == 2, "of course"
def test_errs(broken): pass
@pytest.mark.skip(reason="not today")
def test_skips(): pass
def test_lasts(): time.sleep({seconds})
"""


def pytest_of(folder, tests):
    (folder / "test_made_up.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.gpu.outcomes", "test_made_up.py"]
    environment = os.environ | {outcomes.FILE: str(folder / "gpu.jsonl"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def test_outcomes_of_tests_survive_a_kill_and_what_passed_is_not_run_again(tmp_path):
    file = tmp_path / "gpu.jsonl"
    Records(file).write("part", part="tests", outcome="begun")
    process = pytest_of(tmp_path, TESTS.format(seconds=600))
    end = time.monotonic() + 100
    while not any(test.endswith("test_lasts") for test in Records(file).tests()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    found = {name.rpartition("::")[2]: test for name, test in Records(file).tests().items()}
    assert {name: test["outcome"] for name, test in found.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_errs": "error",
        "test_skips": "skipped",
        "test_lasts": "cut off",
    }
    assert found["test_fails"]["message"].startswith("AssertionError: of course")
    assert found["test_errs"]["message"] == "ValueError: no fixture"
    assert found["test_skips"]["message"] == "Skipped: not today"

    Records(file).write("part", part="tests", outcome="begun")
    assert pytest_of(tmp_path, TESTS.format(seconds=0)).wait() == 1
    again = [r["test"].rpartition("::")[2] for r in Records(file).of("testing")][5:]
    assert again == ["test_fails", "test_errs", "test_skips", "test_lasts"]
    assert Records(file).tests()["test_made_up.py::test_lasts"]["outcome"] == "passed"


def test_a_file_of_tests_that_cannot_be_imported_is_an_error(tmp_path):
    file = tmp_path / "gpu.jsonl"
    Records(file).write("part", part="tests", outcome="begun")
    assert pytest_of(tmp_path, "import nothing_of_the_kind").wait() == 2
    (test,) = Records(file).tests().values()
    assert test["outcome"] == "error"
    assert "nothing_of_the_kind" in test["message"]


def test_all_workers_leave_out_the_same_tests_whenever_they_ask(tmp_path, monkeypatch):
    """xdist wants one collection of all its workers, and one may begin when another's first tests have passed."""
    file = tmp_path / "gpu.jsonl"
    records, passed = Records(file), {"outcome": "passed", "seconds": 1.0, "message": ""}
    records.write("part", part="tests", outcome="begun")
    records.write("test", test="before", **passed)
    records.write("part", part="tests", outcome="begun")
    records.write("test", test="just now", **passed)
    monkeypatch.setenv(outcomes.FILE, str(file))
    config = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: None))
    items = [SimpleNamespace(nodeid=name) for name in ("before", "just now", "later")]
    outcomes.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["just now", "later"]


@pytest.mark.parametrize(
    ("worker", "outcome", "device", "ends"),
    [
        ("gw0", "failed", "lost", True),
        ("gw0", "failed", "well", False),
        ("gw0", "passed", "lost", False),
        (None, "failed", "lost", False),
    ],
)
def test_a_worker_that_has_lost_the_device_ends(monkeypatch, worker, outcome, device, ends):
    def synchronize():
        if device == "lost":
            raise RuntimeError("an illegal memory access was encountered")

    exits = []
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if worker:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    monkeypatch.setattr("os._exit", exits.append)
    outcomes.pytest_runtest_logreport(SimpleNamespace(failed=outcome == "failed"))
    assert bool(exits) == ends


@pytest.mark.parametrize(("known", "message"), [(True, "illegal memory access"), (False, "worker 'gw0' crashed")])
def test_that_a_worker_ended_does_not_hide_why(tmp_path, known, message):
    def report(when, said):
        return pytest.TestReport("test_it", ("test_it.py", 1, "test_it"), {}, "failed", said, when)

    writer = outcomes.Writer(Records(tmp_path / "gpu.jsonl"))
    if known:
        writer.pytest_runtest_logreport(report("call", "illegal memory access"))
    writer.pytest_runtest_logreport(report("???", "worker 'gw0' crashed"))  # as xdist reports it
    assert writer.records.tests()["test_it"]["message"] == message
