"""Compiles every configuration of the tile table ahead of time, for every architecture, without a GPU.

    python -m dec_kernels.backends.triton.aot [--architecture sm_90] [--width 192] [--precision bf16] [--json FILE]

prints what each kernel takes (registers, loads and stores of spilled ones, and shared memory) and what its innermost
loop is made of, counted in the machine code. The exit status is 1 if one of them does not
compile, spills, or asks for more shared memory than its architecture has; also, on sm_90, if a kernel for the tiles
without positives multiplies bf16 by anything but wgmma. --quick leaves out the counts, which take a third of the time.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dec_kernels.backends.triton import rows, tiles
from dec_kernels.backends.triton.backward_kernels import backward_band, backward_plain
from dec_kernels.backends.triton.forward_kernels import forward_band, forward_plain
from dec_kernels.jsontext import to_json

KERNELS = {
    "means": rows._means_kernel,
    "rows": rows._rows_kernel,
    "project": rows._project_kernel,
    "images": rows._images_kernel,
    "forward_plain": forward_plain,
    "forward_band": forward_band,
    "backward_plain": backward_plain,
    "backward_band": backward_band,
}
# Bytes that a program may have, NVIDIA's CUDA programming guide, table of technical specifications.
SHARED_MEMORY = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "sm_120": 99 * 1024}
# The D that people have for each width: C = 1 or 3 channels, P = 2 to 16.
DIMS = {16: 12, 64: 48, 128: 108, 192: 192, 256: 256, 512: 432, 768: 768}
PATCH_SIZES = {16: 2, 64: 4, 128: 6, 192: 8, 256: 16, 512: 12, 768: 16}
# Matrix products in PTX, and their opcodes in machine code.
PRODUCTS = ("mma.sync", "wgmma", "tcgen05.mma")
TENSOR = ("HMMA", "HGMMA", "UTCHMMA")


class Build(NamedTuple):
    """One kernel to compile."""

    architecture: str
    width: int
    precision: str
    kernel: str
    tile: tiles.Tile
    plain: tiles.Tile  # of the same direction, which a band's kernel has to know


@dataclass(frozen=True)
class Report:
    """What a build came to.

    Attributes:
        registers: of a thread.
        spills: instructions that store registers to local memory, or load them from there.
        shared: bytes of shared memory of a program.
        products: the kinds of tensor core instruction in its PTX, of `PRODUCTS`.
        loop: opcode -> how many in the innermost loop that takes exponentials; empty where not counted.
        error: why there is nothing of all this.
    """

    registers: int = 0
    spills: int = 0
    shared: int = 0
    products: tuple[str, ...] = ()
    loop: Counter[str] = field(default_factory=Counter)
    error: str = ""

    def faults(self, build: Build) -> list[str]:
        if self.error:
            return [self.error]
        faults = []
        if self.spills:
            faults.append(f"{self.spills} loads and stores of spilled registers")
        if self.shared > SHARED_MEMORY[build.architecture]:
            faults.append(f"{self.shared} bytes of shared memory, {SHARED_MEMORY[build.architecture]} are there")
        hopper = (build.architecture, build.precision) == ("sm_90", "bf16") and build.kernel.endswith("plain")
        if hopper and self.products != ("wgmma",):
            faults.append("its products are not wgmma")
        return faults


def builds(table: dict[tuple[str, int, str], tiles.Tiles]) -> Iterator[Build]:
    for (architecture, width, precision), row in table.items():
        if precision in ("tf32", "bf16"):  # the other presets' rows differ in nothing but their rounding
            for kernel in ("rows",) if precision == "bf16" else ("means", "rows", "project", "images"):
                block = rows.block_of(width if kernel == "rows" else DIMS[width])
                tile = tiles.Tile(block["ROWS"], block["COLUMNS"], block["num_warps"], 3)
                yield Build(architecture, width, precision, kernel, tile, tile)
        yield Build(architecture, width, precision, "forward_plain", row.forward, row.forward)
        yield Build(architecture, width, precision, "forward_band", row.forward_band, row.forward)
        yield Build(architecture, width, precision, "backward_plain", row.backward, row.backward)
        yield Build(architecture, width, precision, "backward_band", row.backward_band, row.backward)


def report(build: Build, counted: bool) -> Report:
    """Compiles it and asks for its resources; reads the machine code too where the loop is to be `counted`."""
    try:
        compiled = compile_ahead(build)
    except Exception as error:  # whatever the compiler can raise, it is this build's result
        return Report(error=f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = re.search(r"REG:(\d+) STACK:(\d+)", _tool("cuobjdump", "-res-usage", cubin.name))
        assert usage is not None
        # A stack may be there for other things; without one there are no spills, and no need to look.
        code = _tool("nvdisasm", "-c", cubin.name) if counted or int(usage[2]) else ""
    spills = len(re.findall(r"\s(?:LDL|STL)[. ]", code))
    loop = innermost_loop(code) if counted else Counter()
    products = tuple(kind for kind in PRODUCTS if kind in compiled.asm["ptx"])
    return Report(int(usage[1]), spills, compiled.metadata.shared, products, loop)


def compile_ahead(build: Build) -> Any:
    kernel = KERNELS[build.kernel]
    constants = {
        **tiles.shape_of(build.width, build.precision), "D": DIMS[build.width],
        "ROWS": build.plain.rows, "COLUMNS": build.plain.columns,
        "BAND_ROWS": build.tile.rows, "STRIP": build.tile.columns, "POLYNOMIAL": build.tile.polynomial,
        "P": PATCH_SIZES[build.width], "PADDED": build.width, "STEPS": 14,
    }  # fmt: skip
    operand = "*bf16" if build.precision == "bf16" else "*fp32"
    types = dict.fromkeys(("z", "h", "row_z", "row_h"), operand)
    types |= {"first": "*i32", "last": "*i32", "own": "*i64", "order": "*i64"}
    types |= dict.fromkeys(("limit_bits", "c_bits"), "i64") | dict.fromkeys(("positive_ratio", "scale", "band"), "fp32")
    types |= dict.fromkeys(("n", "r", "m", "blocks", "splits", "height", "width"), "i32")
    types |= {name: "i32" for name in kernel.arg_names if "stride" in name}
    signature = {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(kernel.arg_names) if signature[n][0] == "*"}
    used = {name: value for name, value in constants.items() if name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=used, attrs=aligned)
    target = GPUTarget("cuda", int(build.architecture.removeprefix("sm_")), 32)
    options = {"num_warps": build.tile.warps, "num_stages": build.tile.stages, "enable_fp_fusion": True}
    return triton.compile(source, target=target, options=options)


def innermost_loop(code: str) -> Counter[str]:
    """The opcodes of disassembled code's shortest loop with an exponential in it."""
    lines = code.splitlines()
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if line.startswith(".L")}
    loops = []
    for i, line in enumerate(lines):
        target = re.search(r"BRA.*`\((\.L\w+)\)", line)
        if target and labels.get(target[1], i) < i:
            loop = [match[1] for within in lines[labels[target[1]] : i + 1] if (match := _OPCODE.match(within))]
            if "MUFU" in loop:
                loops.append(Counter(loop))
    return min(loops, key=lambda loop: loop.total(), default=Counter())


