"""Compiles every configuration of the tile table ahead of time, for every architecture, without a GPU.

    python -m dec_kernels.backends.triton.aot [--architecture sm_90] [--width 64 192] [--precision bf16] [--json FILE]

prints what each kernel takes (registers, loads and stores of spilled ones, and shared memory) and what its loop over
tiles is made of, counted in the machine code. The exit status is 1 if one of them does not compile, spills, or asks for
more shared memory than its architecture has; also if nothing is left of a loop, or if an asynchronous product could
race with what is beside it, as `hazards` says. So it is if a kernel for the tiles without positives

    multiplies more, or less, on the tensor cores than the algorithm does: where a tile has fewer rows than its warps
    take, several of them compute the same
    moves results of its products between warps, within the loop
    multiplies bf16 by anything but wgmma, on sm_90
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dec_kernels.backends.triton import hazards, host, numbers_of, sass, tiles
from dec_kernels.backends.triton.kernels import prepare
from dec_kernels.backends.triton.kernels.backward import backward_band, backward_plain
from dec_kernels.backends.triton.kernels.forward import forward_band, forward_plain
from dec_kernels.jsontext import to_json

T = TypeVar("T")
KERNELS = {
    "means": prepare.means_kernel,
    "rows": prepare.rows_kernel,
    "sums": prepare.sums_kernel,
    "weights": prepare.weights_kernel,
    "images": prepare.images_kernel,
    "rows_centered": prepare.rows_kernel,
    "images_centered": prepare.images_kernel,
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
        loop: opcode -> how many in the loop over tiles, the shortest where there are several.
        multiply_adds: of the tensor cores, in a turn of each loop over tiles; where they are judged by it.
        conversions: how often results of products move between warps in a loop.
        hazards: the races of asynchronous products that its machine code allows.
        error: why there is nothing of all this.
    """

    registers: int = 0
    spills: int = 0
    shared: int = 0
    products: tuple[str, ...] = ()
    loop: Counter[str] = field(default_factory=Counter)
    multiply_adds: tuple[int, ...] = ()
    conversions: int = 0
    hazards: tuple[str, ...] = ()
    error: str = ""

    def faults(self, build: Build) -> list[str]:
        if self.error:
            return [self.error]
        faults = []
        if self.spills:
            faults.append(f"{self.spills} loads and stores of spilled registers")
        if self.shared > SHARED_MEMORY[build.architecture]:
            faults.append(f"{self.shared} bytes of shared memory, {SHARED_MEMORY[build.architecture]} are there")
        faults += self.hazards
        # A compiler can take a kernel for one that is never run, and leave nothing of it.
        if build.kernel.endswith(("plain", "band")) and not self.loop:
            faults.append("no loop over tiles")
        if _has_work_to_count(build):
            needed = multiply_adds(build)
            faults += [
                f"{done} multiply-adds for a tile, {done / needed:.3g} times the {needed} of the algorithm"
                for done in self.multiply_adds
                if done != needed
            ]
            if self.conversions:
                faults.append(f"{self.conversions} results of products move between warps for every tile")
            if (build.architecture, build.precision) == ("sm_90", "bf16") and self.products != ("wgmma",):
                faults.append("its products are not wgmma")
        return faults


def _has_work_to_count(build: Build) -> bool:
    return build.kernel.endswith("plain") and build.precision != "ieee"  # which has no tensor cores


def multiply_adds(build: Build) -> int:
    """What the algorithm takes for a tile: two similarities forward; one and its share of the gradient backward."""
    shape = tiles.shape_of(build.width, build.precision, build.architecture, build.kernel.endswith("band"))
    share = int(shape["OWNED"]) * int(shape["CHUNK"])
    values = 2 * build.width if build.kernel.startswith("forward") else build.width + share
    return (3 if build.precision == "tf32x3" else 1) * build.tile.rows * build.tile.columns * values


