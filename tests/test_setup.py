import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", "dec_kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return tmp_path


def build(sources: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "setup.py", "build", "--build-lib", "out"]
    return subprocess.run(
        command, cwd=sources, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def loss_and_backend(sources: Path) -> str:
    # Without the finder of an editable installation, which would find this checkout's extension.
    program = "import sys; sys.meta_path = [finder for finder in sys.meta_path if 'ditable' not in repr(finder)];"
    program += "import torch, dec_kernels.backends as b, dec_kernels as d; x = torch.rand(1, 3, 16, 16);"
    program += "print(d.__file__, float(d.dec_loss(x, x)), b.choose('auto', x.device, x.dtype))"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(sources / "out")}
    return subprocess.run(
        command, cwd=sources / "out", env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "/nowhere/c++"}, "there is no C++ compiler '/nowhere/c++'"),
        # A compiler that is there and fails.
        ({"CXX": "false", "CC": "false"}, "the compiler failed"),
    ],
)
def test_without_a_compiler_the_install_succeeds_and_says_what_is_missing(
    sources: Path, environment: dict[str, str], reason: str
) -> None:
    done = build(sources, environment)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("dec-kernels: the C++ extension is left out")]
    assert len(lines) == 1
    assert reason in lines[0]
    assert loss_and_backend(sources).split()[2] == "torch"


def test_without_pytorch_in_the_build_the_install_succeeds_and_says_so(sources: Path) -> None:
    (sources / "torch.py").write_text("raise ImportError('not in this build environment')")
    done = build(sources, {"PYTHONPATH": str(sources)})
    assert done.returncode == 0, done.stderr
    assert "PyTorch is not there while building; pip install --no-build-isolation lets it be seen" in done.stderr
