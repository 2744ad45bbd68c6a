"""`dec-train` takes the commands of README.md, CONTRIBUTING.md and docs/."""

import functools
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.documents import pages
from dec_kernels.trainer import predict
from dec_kernels.trainer.cli import TrainerCLI, main
from dec_kernels.trainer.sweep import load_sweep

TEXTS = {page.name: page.read_text() for page in pages()}


def commands() -> list[str]:
    """What stands behind `dec-train` in the code blocks, continued lines as one."""
    blocks = [
        block
        for text in TEXTS.values()
        for language, block in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
        if language in ("", "sh")
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("dec-train ").strip() for line in lines if line.startswith("dec-train ")]


class Parsed(TrainerCLI):
    def instantiate_classes(self) -> None:
        """Parsing is all."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Parsing is all."""


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith(("fit", "test"))])
def test_trainings_and_tests(command: str) -> None:
    args = shlex.split(command, comments=True)
    trained = {"runs/second/config.yaml": "demo_stage2", "runs/denoise_small/config.yaml": "denoise_small"}
    Parsed([trained.get(arg, arg) for arg in args])


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("predict")])
def test_predictions(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @functools.wraps(predict.predict)
    def instead(*args: object, **kwargs: object) -> dict[Path, str]:
        calls.append((args, kwargs))
        return {}

    monkeypatch.setattr(predict, "predict", instead)
    assert predict.main(shlex.split(command, comments=True)[1:]) == 0
    assert calls


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("degrade")])
def test_sheets(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, and they write what the page shows."""
    monkeypatch.chdir(tmp_path)
    args = shlex.split(command, comments=True)
    assert main(args) == 0
    if "--output" in args:
        picture = args[args.index("--output") + 1]
        size = Image.open(picture).size
        if picture in TEXTS["real-world.md"].partition("![")[2].partition("Every setting")[0]:
            assert Image.open(Path(__file__).parents[2] / "docs" / picture).size == size


def test_sweeps(tmp_path: Path) -> None:
    described = re.search(r"cat > weights.yaml <<'EOF'\n(.*?)EOF", TEXTS["training.md"], flags=re.DOTALL)
    assert described
    (tmp_path / "weights.yaml").write_text(described[1])
    sweeps = [line for line in commands() if line.startswith("sweep")]
    names = [re.search(r"--config (\S+)", line)[1] for line in sweeps]
    assert names == ["thresholds", "weights.yaml"]
    for name, command in zip(names, sweeps, strict=True):
        sweep = load_sweep(str(tmp_path / name) if name.endswith(".yaml") else name)
        # Behind the sweep's own two arguments stand those of each training.
        Parsed(["fit", "--config", sweep.base, *shlex.split(command)[5:]])
