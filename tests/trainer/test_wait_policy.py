"""How the trainer's threads wait; what the OpenMP runtime has read, it says itself."""

import os
import re
import subprocess
import sys

import pytest

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def spins(**chosen: str) -> int:
    """How often a thread of PyTorch's runtime looks before it sleeps, after the command has told it how to wait."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    code = "import sys, dec_train; dec_train.wait_briefly(); assert 'torch' not in sys.modules; import torch"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | chosen | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(re.search(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime of PyTorch's wheels for Linux is asked")
def test_threads_that_wait_soon_sleep_unless_the_user_has_chosen() -> None:
    assert spins() == 1000
    assert spins(OMP_WAIT_POLICY="ACTIVE") > 1000
    assert spins(OMP_WAIT_POLICY="PASSIVE") == 0
    assert spins(GOMP_SPINCOUNT="100") == 100


def test_dec_train_is_that_command() -> None:
    done = subprocess.run([sys.executable, "-m", "dec_train", "fti"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no command 'fti'" in done.stderr
