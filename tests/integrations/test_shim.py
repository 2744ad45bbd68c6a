"""The folders and the ending of the file name are those that traiNNer/losses/__init__.py of traiNNer-redux (commit
0cd93be8) and neosr/losses/__init__.py of neosr (commit c5d54ee4) scan.
"""

import argparse
import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from dec_kernels.integrations import shim

TRAINERS = [("traiNNer-redux", "traiNNer", "trainner_redux"), ("neosr", "neosr", "neosr")]


@pytest.fixture(params=TRAINERS, ids=lambda case: case[0])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Path]:
    """A trainer's name, its adapter, and the folder of losses in a checkout at the current folder of the command."""
    trainer, package, adapter = request.param
    losses = tmp_path / package / "losses"
    losses.mkdir(parents=True)
    (losses / "__init__.py").touch()
    return trainer, adapter, losses


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="dec-kernels")
    shim.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["install-shim", *map(str, arguments)])
    return parsed.run(parsed)


def test_it_shows_the_file_and_writes_it(
    case: tuple[str, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _, losses = case
    assert command(trainer, tmp_path) == 0
    (written,) = losses.glob("*_loss.py")
    shown = capsys.readouterr().out
    assert f"{written}:" in shown
    assert written.read_text() in shown

    assert command(trainer, tmp_path) == 0
    assert "is there already" in capsys.readouterr().out


def test_what_it_writes_imports_the_adapter(
    case: tuple[str, str, Path], tmp_path: Path, adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, name, losses = case
    adapter(name)
    command(trainer, tmp_path)
    registry = importlib.import_module(f"{losses.parent.name}.utils.registry").LOSS_REGISTRY
    monkeypatch.setattr(registry, "_obj_map", {})
    monkeypatch.delitem(sys.modules, f"dec_kernels.integrations.{name}")
    runpy.run_path(str(losses / "dec_loss.py"))
    assert ("dec_loss" if trainer == "neosr" else "decloss") in registry


def test_a_different_file_is_left_as_it_is(case: tuple[str, str, Path], tmp_path: Path) -> None:
    trainer, _, losses = case
    (losses / "dec_loss.py").write_text("mine")
    with pytest.raises(FileExistsError, match=r"dec_loss\.py exists and is not this shim"):
        command(trainer, tmp_path)
    assert (losses / "dec_loss.py").read_text() == "mine"


@pytest.mark.parametrize("trainer", shim.SHIMS)
def test_a_path_that_is_no_checkout(trainer: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} is not a checkout of {trainer}: it has no "):
        command(trainer, tmp_path)
    assert not list(tmp_path.iterdir())
