import json

import pytest

from benchmarks.gpu.records import Records

PLACE = {"n": 16, "dim": 48, "precision": "ieee"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "gpu.jsonl"


def test_what_is_measured_again_counts_once(file):
    for extra in (1, 2):
        Records(file).write("memory", competitor="eager", **PLACE, extra_bytes=extra)
    (memory,) = Records(file).results()["memory"]
    assert memory["extra_bytes"] == 2


def test_each_kernel_counts(file):
    for kernel in ("forward_plain", "backward_plain"):
        Records(file).write("kernel", competitor="triton", **PLACE, kernel=kernel, median=1.0)
    assert len(Records(file).results()["kernels"]) == 2


def test_a_line_that_a_kill_cut_short_is_dropped(file):
    Records(file).write("ceiling", precision="ieee")
    with file.open("a") as lines:
        lines.write('{"kind": "ceil')
    cut = Records(file)
    assert len(cut.all) == 1
    cut.write("ceiling", precision="tf32")
    assert [json.loads(line)["precision"] for line in file.read_text().splitlines()] == ["ieee", "tf32"]


def test_runs_of_the_same_sources_on_the_same_device_count_as_one(file):
    for gpu, precision in (("H100", "ieee"), ("H200", "bf16"), ("H100", "tf32")):
        records = Records.begin(file, {"gpu": gpu})
        records.write("ceiling", precision=precision)
    found = Records(file)
    assert [r["precision"] for r in found.of("ceiling")] == ["ieee", "tf32"]
    assert found.others == 2
    assert len(file.read_text().splitlines()) == 6


def test_only_what_ended_a_run_twice_is_left_out(file):
    for _ in range(2):
        records = Records.begin(file, {})
        records.close_repeatedly_interrupted()
        assert not records.of("left_out")
        records.write("trying", competitor="eager", **PLACE, among=2)  # and here the run is killed
    records = Records.begin(file, {})
    records.close_repeatedly_interrupted()
    (out,) = records.of("left_out")
    assert out["competitor"] == "eager"
    assert "twice" in out["reason"]
    assert records.under_way() is None


def test_what_came_to_an_end_was_not_interrupted(file):
    for _ in range(2):
        records = Records.begin(file, {})
        records.write("trying", competitor="eager", **PLACE, among=2)
        records.write("memory", competitor="eager", **PLACE, extra_bytes=1)
        records.close_repeatedly_interrupted()
    assert not records.of("left_out")


def test_a_part_that_did_not_end_was_cut_off(file):
    Records(file).write("part", part="tests", outcome="done", seconds=1.0)
    Records(file).write("part", part="tune", outcome="begun")
    parts = Records(file).parts()
    assert parts["tests"] == {"outcome": "done", "seconds": 1.0}
    assert parts["tune"]["outcome"] == "cut off"
