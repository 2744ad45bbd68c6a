"""Every configuration of the tile table, compiled ahead of time for architectures that are not here."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dec_kernels.backends.triton import aot, tiles
from dec_kernels.backends.triton.tiles import Tile

BUILD = aot.Build("sm_90", 192, "bf16", "forward_plain", Tile(128, 64, 8, 2), Tile(128, 64, 8, 2))
# Compilation needs the kernels as they are, and these tests run them interpreted.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.mark.timeout(900)
def test_every_configuration_compiles_without_spills_within_shared_memory_and_with_wgmma(
    compilation: tuple[subprocess.Popen, str],
) -> None:
    process, output = compilation
    status = process.wait()
    lines = Path(output).read_text().splitlines()
    assert status == 0, "\n".join(line for line in lines if "FAULT" in line)
    assert lines[-1].startswith(f"{len(list(aot.builds(tiles.TABLE)))} kernels, 0 faults")


def test_a_configuration_that_cannot_be_is_a_fault() -> None:
    program = (
        "from dec_kernels.backends.triton import aot; from dec_kernels.backends.triton.tiles import Tile, Tiles;"
        "t = Tile(128, 64, 8, 2); b = aot.Build('sm_120', 192, 'bf16', 'forward_plain', t, t);"
        "print(aot.report(b, False).faults(b))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "101376 are there" in done.stdout


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (aot.Report(114, 0, 147456, ("wgmma",)), None),
        (aot.Report(255, 168, 147456, ("wgmma",)), "168 loads and stores of spilled registers"),
        (aot.Report(114, 0, 232449, ("wgmma",)), "232449 bytes of shared memory, 232448 are there"),
        (aot.Report(114, 0, 147456, ("mma.sync",)), "its products are not wgmma"),
        (aot.Report(114, 0, 147456, ("mma.sync", "wgmma")), "its products are not wgmma"),
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
    assert aot.innermost_loop(code) == Counter(["MUFU", "UIADD3", "BRA"])
