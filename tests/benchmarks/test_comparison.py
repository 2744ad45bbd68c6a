import io
import json
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks import compare, machine
from benchmarks.competitors import COMPETITORS, eager
from benchmarks.results import claims, curve, print_tables, slope


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder that the command fills, at tiny sizes, with memory made up and nothing compiled, which takes long."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["compare", "--quick", str(folder)])
        patch.setattr(compare, "QUICK", compare.Plan({64: 2, 128: 2}, 128, 128, (64, 128)))
        patch.setattr(compare, "measure_in_fresh_process", lambda name, n, _: {"extra_bytes": 300 * n, "seconds": 1.0})
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
        (name, n) for name in results["labels"] for n in (64, 128) if (name, n) != ("products_five", 64)
    }
    assert all(len(r["rounds"]) == 2 and r["q1"] <= r["median"] <= r["q3"] for r in results["time"])
    assert set(results["losses"]) == set(results["labels"]) - {"products_six", "products_five"}
    assert len(results["choices"]["chunk"]) == 4
    assert len(results["choices"]["tile"]) == 3
    assert len(results["claims"]) == 5


def test_tables_can_be_made_from_the_file(results):
    out = io.StringIO()
    print_tables(results, Console(file=out, width=140))
    assert all(label in out.getvalue() for label in results["labels"].values())
    assert all(claim["claim"] in out.getvalue() for claim in results["claims"])


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_slope_is_the_exponent(exponent):
    points = {n: 3e-9 * n**exponent for n in (2048, 4096, 8192)}
    assert slope({512: 1.0} | points) == pytest.approx(exponent)
    assert slope({512: 1.0, 2048: 1.0}) is None


@pytest.fixture
def measured():
    """n -> seconds and MiB such that every claim is met, and none by much."""
    seconds = {"cpp": 0.9, "cpp_bf16": 0.45, "torch": 2.0, "eager": 2.0, "compile": 1.4, "products_six": 0.8}
    return {
        "labels": {name: name for name in seconds},
        "claims_at": {"speed": 8192, "memory": 32768},
        "time": [{"competitor": name, "n": 8192, "dim": 192, "median": s} for name, s in seconds.items()],
        "memory": [
            {"competitor": "cpp", "n": 32768, "dim": 192, "extra_bytes": 63 * 2**20},
            *({"competitor": "cpp", "n": n, "dim": 48, "extra_bytes": 600 * n} for n in (16384, 32768, 65536)),
        ],
    }


def test_claims_met(measured):
    assert [claim["met"] for claim in claims(measured)] == [True] * 5
    assert curve(measured, "memory", "cpp") == {32768: 63 * 2**20}


@pytest.mark.parametrize(
    ("name", "seconds", "missed"), [("products_six", 0.6, [0]), ("compile", 1.3, [2]), ("eager", 1.1, [1, 2])]
)
def test_claims_about_time_missed(measured, name, seconds, missed):
    next(r for r in measured["time"] if r["competitor"] == name)["median"] = seconds
    assert [i for i, claim in enumerate(claims(measured)) if not claim["met"]] == missed


def test_claims_about_memory_missed(measured):
    for record in measured["memory"]:
        record["extra_bytes"] = record["n"] ** 2
    assert [claim["met"] for claim in claims(measured)] == [True, True, True, False, False]


def test_what_would_be_too_much_is_left_out():
    time, memory = (
        [{"competitor": "eager", "n": 512, key: value}] for key, value in (("median", 3), ("extra_bytes", 1))
    )
    assert compare._too_much("eager", 1024, time, memory) is None
    assert compare._too_much("eager", 1024, [time[0] | {"median": 6}], memory) == "a call would take more than 15 s"
    assert compare._too_much("eager", 1024, time, [memory[0] | {"extra_bytes": 3 * 2**30}]).endswith("8 GiB")


def test_provenance_without_git(monkeypatch, tmp_path):
    for folder in ("dec_kernels", "csrc", "benchmarks/gpu"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.delenv(machine.COMMIT, raising=False)
    found = machine.provenance("benchmarks.compare")
    assert (found["commit"], found["commit_from"], found["uncommitted_changes"]) == (None, None, None)
    monkeypatch.setenv(machine.COMMIT, "abc")
    found = machine.provenance("benchmarks.compare")
    assert (found["commit"], found["commit_from"]) == ("abc", "DEC_KERNELS_COMMIT")


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_copy_within_somebody_elses_repository_is_not_of_its_commit(monkeypatch, tmp_path):
    git(tmp_path, "init")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "theirs")
    for folder in ("dec_kernels", "csrc", "benchmarks/gpu"):
        (tmp_path / "copy" / folder).mkdir(parents=True)
    monkeypatch.setattr(machine, "ROOT", tmp_path / "copy")
    monkeypatch.delenv(machine.COMMIT, raising=False)
    assert machine.provenance("benchmarks.compare")["commit"] is None


def test_the_id_of_sources_is_that_of_git_without_it(tmp_path):
    for name, content in (
        ("b.py", "b"), ("b/c.py", ""), ("b/d/__pycache__/e.pyc", "?"), ("b.txt", "é\n"), ("run", "#!"), ("_C.so", "?"),
    ):  # fmt: skip
        file = tmp_path / "sources" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "sources" / "run").chmod(0o755)
    (tmp_path / "sources" / "link").symlink_to("b.py")
    (tmp_path / ".gitignore").write_text("*.so\n__pycache__/\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "sources")
    tree = git(tmp_path, "write-tree", "--prefix=sources/")
    assert machine.tree_id(tmp_path / "sources") == tree
    (tmp_path / "sources" / "b.py").write_text("c")
    assert machine.tree_id(tmp_path / "sources") != tree
