"""`dec-train` takes the commands of README.md, CONTRIBUTING.md and docs/."""

import functools
import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.documents import pages
from dec_kernels.trainer import predict
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.compare import run
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
    shipped = {
        "runs/second/config.yaml": "demo_stage2",
        "runs/paper_l1_lp_dec/config.yaml": "paper_l1_lp_dec",
        "runs/denoise_small/config.yaml": "denoise_small",
    }
    Parsed([shipped.get(arg, arg) for arg in args])


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
    assert dec_train(args) == 0
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


def test_comparisons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of compare.md run as they are written, with answers in between that participants would give."""
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXTS["compare.md"], flags=re.DOTALL | re.MULTILINE):
        for script in re.findall(r"^python - <<'EOF'\n(.*?)^EOF$", block, flags=re.DOTALL | re.MULTILINE):
            exec(compile(script, "compare.md", "exec"), {})
        for line in re.findall(r"^dec-train .*$", block.replace("\\\n", " "), flags=re.MULTILINE):
            if line.startswith("dec-train study"):
                answer(Path("study.key.json"))
            args = [
                word
                for pattern in shlex.split(line)[1:]
                for word in (map(str, Path().glob(pattern)) if "*" in pattern else [pattern])
            ]
            assert dec_train(args) == 0, capsys.readouterr().err
    assert (tmp_path / "comparison" / "crops.png").exists()
    assert (tmp_path / "study" / "study.png").exists()


def answer(key: Path) -> None:
    """Two participants who like the methods in the key's order."""
    content = json.loads(key.read_text())
    Path("answers").mkdir()
    for name in ("Ann", "Ben"):
        rankings = []
        for group, secret in content["groups"].items():
            by_method = {method: tile for tile, method in secret["tiles"].items()}
            rankings.append({"group": group, "ranking": [by_method[method] for method in content["methods"]]})
        Path("answers", f"{name}.json").write_text(
            json.dumps({"page": content["page"], "participant": name, "answers": rankings})
        )


def test_the_other_comparison_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @functools.wraps(run.compare)
    def instead(*args: object, **kwargs: object) -> None:
        calls.append(kwargs)
        raise ValueError

    monkeypatch.setattr(run, "compare", instead)
    (command,) = [line for line in commands() if line.startswith("compare") and "datasets/" in line]
    assert run.main(shlex.split(command)[1:]) == 2
    assert [len(calls[0]["hr"]), len(calls[0]["methods"])] == [3, 3]
