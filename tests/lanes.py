"""The versions of Triton that the kernels are compiled with: the installed one, and the oldest that they take.

`make test` puts the oldest into a folder of the virtual environment. A process that has this folder first on its path
imports it in place of the installed one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dec_kernels.backends.triton import tiles

OLDEST = Path(sys.prefix) / "triton-3.6"
_without_oldest = pytest.mark.skipif(
    not OLDEST.exists(), reason=f"Triton 3.6 is not in {OLDEST}: `make test` puts it there"
)
# For pytest.mark.parametrize("lane", LANES).
LANES = ["installed", pytest.param("oldest", marks=_without_oldest)]
# Of the tile table the tests compile these widths with the Triton of a lane; `make table` compiles all with both.
WIDTHS = {"installed": tiles.WIDTHS, "oldest": (64, 192, 768)}


def environment(lane: str) -> dict[str, str]:
    """For a process that compiles the kernels with the Triton of a lane, rather than interpreting them."""
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if lane == "oldest":
        variables["PYTHONPATH"] = os.pathsep.join([str(OLDEST), *filter(None, [variables.get("PYTHONPATH")])])
    return variables


def printed(program: str, lane: str = "installed") -> str:
    """What a program prints that compiles the kernels with the Triton of a lane."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment(lane), capture_output=True, text=True, check=True).stdout
