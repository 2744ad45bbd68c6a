"""The package as it is imported: what it needs, and what needs it."""

import subprocess
import sys

import pytest

NEEDED = (
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "cv2",
    "PIL",
    "rich",
    "matplotlib",
    "scipy",
    "skimage",
    "tensorboard",
    "yaml",
    "safetensors",
)


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_loss_imports_nothing_of_the_trainer() -> None:
    result = python(f"import sys, dec_kernels; print([name for name in {NEEDED} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("name", ["lightning", "rich"])
def test_a_missing_dependency_is_named_with_the_remedy(name: str) -> None:
    hide = f"import sys, importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == {name!r} else f(n)"
    result = python(f"{hide}\nimport dec_kernels.trainer")
    assert f"dec_kernels.trainer needs {name}" in result.stderr
    assert "pip install 'dec-kernels[trainer]'" in result.stderr