def table_for(version: str) -> dict[tuple[str, int, str], tiles.Tiles]:
    """The rows of the tile table whose architecture a version of Triton is good for."""
    return {key: row for key, row in tiles.TABLE.items() if numbers_of(version) >= tiles.oldest_triton(key[0])}


def builds(table: dict[tuple[str, int, str], tiles.Tiles]) -> Iterator[Build]:
    for (architecture, width, precision), row in table.items():
        if precision in ("tf32", "bf16"):  # the other presets' rows differ in nothing but their rounding
            around: tuple[str, ...] = ("rows",)
            if precision == "tf32":
                around = ("means", "rows", "images", "rows_centered", "images_centered")
            for kernel in around:
                tile = tiles.Tile(*host.block_of(width if kernel.startswith("rows") else DIMS[width]), 4, 3)
                yield Build(architecture, width, precision, kernel, tile, tile)
            if (width, precision) == (tiles.WIDTHS[0], "tf32"):
                for kernel in ("sums", "weights"):
                    tile = tiles.Tile(host.LONG_BLOCK, 1, 4, 3)
                    yield Build(architecture, width, precision, kernel, tile, tile)
        yield Build(architecture, width, precision, "forward_plain", row.forward, row.forward)
        yield Build(architecture, width, precision, "forward_band", row.forward_band, row.forward)
        yield Build(architecture, width, precision, "backward_plain", row.backward, row.backward)
        yield Build(architecture, width, precision, "backward_band", row.backward_band, row.backward)


def report(wanted: Sequence[Build]) -> list[Report]:
    """Compiles builds for one architecture, asks for their resources, and reads their machine code."""
    compiled = [_compiled(build) for build in wanted]
    cubins = [kernel.asm["cubin"] for kernel in compiled if not isinstance(kernel, str)]
    codes = iter(sass.disassemble(cubins, wanted[0].architecture))
    return [
        Report(error=kernel) if isinstance(kernel, str) else _read(build, kernel, next(codes))
        for build, kernel in zip(wanted, compiled, strict=True)
    ]


def _compiled(build: Build) -> Any:
    """The compiled kernel, or why there is none."""
    try:
        return compile_ahead(build)
    except Exception as error:  # whatever the compiler can raise, it is this build's result
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


def _read(build: Build, compiled: Any, code: Sequence[sass.Instruction]) -> Report:
    loops = sass.tile_loops(code)
    try:
        counted = loops if _has_work_to_count(build) else []
        done = tuple(sass.multiply_adds(code, loop, build.tile.warps) for loop in counted)
    except ValueError as error:
        return Report(error=str(error))
    return Report(
        registers=sass.registers(compiled.asm["cubin"]),
        spills=sum(instruction.name in ("LDL", "STL") for instruction in code),
        shared=compiled.metadata.shared,
        products=tuple(kind for kind in PRODUCTS if kind in compiled.asm["ptx"]),
        loop=min((sass.counts(code, loop.body) for loop in loops), key=Counter.total, default=Counter()),
        multiply_adds=done,
        conversions=conversions(compiled.asm["ttgir"]),
        hazards=tuple(hazards.hazards(code)),
    )


def conversions(ttgir: str) -> int:
    """How many conversions in loops move results of tensor cores between warps, which takes shared memory and barriers.

    A result can stay where it is if it becomes one of another product whose warps lie the same; also if it becomes the
    left operand of such a product, as long as a warp has whole rows.
    """
    warps = {name: (int(rows), int(columns)) for name, rows, columns in _LAYOUT.findall(ttgir)}
    moved = 0
    for source, operand, other in _CONVERSION.findall(ttgir):
        same = warps.get(source) == warps.get(operand or other)
        moved += source in warps and (operand or other) in warps and not (same and (other or warps[source][1] == 1))
    return moved


