"""What runs without Triton: the reasons that keep the backend from running, and the size of what it keeps."""

import subprocess
import sys

import pytest
import torch

from dec_kernels.backends import triton
from tests.conftest import on_the_interpreter
from tests.oracle import evaluate


@on_the_interpreter
def test_float64_rows_go_elsewhere() -> None:
    assert any("float64" in reason for reason in triton.BACKEND.reasons(torch.device("cpu"), torch.float64, 192))
    assert triton.BACKEND.reasons(torch.device("cpu"), torch.float32, 192) == []


@on_the_interpreter
def test_wider_rows_go_elsewhere() -> None:
    assert any("768" in reason for reason in triton.BACKEND.reasons(torch.device("cpu"), torch.float32, 769))
    with pytest.raises(RuntimeError, match="3072"):
        evaluate(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), patch_size=32, backend="triton")


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
from dec_kernels.backends.triton import BACKEND
from dec_kernels.spec import Spec
images = torch.empty(2, 3, 16, 16, device="meta")
print(BACKEND.kept_bytes(images, 8, 8, False, Spec().constants(192, "tf32"), torch.float32))
"""


def test_only_the_launches_import_triton() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True, check=True)
    # z, h and p of 8 rows; mean, square, first, last; both orders.
    assert int(run.stdout) == 8 * (3 * 192 * 4 + 4 * 4 + 2 * 8)
