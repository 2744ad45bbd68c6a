import os
import subprocess
import sys
import time

import pytest
import torch

from benchmarks.competitors import Competitor, eager
from benchmarks.gpu import measure
from benchmarks.gpu.device import CaptureFailed, DryRun
from benchmarks.gpu.measure import Bench
from benchmarks.gpu.plan import FULL, MEMORY_AT, Case, Plan
from benchmarks.gpu.records import Records


def fails(sr, hr, patch_size):
    raise RuntimeError("no such\n  instruction")


def plan(*cases: Case) -> Plan:
    return Plan(cases, graphs_up_to=16, kernels_at=0, exact_up_to=16)


@pytest.fixture(autouse=True)
def keep_the_setting():
    found = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(found)


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "records.jsonl")


@pytest.fixture
def two(monkeypatch):
    """One competitor that fails and one that runs."""
    there = {"broken": Competitor("broken", True, fails), "eager": Competitor("eager", True, eager)}
    monkeypatch.setattr(measure, "competitors", lambda precision, device: there)
    return Case(16, 48, "ieee", ["broken", "eager"])


def test_one_that_fails_loses_nothing_else(two, records):
    Bench(plan(two), DryRun(), records).run(time.time() + 100)
    (out,) = records.of("left_out")
    assert (out["competitor"], out["from_n"], out["reason"]) == ("broken", 0, "RuntimeError: no such instruction")
    assert {r["competitor"] for r in records.of("time")} == {"eager"}


def test_goes_on_where_it_ended(two, records):
    larger = two._replace(n=64)
    Bench(plan(two), DryRun(), records).run(time.time() + 100)
    Bench(plan(two, larger), DryRun(), Records(records.path)).run(time.time() + 100)
    again = Records(records.path)
    assert [r["n"] for r in again.of("done")] == [16, 64]
    assert len(again.of("left_out", competitor="broken")) == 1  # what failed once is not tried again
    assert len(again.of("ceiling")) == 3


def test_an_error_that_ends_the_process_is_not_met_twice(two, records, monkeypatch):
    """After such an error nothing runs on the device in that process any more: it ends, and the next one goes on."""
    device = DryRun()
    monkeypatch.setattr(device, "check", lambda: fails(None, None, None))
    with pytest.raises(RuntimeError):
        Bench(plan(two), device, records).run(time.time() + 100)
    Bench(plan(two), device, Records(records.path)).run(time.time() + 100)
    assert {r["competitor"] for r in Records(records.path).of("time")} == {"eager"}


def test_nothing_starts_after_the_deadline(two, records):
    Bench(plan(two), DryRun(), records).run(deadline=0)
    assert not records.of("time")
    Bench(plan(two), DryRun(), records).run(time.time() + 100)  # and a later run goes on
    assert {r["competitor"] for r in records.of("time")} == {"eager"}


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("time", {"direction": "both", "median": 0.2}, None),
        ("time", {"direction": "both", "median": 0.3}, "more than 1 s"),
        ("memory", {"extra_bytes": 10 * 2**30}, None),
        ("memory", {"extra_bytes": 20 * 2**30}, "are free"),
    ],
)
def test_what_would_be_too_much_is_left_out(records, monkeypatch, kind, fields, reason):
    bench = Bench(plan(), DryRun(), records)
    monkeypatch.setattr(bench.device, "free_bytes", lambda: 80 * 2**30)
    records.write(kind, competitor="eager", n=1024, dim=48, precision="tf32", **fields)
    found = bench.too_much(Case(2048, 48, "tf32", ["eager"]), "eager")
    assert found is None if reason is None else reason in found


def test_one_that_cannot_be_captured_ends_the_process_and_is_said_to_be_so(two, records, monkeypatch):
    """Its stream is in no state to go on with. The next process leaves its graph out, and times it live."""
    device = DryRun()

    def captured(call):
        raise CaptureFailed("RuntimeError: not permitted")

    monkeypatch.setattr(device, "captured", captured)
    with pytest.raises(CaptureFailed):
        Bench(plan(two), device, records).run(time.time() + 100)
    (_, out) = records.of("left_out")
    assert (out["competitor"], out["from_n"]) == ("eager as a graph", 0)
    assert out["reason"] == "it cannot be captured: RuntimeError: not permitted"
    Bench(plan(two), device, Records(records.path)).run(time.time() + 100)
    assert {r["direction"] for r in Records(records.path).of("time")} == {"forward", "backward", "both", "host"}


def test_a_larger_n_than_the_plan_says_is_not_captured(two, records):
    Bench(plan(two._replace(n=64)), DryRun(), records).run(time.time() + 100)
    assert "graph" not in {r["direction"] for r in records.of("time")}


def test_two_cases_at_one_place_are_both_measured(two, records):
    Bench(plan(two, two._replace(names=["eager"])), DryRun(), records).run(time.time() + 100)
    assert [r["among"] for r in records.of("done")] == [2, 1]


def test_the_plan_begins_with_what_is_claimed():
    ours, rest = FULL["measurements"].cases[:2], FULL["measurements"].cases[2:]
    assert [(case.n, case.dim, case.precision) for case in ours] == [(8192, 192, "bf16"), (8192, 192, "tf32")]
    assert all(case.names == ("triton", "cpp") for case in ours)
    assert [(case.n, case.dim) for case in rest] == 4 * [(8192, 192)] + [(MEMORY_AT[False], 48)]
    assert [case.precision for case in rest[:4]] == ["bf16", "tf32", "ieee", "tf32x3"]
    everything = [case for plan in FULL.values() for case in plan.cases]
    assert len({tuple(case.key.values()) for case in everything}) == len(everything)


CHUNKED = """
import torch
from benchmarks.competitors import RADIUS, eager
from benchmarks.gpu import cublas_triton
from benchmarks.gpu.competitors import cublas_triton as loss
from benchmarks.workload import images

cublas_triton._BLOCK = 16
sr, hr = images(36, 4)
sr.requires_grad_()
z = torch.empty(36, 48)
assert [len(s) for _, s, _, _ in cublas_triton._chunks(z, z, 0.012)] == [29, 7]
found = loss(sr, hr, 4, mib=0.012, operands=torch.float32)
expected = eager(sr, hr, 4)
torch.testing.assert_close(found, expected)
torch.testing.assert_close(*(torch.autograd.grad(x, sr)[0] for x in (found, expected)), rtol=1e-4, atol=1e-7)
"""


def test_cublas_and_triton_in_chunks_and_blocks_agree_with_eager():
    """In a process of its own: whether Triton interprets its kernels is decided when they are imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CHUNKED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
