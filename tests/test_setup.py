"""What `setup.py` does where a toolchain is incomplete; test_release.py has the ways without any."""

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


def test_where_cuda_cannot_be_compiled_the_extension_is_built_for_the_cpu(sources: Path) -> None:
    """A PyTorch for CUDA, as far as `setup.py` can see, and a toolkit of which nvcc is missing."""
    (sources / "sitecustomize.py").write_text(
        "import torch; torch.version.cuda = '13.0'; torch.cuda._is_compiled = lambda: True; "
        "torch.cuda.is_available = lambda: False"
    )
    (sources / "cuda").mkdir()
    # Answers as the compiler that it stands for, and writes empty files instead of compiling.
    compiler = sources / "c++"
    compiler.write_text(
        f"""#!/bin/sh
case "$*" in *-dump*|*--version*|-v) exec {shutil.which("c++")} "$@" ;; esac
echo "$@" >> {sources}/commands
while [ "$1" != -o ]; do shift; done
touch "$2"
"""
    )
    compiler.chmod(0o755)
    toolchain = {"CXX": str(compiler), "CC": str(compiler), "CUDA_HOME": str(sources / "cuda")}
    done = build(sources, toolchain | {"PYTHONPATH": str(sources)})
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("dec-kernels: ")]
    assert len(lines) == 1
    assert "nvcc not found" in lines[0]
    assert list((sources / "out" / "dec_kernels").glob("_C.*.so"))
    commands = (sources / "commands").read_text()
    assert "walk_cpu" in commands
    assert "walk_cuda" not in commands
    assert "torch_cuda" not in commands
