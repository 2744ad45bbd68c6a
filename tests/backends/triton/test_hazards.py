"""The checker of machine code for races of products: on a few instructions, and on a kernel that is broken by hand."""

import json

import pytest

from dec_kernels.backends.triton import sass
from dec_kernels.backends.triton.hazards import hazards
from tests import lanes


def found(*lines: str) -> list[str]:
    return hazards(sass.parse("\n".join(f"        /*{16 * i:04x}*/ {line} ;" for i, line in enumerate(lines))))


# The left operand in R8 to R11, sums in R24 to R39.
PRODUCT = "HGMMA.64x32x16.F32.BF16 R24, R8, gdesc[UR4], R24, gsb0"
OTHER = "HGMMA.64x32x16.F32.BF16 R40, R12, gdesc[UR4], R40, gsb0"
ALL, ALL_BUT_ONE = "WARPGROUP.DEPBAR.LE gsb0, 0x0", "WARPGROUP.DEPBAR.LE gsb0, 0x1"
COPY, COMMIT, ARRIVED = "LDGSTS.E.BYPASS.128 [R60], desc[UR6][R2.64]", "LDGDEPBAR", "DEPBAR.LE SB0, 0x0"
FENCE, END = "FENCE.VIEW.ASYNC.S", "EXIT"


@pytest.mark.parametrize(
    ("instruction", "fault"),
    [
        ("MOV R9, R3", "writes the left operand"),
        ("@P0 MOV R9, R3", "writes the left operand"),
        ("LDS.128 R4, [R60]", None),
        ("LDS.128 R8, [R60]", "writes the left operand"),
        ("FADD R3, R8, R9", None),
        ("FADD R3, R3, R39", "touches the sums"),
        ("FADD R3, R3, R40", None),
        ("MOV R24, RZ", "touches the sums"),
        ("STS.128 [R60], R36", "touches the sums"),
        ("STS.128 [R60], R40", None),
        ("HMMA.16816.F32.BF16 R64, R22, R80, R64", "touches the sums"),  # of four registers from R22 on
        ("HGMMA.64x32x16.F32.BF16 R24, R12, gdesc[UR8], R24, gsb0", None),  # they follow each other in the same sums
        ("HGMMA.64x16x16.F32.BF16 R24, R12, gdesc[UR8], R24, gsb0", "touches the sums"),
        ("HGMMA.64x32x16.F32.BF16 R32, R12, gdesc[UR8], R32, gsb0", "touches the sums"),
        ("HGMMA.64x32x16.F32.BF16 R64, R36, gdesc[UR8], R64, gsb0", "touches the sums"),
        ("HGMMA.64x32x16.F32.BF16 R0, R80, gdesc[UR8], R0, gsb0", "writes the left operand"),
        ("@!PT LDS R24, [RZ]", None),  # it never runs
    ],
)
def test_registers_of_a_product_under_way(instruction: str, fault: str | None) -> None:
    faults = found(PRODUCT, instruction, ALL, END)
    assert len(faults) == (fault is not None)
    assert fault is None or f"{fault} of the product at 0x0 before its end" in faults[0]
    assert found(PRODUCT, ALL, instruction, ALL, END) == []


def test_a_wait_covers_the_oldest_groups() -> None:
    uses_first, uses_second = "FADD R3, R24, R25", "FADD R3, R40, R41"
    assert found(PRODUCT, OTHER, ALL_BUT_ONE, uses_first, ALL, uses_second, END) == []
    assert "0x30 touches the sums of the product at 0x10" in found(PRODUCT, OTHER, ALL_BUT_ONE, uses_second, END)[0]


def test_a_product_without_a_group_is_under_way_too() -> None:
    assert found(PRODUCT.removesuffix(", gsb0"), "MOV R9, R3", END) != []
    assert found(PRODUCT.removesuffix(", gsb0"), ALL, "MOV R9, R3", END) != []  # the wait is for groups


def test_what_the_next_turn_of_a_loop_does() -> None:
    loop = ("FFMA R3, R4, R5, R6", "LDS.128 R8, [R60]", PRODUCT, "@P0 BRA 0x10", ALL, END)
    assert found(*loop) == ["the LDS at 0x10 writes the left operand of the product at 0x20 before its end"]
    assert found(*loop[:3], ALL, "@P0 BRA 0x10", ALL, END) == []
    assert found(COPY, COMMIT, PRODUCT, "@P0 BRA 0x0", ARRIVED, ALL, END) == []  # nothing is waited for in the loop


