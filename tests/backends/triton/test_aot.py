"""The configurations of the tile table, compiled ahead of time for architectures that are not here."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dec_kernels.backends.triton import aot
from dec_kernels.backends.triton.tiles import Tile
from tests import lanes

BUILD = aot.Build("sm_90", 192, "bf16", "forward_plain", Tile(128, 64, 8, 2), Tile(128, 64, 8, 2))


@pytest.mark.compiles_table
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lane", lanes.LANES)
def test_configurations_of_the_table(lane: str) -> None:
    command = [sys.executable, "-m", "dec_kernels.backends.triton.aot", "--width", *map(str, lanes.WIDTHS[lane])]
    done = subprocess.run(command, env=lanes.environment(lane), capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, "\n".join([line for line in lines if "FAULT" in line] + [done.stderr])
    version = lines[-1].split()[-1]
    table = {key: row for key, row in aot.table_for(version).items() if key[1] in lanes.WIDTHS[lane]}
    assert lines[-1] == f"{len(list(aot.builds(table)))} kernels, 0 faults, Triton {version}"
    assert version.startswith("3.6.") == (lane == "oldest")


def test_a_configuration_that_cannot_be_is_a_fault() -> None:
    output = lanes.printed(
        "from dec_kernels.backends.triton import aot; from dec_kernels.backends.triton.tiles import Tile;"
        "t = Tile(128, 64, 8, 2); b = aot.Build('sm_120', 192, 'bf16', 'forward_plain', t, t);"
        "print(aot.report([b])[0].faults(b))"
    )
    assert "101376" in output


def test_eight_warps_that_share_64_rows_multiply_twice() -> None:
    output = lanes.printed(
        "from dec_kernels.backends.triton import aot; from dec_kernels.backends.triton.tiles import Tile;"
        "t, u = Tile(64, 64, 8, 2), Tile(64, 64, 4, 2);"
        "builds = [aot.Build('sm_90', 192, 'tf32', 'forward_plain', tile, tile) for tile in (t, u)];"
        "print(*(r.faults(b) for b, r in zip(builds, aot.report(builds))), sep='\\n')"
    )
    twice, once = output.splitlines()
    assert all(number in twice for number in ("2621440", "1572864"))
    assert "between warps" in twice
    assert once == "[]"


FORWARD = 2 * 128 * 64 * 192  # multiply-adds of a tile
CLEAN = aot.Report(114, 0, 147456, ("wgmma",), Counter(HGMMA=24), multiply_adds=(FORWARD,))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"spills": 168}, ["168", "spilled"]),
        ({"shared": 232449}, ["232449", "232448"]),
        ({"products": ("mma.sync",)}, ["wgmma"]),
        ({"products": ("mma.sync", "wgmma")}, ["wgmma"]),
        ({"multiply_adds": (FORWARD, 2 * FORWARD)}, ["6291456", "3145728"]),
        ({"loop": Counter(), "multiply_adds": ()}, ["loop"]),
        ({"conversions": 2}, ["2", "warps"]),
        ({"hazards": ("a race",)}, ["a race"]),
        ({"error": "CompilationError: no"}, ["CompilationError: no"]),
    ],
)
def test_each_fault_is_one_and_names_its_numbers(changes: dict[str, Any], names: list[str]) -> None:
    (fault,) = replace(CLEAN, **changes).faults(BUILD)
    assert all(name in fault for name in names)


def test_a_clean_build_has_no_fault() -> None:
    assert CLEAN.faults(BUILD) == []


def test_faults_of_other_kernels() -> None:
    band, exact, rows = (
        BUILD._replace(kernel=kernel, precision=precision)
        for kernel, precision in (("forward_band", "bf16"), ("forward_plain", "ieee"), ("rows", "bf16"))
    )
    others = replace(CLEAN, products=("mma.sync",), multiply_adds=())
    assert [others.faults(build) for build in (band, exact, rows)] == [[], [], []]
    empty = replace(others, loop=Counter())
    assert [len(empty.faults(build)) for build in (band, exact)] == [1, 1]
    assert empty.faults(rows) == []


@pytest.mark.parametrize(
    ("width", "precision", "kernel", "multiply_adds"),
    [
        (192, "bf16", "forward_plain", 64 * 32 * 2 * 192),
        (192, "tf32x3", "forward_plain", 3 * 64 * 32 * 2 * 192),
        (192, "bf16", "backward_plain", 64 * 32 * 2 * 192),
        (768, "bf16", "backward_plain", 64 * 32 * (768 + 256)),  # a program owns four chunks of 64
        (192, "tf32x3", "backward_plain", 3 * 64 * 32 * (192 + 96)),  # three of 32
    ],
)
def test_what_the_algorithm_takes(width: int, precision: str, kernel: str, multiply_adds: int) -> None:
    tile = Tile(64, 32, 4, 2)
    assert aot.multiply_adds(aot.Build("sm_90", width, precision, kernel, tile, tile)) == multiply_adds


LAYOUTS = """
#blocked = #ttg.blocked<{sizePerThread = [1, 4], warpsPerCTA = [8, 1], order = [1, 0]}>
#mma = #ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [4, 2], instrShape = [16, 32, 8]}>
#mma1 = #ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [8, 1], instrShape = [16, 32, 8]}>
#mma2 = #ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [8, 1], instrShape = [16, 64, 8]}>
"""
INSIDE = " " * 6


@pytest.mark.parametrize(
    ("indent", "source", "target", "moves"),
    [
        (INSIDE, "#mma1", "#mma", True),
        (" " * 4, "#mma1", "#mma", False),  # after the loop
        (INSIDE, "#mma1", "#mma2", False),  # the same warps have the same rows
        (INSIDE, "#mma", "#blocked", False),  # to be stored
        (INSIDE, "#mma1", "#ttg.dot_op<{opIdx = 0, parent = #mma2, kWidth = 1}>", False),
        (INSIDE, "#mma1", "#ttg.dot_op<{opIdx = 0, parent = #mma, kWidth = 1}>", True),
        (INSIDE, "#mma", "#ttg.dot_op<{opIdx = 0, parent = #mma, kWidth = 1}>", True),  # a warp has half of a row
    ],
)
def test_conversions_between_warps(indent: str, source: str, target: str, moves: bool) -> None:
    line = f"{indent}%x = ttg.convert_layout %y : tensor<64x64xf32, {source}> -> tensor<64x64xf32, {target}> loc(#loc1)"
    assert aot.conversions(LAYOUTS + line) == moves


def test_the_counts_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "aot.json"
    found = aot.Report(114, 0, 147456, ("wgmma",), Counter(MUFU=3), (aot.multiply_adds(BUILD),))
    monkeypatch.setattr(aot, "reports", lambda wanted: [(BUILD, found)])
    monkeypatch.setattr("sys.argv", ["aot", "--json", str(file)])
    with pytest.raises(SystemExit) as end:
        aot.main()
    assert end.value.code == 0
    assert "1 kernels, 0 faults" in capsys.readouterr().out
    (record,) = json.loads(file.read_text())
    assert (record["kernel"], record["loop"], record["faults"]) == ("forward_plain", {"MUFU": 3}, [])
