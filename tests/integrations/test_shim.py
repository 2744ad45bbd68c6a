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
def trainer(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A trainer, of which a checkout is at `tmp_path`."""
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


def test_it_shows_the_files_and_writes_them(trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(trainer, tmp_path) == 0
    shown = capsys.readouterr().out
    files = [tmp_path / file for file in FILES[trainer]]
    for file in files:
        assert f"{file}, new:\n\n{file.read_text()}" in shown
    assert {file for file in tmp_path.rglob("*.py") if file.name != "__init__.py"} == set(files)

    assert command(trainer, tmp_path) == 0
    assert capsys.readouterr().out.count("is there already") == len(files)


def test_what_it_writes_imports_the_adapters(
    trainer: str, tmp_path: Path, adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(trainer, tmp_path)
    package, losses, models = REGISTERED[trainer]
    for name in FILES[trainer].values():
        adapter(name)
        monkeypatch.delitem(sys.modules, f"dec_kernels.integrations.{name}")
    registries = importlib.import_module(f"{package}.utils.registry")
    for kind, names in (("LOSS", losses), ("MODEL", models)):
        if names:
            monkeypatch.setattr(getattr(registries, f"{kind}_REGISTRY"), "_obj_map", {})
    for file in FILES[trainer]:
        runpy.run_path(str(tmp_path / file))
    assert all(name in registries.LOSS_REGISTRY for name in losses)
    assert all(name in registries.MODEL_REGISTRY for name in models)


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'dec_kernels'"), AttributeError("module 'torch' has no attribute 'new'")],
    ids=lambda error: type(error).__name__,
)
def test_where_the_package_cannot_be_imported_a_shim_warns_and_leaves(
    trainer: str, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, *arguments: Any) -> ModuleType:
        if name.startswith("dec_kernels"):
            raise error
        return imported(name, *arguments)

    command(trainer, tmp_path)
    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    for file in FILES[trainer]:
        with pytest.warns(
            UserWarning, match=f"{type(error).__name__}: {error}.*(uv add|pip install) path/to/"
        ) as caught:
            runpy.run_path(str(tmp_path / file))
        assert caught[0].filename == str(tmp_path / file)


def test_the_shim_of_an_older_version_is_updated(
    trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / next(iter(FILES[trainer]))
    old.write_text(
        f"# Written by `dec-kernels install-shim {trainer}`. To undo it, delete this file.\n"
        f"import dec_kernels.integrations.{FILES[trainer][old.relative_to(tmp_path).as_posix()]}  # noqa: F401\n"
    )
    assert command(trainer, tmp_path) == 0
    assert "except Exception" in old.read_text()
    assert f"{old}, updated:" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"mine", b"\xff\xfe", b""])
def test_a_different_file_is_left_as_it_is(trainer: str, tmp_path: Path, content: bytes) -> None:
    *others, theirs = [tmp_path / file for file in FILES[trainer]]
    theirs.write_bytes(content)
    with pytest.raises(FileExistsError, match=rf"{theirs.name} exists and is not this shim"):
        command(trainer, tmp_path)
    assert theirs.read_bytes() == content
    assert not any(other.exists() for other in others), "all of them, or none"


@pytest.mark.parametrize("name", FILES)
def test_a_path_that_is_no_checkout(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} is not a checkout of {name}: it has no "):
        command(name, tmp_path)
    assert not list(tmp_path.iterdir())
