"""A plugin of pytest that writes into the file of records how each test begins and ends, as it happens.

    DEC_GPU_RECORDS=FILE pytest -p benchmarks.gpu.outcomes

A kill so loses the tests under way alone, and their names are known. Tests that passed before the part began anew are
not run a second time.

After some errors, an access to no memory say, nothing runs on the device in that process any more. One of xdist's
workers that has met such an error ends, and xdist starts another: otherwise it would fail test after test in no time,
and take them from workers that are well.
"""

import os
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.records import Records

FILE = "DEC_GPU_RECORDS"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # what xdist's workers find out, the process that started them is told
        config.pluginmanager.register(Writer(Records(Path(os.environ[FILE]))))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Reads only what was there when the part began, so that all workers, at any time, leave out the same tests."""
    before = Records(Path(os.environ[FILE]))
    began = max((i for i, r in enumerate(before.all) if r["kind"] == "part" and r["part"] == "tests"), default=0)
    del before.all[began:]
    passed = {name for name, test in before.tests().items() if test["outcome"] == "passed"}
    again = [item for item in items if item.nodeid in passed]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item.nodeid not in passed]


@pytest.hookimpl(trylast=True)  # xdist has sent the report on by then
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" in os.environ and _device_is_lost():
        os._exit(1)


def _device_is_lost() -> bool:
    try:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


class Writer:
    def __init__(self, records: Records) -> None:
        self.records = records
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.records.write("testing", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid in self.failed and report.when not in ("setup", "call", "teardown"):
            return  # the worker ended, as xdist says; why it did is known already
        if report.when == "call" or not report.passed:
            if report.failed:
                self.failed.add(report.nodeid)
            outcome = "error" if report.failed and report.when != "call" else report.outcome
            self._write(report.nodeid, outcome, report.duration, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "error", 0.0, report)

    def _write(self, name: str, outcome: str, seconds: float, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.records.write("test", test=name, outcome=outcome, seconds=round(seconds, 2), message=_message(report))


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why, in a line; nothing of a test that passed."""
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash else report.longreprtext.strip().rpartition("\n")[2]
    return " ".join(said.split())[:600]
