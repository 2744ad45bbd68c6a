"""What the machine code of a kernel asks of each unit: once a program, and in every turn of its loop over tiles."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dec_kernels.backends.triton import aot, sass
from dec_kernels.backends.triton.aot import Build
from dec_kernels.backends.triton.sass import Instruction, Loop

# Unit -> multiply-adds of the tensor cores, in "TF32" and in "BF16"; instructions of threads for "special functions",
# "FP32" and "integer"; bytes for "shared memory" and "L2"; instructions of warps for "issue".
Amounts = Counter[str]

_SPECIAL = ("MUFU", "F2F", "F2I", "I2F", "POPC")
_FP32 = ("FADD", "FMUL", "FFMA", "FADD2", "FMUL2", "FFMA2", "HFMA2", "IMAD")
_FLOAT64 = ("DADD", "DMUL", "DFMA", "DSETP")
# What the four units of vector instructions do not do.
_OTHERS = (
    "HMMA", "HGMMA", "BAR", "BRA", "BSSY", "BSYNC", "CALL", "DEPBAR", "LDGDEPBAR", "EXIT", "FENCE", "MEMBAR", "NOP",
    "WARPGROUP", "WARPSYNC", "S2R", "CS2R", "LDC", "LDG", "STG", "LDS", "STS", "LDSM", "STSM", "LDGSTS", "LDTM", "STTM",
    "SHFL", "SYNCS", "RET", "ERRBAR", "CCTL", "NANOSLEEP", "LDL", "STL", "ELECT", "R2UR",
)  # fmt: skip


class Cost(NamedTuple):
    """Of a compiled kernel.

    Attributes:
        once: of a program, outside of its loop over tiles.
        turn: of a turn of the loop, what every turn comes through.
        sometimes: of a turn, beside that: what stands under a condition.
        registers: of a thread.
        shared: bytes of a program.
    """

    once: Amounts
    turn: Amounts
    sometimes: Amounts
    registers: int
    shared: int


def costs(builds: Iterable[Build]) -> dict[Build, Cost]:
    """Compiles them, as many at a time as there are cores."""
    return dict(aot.in_parallel(_costs, builds))


def _costs(row: Sequence[Build]) -> list[Cost]:
    compiled = [aot.compile_ahead(build) for build in row]
    cubins = [kernel.asm["cubin"] for kernel in compiled]
    return [
        cost(code, build.tile.warps, sass.registers(cubin), kernel.metadata.shared)
        for build, kernel, cubin, code in zip(
            row, compiled, cubins, sass.disassemble(cubins, row[0].architecture), strict=True
        )
    ]


def cost(code: Sequence[Instruction], warps: int, registers: int, shared: int) -> Cost:
    """Of a kernel whose programs have so many warps; where it has several loops over tiles, of their mean."""
    loops = sass.tile_loops(code)
    if not loops:
        raise ValueError("the kernel has no loop with exponentials")
    in_loops = {place for loop in loops for place in loop.body}
    once = _sum(code, [place for place in range(len(code)) if place not in in_loops], warps)
    turn, sometimes = Amounts(), Amounts()
    for loop in loops:
        always, conditional = _turn(code, loop, warps)
        turn += always
        sometimes += conditional
    for amounts in (turn, sometimes):
        for unit in amounts:
            amounts[unit] /= len(loops)
    return Cost(once, turn, sometimes, registers, shared)


def _turn(code: Sequence[Instruction], loop: Loop, warps: int) -> tuple[Amounts, Amounts]:
    """What every turn asks for, and what stands under a condition beside that; all of the turns of inner loops."""
    always = _sum(code, [place for place in loop.own if place in loop.steady], warps)
    sometimes = _sum(code, [place for place in loop.own if place not in loop.steady], warps)
    for inner in loop.inner:
        # Pairs whose distance float32 cannot decide are too few to count; waiting costs nothing by itself.
        names = sass.counts(code, inner.body)
        if any(names[name] for name in _FLOAT64) or len(inner.body) < _SHORTEST:
            continue
        turns = sass.trips(code, inner)
        for amounts in _turn(code, inner, warps):
            scaled = Amounts({unit: turns * amount for unit, amount in amounts.items()})
            if inner.header in loop.steady:
                always += scaled
            else:
                sometimes += scaled
    return always, sometimes


_SHORTEST = 8  # instructions; shorter loops wait for a barrier


def _sum(code: Sequence[Instruction], places: Iterable[int], warps: int) -> Amounts:
    total = Amounts()
    for place in places:
        if code[place].guard != "@!PT":
            total += amounts(code, place, warps)
    return total


def amounts(code: Sequence[Instruction], place: int, warps: int) -> Amounts:
    """What an instruction asks for, if all warps of a program run it with all threads."""
    instruction = code[place]
    name, threads = instruction.name, 32 * warps
    result = Amounts({"issue": warps})
    if done := sass.tensor_multiply_adds(code, place, warps):
        tf32 = "TF32" in instruction.opcode or (name == "UTCHMMA" and sass.descriptor(code, place)[3] == 4)
        result["TF32" if tf32 else "BF16"] = done
    if name in _SPECIAL:
        result["special functions"] = threads
    elif name in _FP32:
        result["FP32"] = threads
    elif name not in _OTHERS and not name.startswith(("U", "D")):
        result["integer"] = threads
    result["shared memory"] = _shared_bytes(code, place, warps)
    # Narrow loads are numbers of rows, which all warps read: they come from the first-level cache.
    if name in ("LDG", "STG", "LDGSTS") and _width(instruction) > 4:
        result["L2"] = threads * _width(instruction)
    return +result


def _width(instruction: Instruction) -> int:
    """Bytes that a thread loads or stores."""
    modifiers = instruction.opcode.split(".")
    return 16 if "128" in modifiers else 8 if "64" in modifiers else 1 if "U8" in modifiers else 4


def _shared_bytes(code: Sequence[Instruction], place: int, warps: int) -> int:
    """Bytes to or from shared memory, without conflicts of banks."""
    instruction = code[place]
    name = instruction.name
    if name in ("LDS", "STS", "LDGSTS"):
        return 32 * warps * _width(instruction)
    if name == "SHFL":
        return 32 * warps * 4
    if name in ("LDSM", "STSM"):  # matrices of 8 x 8 values of 16 bits
        last = instruction.opcode.split(".")[-1]
        return 128 * (int(last) if last in ("2", "4") else 1) * warps
    if shape := re.match(r"HGMMA\.(\d+)x(\d+)x(\d+)\..*\.(BF16|TF32)", instruction.opcode):
        m, n, k = map(int, shape.groups()[:3])
        left = 0 if instruction.values[1].startswith("R") else m
        return (left + n) * k * (4 if shape[4] == "TF32" else 2) * (warps // 4)
    if name == "UTCHMMA":
        m, n, k, size = sass.descriptor(code, place)
        left = m if instruction.values[0].startswith("gdesc") else 0
        return (left + n) * k * size
    return 0