_OPCODE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]+)")


def _tool(name: str, *arguments: str) -> str:
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def reports(wanted: Iterable[Build], counted: bool) -> Iterator[tuple[Build, Report]]:
    """All of them, as many at a time as there are cores."""
    wanted = list(wanted)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from zip(wanted, pool.map(report, wanted, [counted] * len(wanted)), strict=True)


HEADINGS = ("", "width", "", "kernel", "tile", "warps", "stages", "registers", "spills", "shared", "products", "loop",
            "tensor", "exp2", "float", "integer", "memory")  # fmt: skip
KINDS = (
    TENSOR,
    ("MUFU",),
    ("FADD", "FMUL", "FFMA", "F2FP", "FSEL"),
    ("IADD3", "IMAD", "LEA", "LOP3", "SHF", "ISETP"),
    ("LDG", "LDGSTS", "LDS", "LDSM", "STS", "STSM", "LDL", "STL", "SHFL", "BAR"),
)


def line(build: Build, r: Report) -> tuple[object, ...]:
    """A row of the table: the loop's instructions in all, and of which kind."""
    tile = f"{build.tile.rows}x{build.tile.columns}"
    return (
        *(build.architecture, build.width, build.precision, build.kernel, tile, build.tile.warps, build.tile.stages),
        *(r.registers, r.spills, r.shared, "+".join(r.products) or "fma", r.loop.total()),
        *(sum(r.loop[opcode] for opcode in kind) for kind in KINDS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=SHARED_MEMORY)
    parser.add_argument("--width", type=int, choices=tiles.WIDTHS)
    parser.add_argument("--precision", choices=tiles.PRECISIONS)
    parser.add_argument("--quick", action="store_true", help="do not count the instructions of loops")
    parser.add_argument("--json", type=Path, help="write the counts there too")
    given = parser.parse_args()
    asked = (given.architecture, given.width, given.precision)
    table = {
        key: row
        for key, row in tiles.TABLE.items()
        if all(want in (None, have) for want, have in zip(asked, key, strict=True))
    }
    print("  ".join(f"{heading:>9}" for heading in HEADINGS))
    failed, records = 0, []
    for build, found in reports(builds(table), not given.quick):
        print("  ".join(f"{cell!s:>9}" for cell in line(build, found)), flush=True)
        for fault in found.faults(build):
            failed += 1
            print(f"  FAULT: {fault}", flush=True)
        records.append(build._asdict() | asdict(found) | {"faults": found.faults(build)})
    print(f"{len(records)} kernels, {failed} faults, Triton {triton.__version__}")
    if given.json:
        given.json.write_text(to_json(records))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