def test_both_ways_from_a_branch() -> None:
    assert found(PRODUCT, "@P0 BRA 0x30", ALL, "MOV R9, R3", END) != []
    assert found(PRODUCT, "BRA 0x30", ALL, "MOV R9, R3", END) != []
    assert found(PRODUCT, "@P0 BRA 0x40", ALL, "BRA 0x50", ALL, "MOV R9, R3", END) == []


@pytest.mark.parametrize("write", ["STS.128 [R60], R64", "STSM.16.M88.4 [R60], R64"])
def test_stores_need_a_fence(write: str) -> None:
    assert found(write, FENCE, PRODUCT, ALL, END) == []
    assert found(write, "BAR.SYNC.DEFER_BLOCKING 0x0", PRODUCT, ALL, END) == [
        f"the product at 0x20 reads shared memory after the {write[:4].strip('.')} at 0x0 without a fence of proxies"
    ]
    assert found(FENCE, write, PRODUCT, ALL, END) != []


def test_copies_need_a_fence_after_they_have_arrived() -> None:
    assert found(COPY, COMMIT, ARRIVED, FENCE, PRODUCT, ALL, END) == []
    assert "after the LDGSTS at 0x0 without a fence" in found(COPY, COMMIT, ARRIVED, PRODUCT, ALL, END)[0]
    assert found(COPY, COMMIT, FENCE, ARRIVED, PRODUCT, ALL, END) != []
    # The second copy is still on its way, to where this product does not read.
    assert found(COPY, COMMIT, COPY, COMMIT, "DEPBAR.LE SB0, 0x1", FENCE, PRODUCT, ALL, END) == []
    assert found(COPY, COMMIT, COPY, COMMIT, "DEPBAR.LE SB0, 0x1", FENCE, ARRIVED, PRODUCT, ALL, END) != []


def test_blackwells_products_need_a_fence_too() -> None:
    product = "UTCHMMA gdesc[UR20], gdesc[UR22], tmem[UR8], tmem[UR14], idesc[UR15], UPT"
    assert found(COPY, COMMIT, ARRIVED, FENCE, product, END) == []
    assert "the product at 0x30 reads shared memory" in found(COPY, COMMIT, ARRIVED, product, END)[0]


BREAK = """
import dataclasses, json
from dec_kernels.backends.triton import aot, hazards, sass
from dec_kernels.backends.triton.tiles import Tile

tile = Tile(128, 128, 8, 2)
kernel = aot.compile_ahead(aot.Build("sm_90", 192, "bf16", "backward_plain", tile, tile))
(code,) = sass.disassemble([kernel.asm["cubin"]], "sm_90")

def broken(place, opcode, operands):
    changed = list(code)
    changed[place] = dataclasses.replace(code[place], guard="", opcode=opcode, operands=operands)
    return hazards.hazards(changed)

product = next(place for place, i in enumerate(code) if i.name == "HGMMA" and i.values[1].startswith("R"))
after = next(p for p in range(product + 1, len(code)) if code[p].name not in ("HGMMA", "WARPGROUP"))
waits = [place for place, i in enumerate(code) if i.opcode.startswith("WARPGROUP.DEPBAR")]
fences = [place for place, i in enumerate(code) if i.opcode.startswith("FENCE.VIEW")]
print(json.dumps({
    "as it is": hazards.hazards(code),
    "left operand written": broken(after, "MOV", code[product].values[1] + ", RZ"),
    "sums written": broken(after, "MOV", code[product].values[0] + ", RZ"),
    "without waits": [broken(place, "NOP", "") for place in waits],
    "without fences": [broken(place, "NOP", "") for place in fences],
}))
"""


def test_a_kernel_that_is_broken_by_hand() -> None:
    faults = json.loads(lanes.printed(BREAK))
    assert faults["as it is"] == []
    assert "writes the left operand" in faults["left operand written"][0]
    assert "touches the sums" in faults["sums written"][0]
    assert any(faults["without waits"])
    assert any(faults["without fences"])
