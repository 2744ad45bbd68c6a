import subprocess

from benchmarks import machine


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
