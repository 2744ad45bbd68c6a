"""Races of asynchronous products, looked for in machine code along every way through a kernel.

A wgmma of Hopper goes on reading and writing registers after it was issued, until a wait for its group. It reads shared
memory through the asynchronous proxy, which does not see what other instructions wrote without a fence of proxies; so
does Blackwell's tcgen05.mma, UTCHMMA here (PTX ISA, "Asynchronous warpgroup level matrix instructions" and "Async
proxy"). Compilers got both wrong:

    HGMMA R24, R8, gdesc[UR4], R24, gsb0
    MOV R9, R3                               left operand is overwritten: triton-lang/triton#9433, #9514
    FADD R5, R24, R25                        sums are read too early
    WARPGROUP.DEPBAR.LE gsb0, 0x0            from here on both would be right

    LDGSTS [R5], desc[UR6][R2.64]            or STS, STSM
    DEPBAR.LE SB0, 0x0
    BAR.SYNC                                 and no FENCE.VIEW.ASYNC after the copy has arrived: #9610, #11097
    HGMMA R24, gdesc[UR4], R24, gsb0

What it cannot see: which shared memory an instruction touches. So a write counts as one that the next product reads, as
soon as it is complete; and a product that reads a buffer before its copy was waited for, or a copy into a buffer that a
product still reads, stays unseen. Nor does it know which ways through a kernel can never be taken, what other warps do
meanwhile, how long an instruction takes (the scoreboards that order all others), calls, and tensor memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dec_kernels.backends.triton import sass
from dec_kernels.backends.triton.sass import Instruction

_PRODUCTS = ("HGMMA", "UTCHMMA")
# Of a loop that never waits, what the last turns began stands for all turns.
_MOST_GROUPS = 32
_MOST_STATES = 100_000


class _State(NamedTuple):
    """What is under way at a place. All numbers are places in the code.

    Attributes:
        committed: the products of each group that no wait has covered, oldest group first.
        issued: products that are in no group yet.
        copies: a copy of each group of copies to shared memory that no wait has covered, None for an empty group.
        copying: a copy that is in no group yet.
        unfenced: a complete write to shared memory after which there was no fence.
    """

    committed: tuple[tuple[int, ...], ...] = ()
    issued: tuple[int, ...] = ()
    copies: tuple[int | None, ...] = ()
    copying: int | None = None
    unfenced: int | None = None


def hazards(code: Sequence[Instruction]) -> list[str]:
    """What goes wrong on some way through a kernel, a sentence each."""
    if all(instruction.name not in _PRODUCTS for instruction in code):
        return []
    found: dict[str, None] = {}
    joins = {instruction.target for instruction in code}
    seen = {(0, _State())}
    todo = list(seen)
    while todo:
        place, state = todo.pop()
        while True:
            faults, state = _step(code, place, state)
            found.update(dict.fromkeys(faults))
            ways = sass.following(code, place)
            if len(ways) != 1 or ways[0] in joins:
                break
            (place,) = ways
        new = {(way, state) for way in ways} - seen
        seen |= new
        todo += new
        if len(seen) > _MOST_STATES:
            raise ValueError("the products under way differ in too many ways to follow them all")
    return list(found)


def _step(code: Sequence[Instruction], place: int, state: _State) -> tuple[list[str], _State]:
    """What is wrong with an instruction in a state, and the state after it."""
    instruction = code[place]
    name, opcode = instruction.name, instruction.opcode
    if instruction.guard == "@!PT":
        return [], state
    pending = [product for group in (*state.committed, state.issued) for product in group]
    faults = [fault for product in pending if (fault := _conflict(code, place, product))]
    if name in _PRODUCTS and state.unfenced is not None:
        write = code[state.unfenced]
        faults.append(
            f"the product at {instruction.address:#x} reads shared memory after the {write.name} at "
            f"{write.address:#x} without a fence of proxies"
        )
        state = state._replace(unfenced=None)  # said once
    if name == "HGMMA":
        issued = (*(product for product in state.issued if product != place), place)
        if "gsb0" in instruction.operands:
            committed = (*state.committed, issued)[-_MOST_GROUPS:]
            return faults, state._replace(committed=committed, issued=())
        return faults, state._replace(issued=issued)
    if opcode.startswith("WARPGROUP.DEPBAR"):
        left = int(instruction.values[-1], 16)
        return faults, state._replace(committed=state.committed[max(0, len(state.committed) - left) :])
    if name == "LDGSTS":
        return faults, state._replace(copying=place)
    if name == "LDGDEPBAR":
        copies = (*state.copies, state.copying)[-_MOST_GROUPS:]
        return faults, state._replace(copies=copies, copying=None)
    if name == "DEPBAR" and "SB0" in instruction.operands:
        arrived = max(0, len(state.copies) - int(instruction.values[-1], 16))
        complete = [copy for copy in state.copies[:arrived] if copy is not None]
        unfenced = complete[-1] if complete else state.unfenced
        return faults, state._replace(copies=state.copies[arrived:], unfenced=unfenced)
    if name in ("STS", "STSM"):
        return faults, state._replace(unfenced=place)
    if opcode.startswith("FENCE.VIEW.ASYNC"):
        return faults, state._replace(unfenced=None)
    return faults, state


def _conflict(code: Sequence[Instruction], place: int, product: int) -> str:
    """Why an instruction may not stand behind a product that is still under way; empty where it may."""
    instruction = code[place]
    left, sums = _left(code[product]), _sums(code[product])
    where = f"the {instruction.name} at {instruction.address:#x}"
    what = f"of the product at {code[product].address:#x}"
    if left & instruction.written:
        return f"{where} writes the left operand {what} before its end"
    if instruction.name == "HGMMA":
        # Products of one shape follow each other in the same sums in order.
        mine = _sums(instruction)
        in_order = mine == sums and instruction.opcode == code[product].opcode
        touched = _left(instruction) | (set() if in_order else mine)
    else:
        touched = instruction.read | instruction.written
    return f"{where} touches the sums {what} before its end" if sums & touched else ""


def _sums(product: Instruction) -> set[str]:
    return {register for register in product.written if register.startswith("R")}


def _left(product: Instruction) -> set[str]:
    """The registers of the left operand; none where it is in shared memory."""
    register = re.fullmatch(r"R(\d+)", product.values[1])
    return {f"R{int(register[1]) + more}" for more in range(4)} if register else set()
