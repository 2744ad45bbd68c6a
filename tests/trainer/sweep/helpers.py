"""What the tests of sweeps share."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dec_kernels.trainer import cli
from dec_kernels.trainer.sweep import load_sweep
from dec_kernels.trainer.sweep import main as sweep_main
from dec_kernels.trainer.sweep.spec import Sweep


def main(argv: Sequence[str]) -> int:
    return sweep_main(argv, cli.main)


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def build(kind: str, figures: dict[str, dict[str, float]], **figure: Any) -> tuple[Sweep, dict[str, dict[str, Any]]]:
    """A sweep over a x b, as far as the names of its runs say, and its results."""
    content = {
        "title": "T",
        "base": "b",
        "figure": {"kind": kind, **figure},
        "runs": {name: dict(zip("ab", map(float, name.split(",")), strict=False)) for name in figures},
    }
    sweep = load_content(content)
    return sweep, {name: {"settings": sweep.runs[name], "figures": row} for name, row in figures.items()}


def load_content(content: dict[str, Any]) -> Sweep:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_sweep(str(path))
