"""The commands of the README and of docs/ are such as ``dec-train`` takes."""

import functools
import re
import shlex
from pathlib import Path

import pytest

from dec_kernels.trainer import predict
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.sweep import load_sweep

ROOT = Path(__file__).parents[2]
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "docs/training.md")}


def commands() -> list[str]:
    """What stands behind ``dec-train`` in the code blocks, continued lines as one."""
    found = []
    for text in TEXTS.values():
        for block in re.findall(r"```(?:sh)?\n(.*?)```", text, flags=re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                match[1].strip() for line in lines if (match := re.match(r"(?:\.venv/bin/)?dec-train (.*)", line))
            ]
    return found


class Parsed(TrainerCLI):
    def instantiate_classes(self) -> None:
        """Parsing is all."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Parsing is all."""


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith(("fit", "test"))])
def test_trainings_and_tests(command: str) -> None:
    args = shlex.split(command, comments=True)
    Parsed([arg.replace("runs/second/config.yaml", "demo_stage2") for arg in args])


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("predict")])
def test_predictions(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    record = functools.wraps(predict.predict)(lambda **settings: calls.append(settings) or {})
    monkeypatch.setattr(predict, "predict", record)
    assert predict.main(shlex.split(command, comments=True)[1:]) == 0
    assert calls


def test_sweeps(tmp_path: Path) -> None:
    described = re.search(r"cat > weights.yaml <<'EOF'\n(.*?)EOF", TEXTS["docs/training.md"], flags=re.DOTALL)
    assert described
    (tmp_path / "weights.yaml").write_text(described[1])
    names = [re.search(r"--config (\S+)", line)[1] for line in commands() if line.startswith("sweep")]
    assert names == ["thresholds", "weights.yaml"]
    for name in names:
        load_sweep(str(tmp_path / name) if name.endswith(".yaml") else name)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", TEXTS["docs/training.md"]))
def test_links(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
