"""The text of a kernel in PTX -> instructions, registers and parameters."""

import re
from typing import NamedTuple


class Fault(Exception):
    """What a GPU would have left undefined, or the emulator does not know; names the line of PTX."""


class Address(NamedTuple):
    """[base + offset]"""

    base: str
    offset: int


Operand = str | Address | tuple[str, ...]


class Instruction(NamedTuple):
    """One statement.

    Attributes:
        line: of the text, counted from 1.
        guard: the predicate that it is subject to, and the value that lets it happen; None for always.
        opcode: with its suffixes, "ld.global.v4.b32".
        operands: registers, immediates and labels as they stand; an `Address`; a tuple for {a, b}.
    """

    line: int
    guard: tuple[str, bool] | None
    opcode: str
    operands: tuple[Operand, ...]

    def registers(self) -> tuple[frozenset[str], frozenset[str]]:
        """Those that it writes, and those that it reads."""
        first, rest = self.operands[:1], self.operands[1:]
        if self.opcode.startswith(_NO_RESULT):
            first, rest = (), self.operands
        written, read = _names(first), _names(rest)
        if self.opcode.startswith("wgmma.mma_async"):
            read |= written
        if self.guard:
            read.add(self.guard[0])
        return frozenset(written), frozenset(read)


class Program(NamedTuple):
    """A kernel.

    Attributes:
        parameters: name -> type, in the order of the arguments; Triton adds two pointers to what the kernel has.
        threads: of a program.
        widths: register -> bits, 1 for a predicate.
        instructions: in order.
        labels: label -> the index of the instruction behind it.
    """

    name: str
    parameters: dict[str, str]
    threads: int
    widths: dict[str, int]
    instructions: list[Instruction]
    labels: dict[str, int]


_NO_RESULT = ("st.", "bra", "bar.", "cp.async", "stmatrix", "fence", "wgmma.fence", "wgmma.commit", "wgmma.wait", "ret")
_REGISTER = re.compile(r"%[a-z]+\d+")
_STATEMENT = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)


def parse(text: str) -> Program:
    """The one kernel of a module.

    Raises:
        Fault: a statement is none that is known here.
    """
    entry = re.search(r"\.entry\s+(\w+)\((.*?)\)\s*\.reqntid\s+(\d+)[^{]*\{", text, re.DOTALL)
    if not entry:
        raise Fault("there is no .entry with a .reqntid in this text")
    parameters = {line.split()[-1]: line.split()[1] for line in entry[2].split(",")}
    widths: dict[str, int] = {}
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    first = text.count("\n", 0, entry.end()) + 1
    for number, line in enumerate(text[entry.end() :].split("\n"), first):
        line = re.sub(r"//.*", "", line).strip()
        if line == "}":
            break
        for statement in filter(None, map(str.strip, line.split(";"))):
            if label := re.fullmatch(r"([$\w]+):", statement):
                labels[label[1]] = len(instructions)
            elif declared := re.fullmatch(r"\.reg\s+\.(\w+)\s+(%[a-z]+)<(\d+)>", statement):
                bits = 1 if declared[1] == "pred" else int(declared[1][1:])
                widths |= {f"{declared[2]}{i}": bits for i in range(int(declared[3]))}
            elif not statement.startswith((".loc", ".pragma")):
                match = _STATEMENT.fullmatch(statement)
                if not match:
                    raise Fault(f"line {number}: no instruction: {statement}")
                guard = (match[2], not match[1]) if match[2] else None
                instructions.append(Instruction(number, guard, match[3], _operands(match[4])))
    return Program(entry[1], parameters, int(entry[3]), widths, instructions, labels)


def _operands(text: str) -> tuple[Operand, ...]:
    found: list[Operand] = []
    for bracket, brace, plain in re.findall(r"\[([^]]*)\]|\{([^}]*)\}|([^\s,{}\[\]]+)", text):
        if bracket:
            base, _, offset = bracket.replace(" ", "").partition("+")
            found.append(Address(base, int(offset or 0)))
        elif brace:
            found.append(tuple(part.strip() for part in brace.split(",")))
        else:
            found.append(plain)
    return tuple(found)


def _names(operands: tuple[Operand, ...]) -> set[str]:
    flat = [part for operand in operands for part in (operand if isinstance(operand, tuple) else (operand,))]
    return {name for name in flat if isinstance(name, str) and _REGISTER.fullmatch(name)}
