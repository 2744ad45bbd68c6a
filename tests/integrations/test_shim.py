"""The folders and the endings of the file names are those that traiNNer/losses/__init__.py of traiNNer-redux (commit
68629319), neosr/losses/__init__.py and neosr/models/__init__.py of neosr (commit 31c7022) scan.
"""

import argparse
import builtins
import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dec_kernels.integrations import shim

FILES = {
    "traiNNer-redux": {"traiNNer/losses/dec_loss.py": "trainner_redux"},
    "neosr": {"neosr/losses/dec_loss.py": "neosr", "neosr/models/dec_image.py": "neosr_models"},
}
REGISTERED = {
    "traiNNer-redux": ("traiNNer", ["decloss"], []),
    "neosr": ("neosr", ["dec_loss"], ["dec_image", "dec_otf"]),
}


@pytest.fixture(params=FILES)
def framework(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a framework whose checkout is at `tmp_path`."""
    for file in FILES[request.param]:
        folder = (tmp_path / file).parent
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    return request.param


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="dec-kernels")
    shim.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["install-shim", *map(str, arguments)])
    return parsed.run(parsed)


def test_it_shows_the_files_and_writes_them(framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(framework, tmp_path) == 0
    shown = capsys.readouterr().out
    files = [tmp_path / file for file in FILES[framework]]
    for file in files:
        assert str(file) in shown
        assert file.read_text() in shown
    assert {file for file in tmp_path.rglob("*.py") if file.name != "__init__.py"} == set(files)

    assert command(framework, tmp_path) == 0
    unchanged = capsys.readouterr().out
    assert all(str(file) in unchanged for file in files)
    assert "import" not in unchanged, "the contents are shown once"


def test_what_it_writes_imports_the_adapters(
    framework: str, tmp_path: Path, adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(framework, tmp_path)
    package, losses, models = REGISTERED[framework]
    for name in FILES[framework].values():
        adapter(name)
        monkeypatch.delitem(sys.modules, f"dec_kernels.integrations.{name}")
    registries = importlib.import_module(f"{package}.utils.registry")
    for kind, names in (("LOSS", losses), ("MODEL", models)):
        if names:
            monkeypatch.setattr(getattr(registries, f"{kind}_REGISTRY"), "_obj_map", {})
    for file in FILES[framework]:
        runpy.run_path(str(tmp_path / file))
    assert all(name in registries.LOSS_REGISTRY for name in losses)
    assert all(name in registries.MODEL_REGISTRY for name in models)


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'dec_kernels'"), AttributeError("module 'torch' has no attribute 'new'")],
    ids=lambda error: type(error).__name__,
)
def test_where_the_package_cannot_be_imported_a_shim_warns_and_leaves(
    framework: str, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, *arguments: Any) -> ModuleType:
        if name.startswith("dec_kernels"):
            raise error
        return imported(name, *arguments)

    command(framework, tmp_path)
    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    for file in FILES[framework]:
        with pytest.warns(
            UserWarning, match=f"{type(error).__name__}: {error}.*(uv add|pip install) path/to/"
        ) as caught:
            runpy.run_path(str(tmp_path / file))
        assert caught[0].filename == str(tmp_path / file)


def test_the_shim_of_an_older_version_is_updated(
    framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / next(iter(FILES[framework]))
    old.write_text(
        f"# Written by `dec-kernels install-shim {framework}`. To undo it, delete this file.\n"
        f"import dec_kernels.integrations.{FILES[framework][old.relative_to(tmp_path).as_posix()]}  # noqa: F401\n"
    )
    assert command(framework, tmp_path) == 0
    assert "except Exception" in old.read_text()
    shown = capsys.readouterr().out
    assert str(old) in shown
    assert old.read_text() in shown


@pytest.mark.parametrize("content", [b"mine", b"\xff\xfe", b""])
def test_a_different_file_is_left_as_it_is(framework: str, tmp_path: Path, content: bytes) -> None:
    *others, theirs = [tmp_path / file for file in FILES[framework]]
    theirs.write_bytes(content)
    with pytest.raises(FileExistsError, match=str(theirs)):
        command(framework, tmp_path)
    assert theirs.read_bytes() == content
    assert not any(other.exists() for other in others), "all of them, or none"


@pytest.mark.parametrize("name", FILES)
def test_a_path_that_is_no_checkout(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} is not a checkout of {name}: it has no "):
        command(name, tmp_path)
    assert not list(tmp_path.iterdir())
