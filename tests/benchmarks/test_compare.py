"""The whole command, with the plots and the tables that it makes of the results."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks import compare, documents
from benchmarks.competitors import COMPETITORS, eager
from benchmarks.results import print_tables

SIZES = (64, 128, 256)


def memory(name, n, patch_size):
    return {"extra_bytes": 300 * n, "peak_bytes": 2**28 + 600 * n, "seconds": 1.0}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that the command fills, at tiny sizes, with memory made up and nothing compiled, which takes long."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["compare", "--quick", str(folder)])
        patch.setattr(compare, "QUICK", compare.Plan(dict.fromkeys(SIZES, 2), 128, 128, (64, 128), 512))
        patch.setattr(compare, "measure_in_fresh_process", memory)
        patch.setitem(compare.COMPETITORS, "compile", replace(COMPETITORS["compile"], loss=eager))
        compare.main()
    return folder


@pytest.fixture(scope="module")
def results(written):
    return json.loads((written / "cpu.json").read_text())


def test_writes_plots(written):
    for name in ("cpu_time.png", "cpu_memory.png"):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_results_say_where_they_come_from(results):
    assert {"cpu", "cores", "threads", "memory_gib", "os", "python", "torch", "dec_kernels"} <= set(results["machine"])
    assert {"date", "commit", "uncommitted_changes"} < set(results["run"])
    assert results["run"]["command"].startswith("python -m benchmarks.compare --quick")


def test_results_keep_every_round(results):
    assert {(r["competitor"], r["n"]) for r in results["time"]} == {
        (name, n) for name in results["labels"] for n in SIZES if name != "products_five" or n == 128
    }
    assert all(len(r["rounds"]) == 2 and r["q1"] <= r["median"] <= r["q3"] for r in results["time"])
    assert set(results["losses"]) == set(results["labels"]) - {"products_six", "products_five"}
    assert len(results["choices"]["chunk"]) == 4
    assert len(results["choices"]["tile"]) == 3
    assert len(results["claims"]) == 12
    assert all(claim["met"] is not None for claim in results["claims"])


def test_results_have_errors_of_the_gradient(results):
    assert 1e-8 < results["errors"]["cpp"] < 1e-5
    assert results["errors"]["cpp"] < results["errors"]["cpp_landmarks"] < 1e-2
    assert 1e-4 < results["errors"]["cpp_bf16"] < 1e-2


def test_landmarks_have_one_more_n(results):
    (largest,) = (r for r in results["memory"] if r["n"] == 512)
    assert (largest["competitor"], largest["dim"]) == ("cpp_landmarks", 48)


def test_tables_can_be_made_from_the_file(results):
    out = io.StringIO()
    print_tables(results, Console(file=out, width=140))
    assert all(label in out.getvalue() for label in results["labels"].values())
    assert all(claim["claim"] in out.getvalue() for claim in results["claims"])


def test_documents_can_be_made_from_the_file(written, monkeypatch):
    monkeypatch.setattr(documents, "RESULTS", written)
    assert "| **dec_kernels, `cpp`, `landmarks=128`** |" in documents.cpu()
    assert "at n = 256." in documents.cpu_sizes()
    assert [line.split(" |")[0] for line in documents.landmarks_cost().splitlines() if line.startswith("| ")] == [
        "| n", "| ---", "| 128", "| 256",
    ]  # fmt: skip


def test_what_would_be_too_much_is_left_out():
    time, memory = (
        [{"competitor": "eager", "n": 512, key: value}] for key, value in (("median", 3), ("extra_bytes", 1))
    )
    assert compare.reason_to_stop("eager", 1024, time, memory) is None
    assert "15 s" in compare.reason_to_stop("eager", 1024, [time[0] | {"median": 6}], memory)
    assert "8 GiB" in compare.reason_to_stop("eager", 1024, time, [memory[0] | {"extra_bytes": 3 * 2**30}])