_LAYOUT = re.compile(r"^(#\w+) = #ttg\.nvidia_mma<.*warpsPerCTA = \[(\d+), (\d+)\]", re.MULTILINE)
# A function's own lines have four spaces before them, those of its loops more.
_CONVERSION = re.compile(
    r"^ {6,}%\S+ = ttg\.convert_layout .*: tensor<[^#]*(#\w+)> -> tensor<[^#]*"
    r"(?:#ttg\.dot_op<\{opIdx = \d, parent = (#\w+)|(#\w+)>)",
    re.MULTILINE,
)


def compile_ahead(build: Build) -> Any:
    kernel = KERNELS[build.kernel]
    constants = {
        **tiles.shape_of(build.width, build.precision, build.architecture, build.kernel.endswith("band")),
        "D": DIMS[build.width],
        "ROWS": build.plain.rows, "COLUMNS": build.plain.columns,
        "BAND_ROWS": build.tile.rows, "STRIP": build.tile.columns, "POLYNOMIAL": build.tile.polynomial,
        "P": PATCH_SIZES[build.width], "PADDED": build.width, "BLOCK": host.LONG_BLOCK,
        "CENTER": build.kernel.endswith("centered"),
    }  # fmt: skip
    operand = "*bf16" if build.precision == "bf16" else "*fp32"
    types = dict.fromkeys(("z", "h", "row_z", "row_h"), operand)
    types |= {"first": "*i32", "last": "*i32", "column_of_row": "*i64", "order": "*i64", "position": "*i64"}
    types |= dict.fromkeys(("limit_bits", "c_bits", "floor_bits"), "i64")
    types |= dict.fromkeys(("positive_ratio", "scale", "band", "t_pos", "t_neg"), "fp32")
    types |= dict.fromkeys(("n", "r", "m", "blocks", "splits", "height", "width", "start", "highest", "columns"), "i32")
    types |= {name: "i32" for name in kernel.arg_names if "stride" in name}
    signature = {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(kernel.arg_names) if signature[n][0] == "*"}
    used = {name: value for name, value in constants.items() if name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=used, attrs=aligned)
    target = GPUTarget("cuda", int(build.architecture.removeprefix("sm_")), 32)
    options = {"num_warps": build.tile.warps, "num_stages": build.tile.stages, "enable_fp_fusion": True}
    return triton.compile(source, target=target, options=options)


def reports(wanted: Iterable[Build]) -> Iterator[tuple[Build, Report]]:
    """All of them."""
    return in_parallel(report, wanted)


def in_parallel(function: Callable[[list[Build]], Sequence[T]], wanted: Iterable[Build]) -> Iterator[tuple[Build, T]]:
    """What a function makes of builds, those of an architecture and a width together, on all cores."""
    together = [list(some) for _, some in itertools.groupby(wanted, key=lambda build: build[:2])]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for some, found in zip(together, pool.map(function, together), strict=True):
            yield from zip(some, found, strict=True)


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
    parser.add_argument("--width", type=int, choices=tiles.WIDTHS, nargs="+", default=tiles.WIDTHS)
    parser.add_argument("--precision", choices=tiles.PRECISIONS)
    parser.add_argument("--json", type=Path, help="write the counts there too")
    given = parser.parse_args()
    table = {
        (architecture, width, precision): row
        for (architecture, width, precision), row in table_for(triton.__version__).items()
        if given.architecture in (None, architecture) and width in given.width and given.precision in (None, precision)
    }
    print("  ".join(f"{heading:>9}" for heading in HEADINGS))
    failed, records = 0, []
    for build, found in reports(builds(table)):
        print("  ".join(f"{cell!s:>9}" for cell in line(build, found)), flush=True)
        for fault in found.faults(build):
            failed += 1
            print(f"  FAULT: {fault}", flush=True)
        records.append(build._asdict() | vars(found) | {"faults": found.faults(build)})
    print(f"{len(records)} kernels, {failed} faults, Triton {triton.__version__}")
    if given.json:
        given.json.write_text(to_json(records))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
