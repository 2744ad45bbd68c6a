"""Every configuration of the tile table, compiled ahead of time for architectures that are not here."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from dec_kernels.backends.triton import aot, tiles
from dec_kernels.backends.triton.tiles import Tile

BUILD = aot.Build("sm_90", 192, "bf16", "forward_plain", Tile(128, 64, 8, 2), Tile(128, 64, 8, 2))
WGMMA = Counter({"HGMMA": 24, "MUFU": 64})
# Compilation needs the kernels as they are, and these tests run them interpreted.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.mark.timeout(900)
def test_every_configuration_compiles_without_spills_within_shared_memory_and_with_wgmma() -> None:
    command = [sys.executable, "-m", "dec_kernels.backends.triton.aot"]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if "FAULT" in line)
    assert last.startswith(f"{4 * len(tiles.TABLE)} kernels, 0 faults")


def test_a_configuration_that_cannot_be_is_a_fault() -> None:
    """128 x 128 tiles of 16 chunks: they spill, and would not fit either."""
    program = (
        "from dec_kernels.backends.triton import aot; from dec_kernels.backends.triton.tiles import Tile, Tiles;"
        "t = Tile(128, 128, 4, 3); b = aot.Build('sm_120', 256, 'tf32', 'forward_plain', t, t);"
        "print(aot.report(b).faults(b))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "spilled registers" in done.stdout
    assert "101376 are there" in done.stdout


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (aot.Report(114, 0, 147456, WGMMA, WGMMA), None),
        (aot.Report(255, 7, 147456, WGMMA, WGMMA), "7 loads and stores of spilled registers"),
        (aot.Report(114, 0, 232449, WGMMA, WGMMA), "232449 bytes of shared memory, 232448 are there"),
        (aot.Report(114, 0, 147456, Counter({"HMMA": 192}), Counter()), "its products are not wgmma"),
        (aot.Report(114, 0, 147456, WGMMA + Counter({"HMMA": 1}), WGMMA), "its products are not wgmma"),
        (aot.Report(error="CompilationError: no"), "CompilationError: no"),
    ],
)
def test_faults(report: aot.Report, fault: str | None) -> None:
    assert report.faults(BUILD) == ([fault] if fault else [])


def test_counts_the_innermost_loop_with_an_exponential() -> None:
    code = """
.L_x_0:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], R24 ;
.L_x_2:
        /*0020*/              @!P0 MUFU.EX2 R3, R4 ;
        /*0030*/              @!UP1 UIADD3 UR4, UR4, 0x1, URZ ;
        /*0040*/              @P1  BRA `(.L_x_2) ;
        /*0050*/                   STL [R1], R3 ;
        /*0060*/              @P2  BRA `(.L_x_1) ;
        /*0070*/                   EXIT ;
"""
    instructions, loop = aot.count(code)
    assert instructions == Counter(["MOV", "HGMMA", "MUFU", "UIADD3", "BRA", "STL", "BRA", "EXIT"])
    assert loop == Counter(["MUFU", "UIADD3", "BRA"])
