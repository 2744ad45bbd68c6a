"""Machine code as nvdisasm prints it: instructions, and the loops that they form."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import operator
import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import triton


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        address: in bytes from the beginning of the kernel.
        guard: the predicate that it runs under, as in "@!P0"; empty where it always runs.
        opcode: with its modifiers, as in "LDS.128".
        operands: what follows, as it stands.
        target: the place in the code of the instruction that a branch goes to; None for all others.
    """

    address: int
    guard: str
    opcode: str
    operands: str
    target: int | None = None

    @functools.cached_property
    def name(self) -> str:
        """The opcode without its modifiers."""
        return self.opcode.split(".")[0]

    @functools.cached_property
    def values(self) -> list[str]:
        """The operands, one by one."""
        return [operand.strip().removesuffix(".reuse") for operand in self.operands.split(",")]

    @functools.cached_property
    def written(self) -> set[str]:
        """The registers, uniform ones and predicates too, that it writes.

        Which of them are several registers wide goes by the opcode, for the instructions that kernels here have.
        """
        if self.name in _WITHOUT_RESULT or not self.operands:
            return set()
        first, *rest = self.values
        written = {first} | ({rest[0]} if rest and re.fullmatch(r"U?P\d", rest[0]) else set())
        if register := re.fullmatch(r"(U?R)(\d+)", first):
            written |= {f"{register[1]}{int(register[2]) + more}" for more in range(_registers_of_result(self))}
        return written

    @functools.cached_property
    def read(self) -> set[str]:
        """The registers that it reads, and some of those that it writes: all that its operands name.

        Addresses are two registers wide where they say so, and what is stored as wide as the opcode says.
        """
        named = re.findall(r"\b(U?R)(\d+)(\.64)?", self.operands)
        widths = [2 if wide else 1 for *_, wide in named]
        if self.name in ("STS", "STG", "STL", "STSM", "ST") and widths:
            modifiers = self.opcode.split(".")
            widths[-1] = 4 if {"128", "4"} & set(modifiers) else 2 if {"64", "2"} & set(modifiers) else 1
        elif self.name == "HMMA":
            widths = [4] * len(widths)
        return {
            f"{kind}{int(register) + more}"
            for (kind, register, _), width in zip(named, widths, strict=True)
            for more in range(width)
        }

    @property
    def falls_through(self) -> bool:
        """Whether the next instruction can follow."""
        if self.name not in ("BRA", "EXIT", "RET"):
            return True
        return self.guard not in ("", "@PT") or len(self.values) > 1  # "BRA.U UP0, 0x40"


_WITHOUT_RESULT = (
    "ST", "STG", "STS", "STSM", "STL", "LDGSTS", "RED", "BAR", "BRA", "EXIT", "NOP", "CALL", "RET", "DEPBAR",
    "LDGDEPBAR", "WARPGROUP", "MEMBAR", "FENCE", "WARPSYNC", "BSSY", "BSYNC", "ERRBAR", "CCTL", "SYNCS", "UTCBAR",
    "UTCHMMA", "STTM", "ARRIVES", "UBLKCP", "NANOSLEEP", "BPT",
)  # fmt: skip


def _registers_of_result(instruction: Instruction) -> int:
    opcode, modifiers = instruction.opcode, instruction.opcode.split(".")[1:]
    if shape := re.match(r"HGMMA\.64x(\d+)x", opcode):
        return int(shape[1]) // 2
    if instruction.name == "HMMA":
        return 4 if "F32" in modifiers else 2
    if instruction.name in ("LDSM", "LDTM"):  # as in LDSM.16.M88.4 and LDTM.x32
        several = re.fullmatch(r"x?(\d+)", modifiers[-1])
        return int(several[1]) if several else 1
    if instruction.name.startswith("LD") or instruction.name.startswith("ULD"):
        return 4 if "128" in modifiers else 2 if "64" in modifiers else 1
    if instruction.name == "CS2R":
        return 1 if "32" in modifiers else 2
    if {"WIDE", "64"} & {*modifiers} or modifiers[:1] == ["F64"] or instruction.name in ("DADD", "DMUL", "DFMA"):
        return 2
    return 1


def disassemble(cubins: Sequence[bytes], architecture: str) -> list[list[Instruction]]:
    """The machine code of compiled kernels, one a file; all at once, since the disassembler takes long to start."""
    kernels = [_text(cubin) for cubin in cubins]
    if not kernels:
        return []
    name = architecture.replace("sm_", "SM") + ("a" if architecture != "sm_80" else "")  # as Triton compiles for it
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(b"".join(kernels))
        file.flush()
        text = tool("nvdisasm", "--binary", name, file.name)
    starts = [0, *itertools.accumulate(map(len, kernels))]
    lines: list[list[re.Match[str]]] = [[] for _ in kernels]
    for match in filter(None, map(_INSTRUCTION.match, text.splitlines())):
        lines[bisect.bisect(starts, int(match[1], 16)) - 1].append(match)
    return [_resolved(matches, start) for matches, start in zip(lines, starts, strict=False)]


def registers(cubin: bytes) -> int:
    """How many a thread takes."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = re.search(r"REG:(\d+)", tool("cuobjdump", "-res-usage", file.name))
    assert usage is not None
    return int(usage[1])


def tool(name: str, *arguments: str) -> str:
    """What one of the programs prints that come with Triton."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def _text(cubin: bytes) -> bytes:
    """The code in an ELF file of 64 bits that holds a single kernel."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
    base = sections[names][4]
    (code,) = (
        cubin[offset : offset + length]
        for name, _, _, _, offset, length in sections
        if cubin[base + name :].startswith(b".text.")
    )
    return code


def parse(text: str) -> list[Instruction]:
    """The instructions of disassembled code at addresses from zero on."""
    return _resolved(list(filter(None, map(_INSTRUCTION.match, text.splitlines()))), 0)


def _resolved(lines: Sequence[re.Match[str]], start: int) -> list[Instruction]:
    """Instructions of the kernel that starts at an address, with their addresses and targets within it."""
    place = {int(line[1], 16): i for i, line in enumerate(lines)}
    code = []
    for address, guard, opcode, operands in (line.groups(default="") for line in lines):
        # A call without return to a place in the kernel itself is a branch, too.
        branch = _TARGET.search(operands) if opcode.split(".")[0] in ("BRA", "CALL") else None
        target = place[int(branch[1], 16)] if branch else None
        code.append(Instruction(int(address, 16) - start, guard, opcode, operands.strip(), target))
    return code


# Some versions print, of some architectures, what an instruction waits for, as in "BRA 0x1180 &req={1} ?trans5;".
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+)?\s*([A-Z][A-Z0-9_.a-z]*)\s*([^;&?]*)")
_TARGET = re.compile(r"(0x[0-9a-f]+)\s*$")


@dataclass
class Loop:
    """A natural loop.

    Attributes:
        header: the place in the code where it begins.
        latches: the places of the branches back to it.
        body: the places of all its instructions, in order; those of inner loops too.
        steady: those that every turn comes through.
        inner: the loops right within it.
    """

    header: int
    latches: list[int]
    body: list[int]
    steady: frozenset[int]
    inner: list[Loop] = field(default_factory=list)

    @property
    def own(self) -> list[int]:
        """The places of the instructions that are in no inner loop."""
        within = {place for loop in self.inner for place in loop.body}
        return [place for place in self.body if place not in within]


def loops(code: Sequence[Instruction]) -> list[Loop]:
    """The outermost natural loops, each with those within it.

    An edge to a block that dominates its origin closes a loop. Going by addresses would not do: compilers put rare
    blocks behind the kernel's end, from where they jump back.
    """
    starts = _starts(code)
    blocks = [range(begin, end) for begin, end in zip(starts, [*starts[1:], len(code)], strict=True)]
    number = {block.start: b for b, block in enumerate(blocks)}
    successors = [_successors(code, block, number) for block in blocks]
    predecessors: list[list[int]] = [[] for _ in blocks]
    for b, after in enumerate(successors):
        for s in after:
            predecessors[s].append(b)
    dominators = _dominators(successors, predecessors)

    number_of = {block[-1]: b for b, block in enumerate(blocks)}
    bodies: dict[int, set[int]] = {}
    latches: dict[int, list[int]] = {}
    for b, after in enumerate(successors):
        for header in after:
            if header in dominators.get(b, ()):
                body, todo = bodies.setdefault(header, {header}), [b]
                while todo:
                    within = todo.pop()
                    if within not in body:
                        body.add(within)
                        todo += predecessors[within]
                latches.setdefault(header, []).append(blocks[b][-1])
    found: list[tuple[set[int], Loop]] = []
    outermost: list[Loop] = []
    for header, body in sorted(bodies.items(), key=lambda item: -len(item[1])):
        places = [place for b in sorted(body) for place in blocks[b]]
        certain = set.intersection(*(dominators[number_of[latch]] for latch in latches[header])) & body
        steady = frozenset(place for b in certain for place in blocks[b])
        loop = Loop(blocks[header].start, latches[header], places, steady)
        around = [outer for members, outer in found if body < members]
        (around[-1].inner if around else outermost).append(loop)
        found.append((body, loop))
    return outermost


def _starts(code: Sequence[Instruction]) -> list[int]:
    starts = {0}
    for place, instruction in enumerate(code):
        if instruction.target is not None:
            starts |= {instruction.target, place + 1}
        elif not instruction.falls_through:
            starts.add(place + 1)
    return sorted(start for start in starts if start < len(code))


def _successors(code: Sequence[Instruction], block: range, number: dict[int, int]) -> list[int]:
    return list(dict.fromkeys(number[place] for place in following(code, block[-1])))


def following(code: Sequence[Instruction], place: int) -> list[int]:
    """The places that the instruction at a place can lead to."""
    places = [target] if (target := code[place].target) is not None else []
    if code[place].falls_through and place + 1 < len(code):
        places.append(place + 1)
    return places


def _dominators(successors: list[list[int]], predecessors: list[list[int]]) -> dict[int, set[int]]:
    """Block -> those on every way to it; blocks that no way leads to are not there."""
    reached, todo = {0}, [0]
    while todo:
        for s in successors[todo.pop()]:
            if s not in reached:
                reached.add(s)
                todo.append(s)
    dominators = {b: set(reached) for b in reached} | {0: {0}}
    changed = True
    while changed:
        changed = False
        for b in sorted(reached - {0}):
            ways = [dominators[p] for p in predecessors[b] if p in reached]
            new = set.intersection(*ways) | {b}
            changed |= new != dominators[b]
            dominators[b] = new
    return dominators


def nested(found: Sequence[Loop]) -> Iterator[Loop]:
    """All loops, outer ones first."""
    for loop in found:
        yield loop
        yield from nested(loop.inner)


def counts(code: Sequence[Instruction], places: Sequence[int]) -> Counter[str]:
    """Name -> how many instructions."""
    return Counter(code[place].name for place in places)


def tile_loops(code: Sequence[Instruction]) -> list[Loop]:
    """The innermost loops with exponentials: what a kernel does for a tile of columns."""
    return [
        loop
        for loop in nested(loops(code))
        if any(code[place].opcode.startswith("MUFU.EX2") for place in loop.own)
        and not any(code[place].opcode.startswith("MUFU.EX2") for inner in loop.inner for place in inner.body)
    ]


def multiply_adds(code: Sequence[Instruction], loop: Loop, warps: int) -> int:
    """Of the tensor cores, in one turn of a loop, by all `warps` warps of a program.

    Raises:
        ValueError: an inner loop multiplies, and how often it turns cannot be read from the code.
    """
    total = sum(tensor_multiply_adds(code, place, warps) for place in loop.own)
    for inner in loop.inner:
        if once := multiply_adds(code, inner, warps):
            total += once * trips(code, inner)
    return total


def tensor_multiply_adds(code: Sequence[Instruction], place: int, warps: int) -> int:
    """Of the instruction at a place; 0 where it is none of the tensor cores.

    Raises:
        ValueError: see `descriptor`.
    """
    opcode = code[place].opcode
    if shape := re.match(r"HGMMA\.(\d+)x(\d+)x(\d+)\.", opcode):  # of a warpgroup
        return math.prod(map(int, shape.groups())) * (warps // 4)
    if shape := re.match(r"HMMA\.(16)(8)(\d+)\.", opcode):  # of a warp
        return math.prod(map(int, shape.groups())) * warps
    if opcode.startswith("UTCHMMA"):  # of a program
        return math.prod(descriptor(code, place)[:3])
    return 0


def descriptor(code: Sequence[Instruction], place: int) -> tuple[int, int, int, int]:
    """The shape (m, n, k) of a UTCHMMA and the bytes of a value, from PTX ISA's instruction descriptor.

    Raises:
        ValueError: what its register holds is not a constant.
    """
    register = re.search(r"idesc\[(UR\d+)\]", code[place].operands)
    bits = constant(code, place, register[1]) if register else None
    if bits is None:
        raise ValueError(f"the descriptor of the product at {code[place].address:#x} is not a constant")
    k, size = (8, 4) if bits >> 7 & 7 == 2 else (16, 2)  # TF32, or a format of 16 bits
    return (bits >> 24 & 31) * 16, (bits >> 17 & 63) * 8, k, size


def trips(code: Sequence[Instruction], loop: Loop) -> int:
    """How often a loop over a constant number of turns is run through.

    Raises:
        ValueError: it has no such number, or not in a form that is known here.
    """
    unknown = ValueError(f"how often the loop at {code[loop.header].address:#x} turns cannot be read")
    body = set(loop.body)
    exits = [p for p in loop.own if code[p].target is not None and not set(following(code, p)) <= body]
    condition = re.search(r"(!?)(U?P\d)", code[exits[0]].guard or code[exits[0]].operands) if len(exits) == 1 else None
    if condition is None:
        raise unknown
    last, (negated, predicate) = exits[0], condition.groups()
    goes_on = (code[last].target in body) == (not negated)  # where the predicate is true
    for place in reversed([place for place in loop.own if place < last]):
        compare = code[place]
        operands = compare.values
        if predicate not in operands[:2]:
            continue
        if compare.name in _LOGIC and {*operands[1:4]} <= _TRUE and operands[5] == "0x80":
            predicate = operands[4]  # a copy
        elif compare.name in ("ISETP", "UISETP") and ".EX" in compare.opcode:
            predicate = operands[-1]  # the high halves are equal, and those of 64-bit counters zero
        elif compare.name in ("ISETP", "UISETP"):
            break
        else:
            raise unknown
    else:
        flags = [code[p] for p in loop.own if predicate in code[p].written]
        if len(flags) == 1 and flags[0].name in _LOGIC and {*flags[0].values[1:5]} <= _TRUE:
            return 2  # a flag that the first turn turns over
        raise unknown
    counter, bound = operands[2], _number(operands[3])
    holds = _COMPARISONS.get(compare.opcode.split(".")[1])
    steps = [p for p in loop.body if counter in code[p].written]
    begin = constant(code, loop.header, counter)
    if bound is None or begin is None or holds is None or len(steps) != 1 or not _adds(code[steps[0]], counter):
        raise unknown
    step = sum(_number(operand) or 0 for operand in code[steps[0]].values[1:])
    value = begin if place < steps[0] else begin + step  # as it is first compared
    for turn in range(1, _MOST_TRIPS):
        if holds(value, bound) != goes_on:
            return turn
        value += step
    raise unknown


_MOST_TRIPS = 10_000
_LOGIC, _TRUE = ("PLOP3", "UPLOP3"), {"PT", "UPT"}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "NE": operator.ne, "EQ": operator.eq, "LT": operator.lt, "LE": operator.le, "GT": operator.gt, "GE": operator.ge
}  # fmt: skip


def _adds(instruction: Instruction, register: str) -> bool:
    return instruction.name in ("IADD3", "UIADD3", "VIADD", "IADD", "UIADD") and register in instruction.values[1:]


def constant(code: Sequence[Instruction], place: int, register: str) -> int | None:
    """The number that a register holds at a place, if the instruction that wrote it last, by address, says so."""
    for before in range(place - 1, -1, -1):
        instruction = code[before]
        if register not in instruction.written:
            continue
        if instruction.guard:
            return None
        values = instruction.values[1:]
        if instruction.opcode == "CS2R" or instruction.opcode.startswith("CS2R.32"):
            return 0 if values == ["SRZ"] else None
        if instruction.name in ("HFMA2", "UHFMA2") and values == ["-RZ", "RZ", "0", "0"]:
            return 0
        if instruction.opcode in ("IMAD.MOV.U32", "IMAD.MOV") and values[:2] == ["RZ", "RZ"]:
            values = values[2:]
        elif instruction.name not in ("MOV", "UMOV"):
            return None
        number = _number(values[0])
        return constant(code, before, values[0]) if number is None else number
    return None


def _number(operand: str) -> int | None:
    if operand in ("RZ", "URZ"):
        return 0
    return int(operand, 0) if re.fullmatch(r"-?0x[0-9a-f]+", operand) else None
