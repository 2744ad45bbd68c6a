"""What is read from machine code, on code whose loops one can follow by hand."""

from collections import Counter

import pytest

from dec_kernels.backends.triton import sass

# A loop in a loop: 2 products of 64 x 32 x 8 in each of 6 turns of the inner one, one of 64 x 64 x 16 beside it.
NESTED = """
        /*0000*/                   UMOV UR4, URZ ;
        /*0010*/                   CS2R R8, SRZ ;
        /*0020*/                   HGMMA.64x32x8.F32.TF32 R24, gdesc[UR8], R24 ;
        /*0030*/                   HGMMA.64x32x8.F32.TF32 R24, gdesc[UR8], R24, gsb0 ;
        /*0040*/                   IADD3 R8, P0, R8.reuse, 0x80, RZ ;
        /*0050*/                   IADD3.X R9, RZ, R9, RZ, P0, !PT ;
        /*0060*/                   ISETP.NE.U32.AND P0, PT, R8, 0x300, PT ;
        /*0070*/                   ISETP.NE.U32.AND.EX P0, PT, R9, RZ, PT, P0 ;
        /*0080*/               @P0 BRA 0x20                                      &req={1}         ?trans5;
        /*0090*/                   MUFU.EX2 R3, R4 ;
        /*00a0*/                   HGMMA.64x64x16.F32.BF16 R56, gdesc[UR8], R56, gsb0 ;
        /*00b0*/                   UIADD3 UR4, UR4, 0x1, URZ ;
        /*00c0*/                   UISETP.GE.AND UP1, UPT, UR4, UR5, UPT ;
        /*00d0*/                   BRA.U !UP1, 0x10 ;
        /*00e0*/                   EXIT ;
        /*00f0*/                   BRA 0xf0;
        /*0100*/                   NOP;
"""


def test_instructions() -> None:
    code = sass.parse(NESTED)
    assert len(code) == 17
    add, again, idle = code[4], code[8], code[16]
    assert (add.address, add.name, add.values) == (0x40, "IADD3", ["R8", "P0", "R8", "0x80", "RZ"])
    assert (again.guard, again.opcode, again.target) == ("@P0", "BRA", 2)
    assert (idle.name, idle.target) == ("NOP", None)
    assert code[13].falls_through
    assert not code[15].falls_through
    assert not code[14].falls_through


@pytest.mark.parametrize(
    ("instruction", "written"),
    [
        ("LDSM.16.M88.4 R4, [R8]", {"R4", "R5", "R6", "R7"}),
        ("LDSM.16.MT88 R4, [R8]", {"R4"}),
        ("LDS.64 R4, [R8]", {"R4", "R5"}),
        ("LDG.E.128 R4, desc[UR4][R2.64]", {"R4", "R5", "R6", "R7"}),
        ("HGMMA.64x16x8.F32.TF32 R24, gdesc[UR8], R24", {f"R{24 + i}" for i in range(8)}),
        ("IMAD.WIDE.U32 R4, R6, 0x4, R8", {"R4", "R5"}),
        ("F2F.F64.F32 R4, R6", {"R4", "R5"}),
        ("IADD3 R4, P0, R6, R8, RZ", {"R4", "P0"}),
        ("ISETP.NE.AND P0, PT, R4, RZ, PT", {"P0"}),
        ("CS2R R4, SRZ", {"R4", "R5"}),
        ("STS.128 [R4], R8", set()),
        ("UMOV UR4, URZ", {"UR4"}),
    ],
)
def test_registers_that_are_written(instruction: str, written: set[str]) -> None:
    (parsed,) = sass.parse(f"        /*0000*/ {instruction} ;")
    assert parsed.written == written


def test_loops_within_loops() -> None:
    code = sass.parse(NESTED)
    (outer,) = sass.loops(code)  # nothing leads to what comes after the end
    (inner,) = outer.inner
    assert (outer.header, outer.body[-1], inner.header, inner.body[-1]) == (1, 13, 2, 8)
    assert outer.own == [1, *range(9, 14)]
    assert sass.counts(code, inner.body) == Counter(HGMMA=2, IADD3=2, ISETP=2, BRA=1)


def test_what_every_turn_comes_through() -> None:
    code = sass.parse("""
        /*0000*/                   FADD R1, R1, R2 ;
        /*0010*/               @P1 BRA 0x30 ;
        /*0020*/                   FMUL R1, R1, R2 ;
        /*0030*/                   FADD R1, R1, R2 ;
        /*0040*/               @P0 BRA 0x0 ;
""")
    (loop,) = sass.loops(code)
    assert loop.steady == {0, 1, 3, 4}


def test_only_the_loop_with_exponentials_is_one_over_tiles() -> None:
    code = sass.parse(NESTED)
    assert [loop.header for loop in sass.tile_loops(code)] == [1]


def test_a_block_behind_the_end_that_jumps_back_is_no_loop() -> None:
    code = sass.parse("""
        /*0000*/              @!P0 BRA 0x40 ;
        /*0010*/                   MUFU.EX2 R3, R4 ;
        /*0020*/                   MUFU.EX2 R3, R4 ;
        /*0030*/                   EXIT ;
        /*0040*/                   NANOSLEEP 0x10 ;
        /*0050*/                   BRA 0x20 ;
""")
    assert sass.loops(code) == []


def test_multiply_adds_of_inner_loops_count_in_every_turn() -> None:
    code = sass.parse(NESTED)
    (loop,) = sass.tile_loops(code)
    assert sass.multiply_adds(code, loop, warps=8) == 2 * (64 * 64 * 16 + 6 * 2 * 64 * 32 * 8)


@pytest.mark.parametrize(
    ("instruction", "multiply_adds"),
    [
        ("HMMA.16816.F32.BF16 R96, R116.reuse, R18, R96", 8 * 16 * 8 * 16),
        ("HMMA.1688.F32.TF32 R96, R116, R18, R96", 8 * 16 * 8 * 8),
        ("HMMA.1684.F32.TF32 R96, R116, R18, R96", 8 * 16 * 8 * 4),
        # The descriptors that PTX states for 128 x 64 x 16 of BF16, and 128 x 32 x 8 of TF32, with float32 sums.
        ("UTCHMMA gdesc[UR20], gdesc[UR22], tmem[UR8], tmem[UR14], idesc[UR15], UPT", 128 * 64 * 16),
        ("UTCHMMA gdesc[UR20], gdesc[UR22], tmem[UR8], tmem[UR16], idesc[UR17], UPT", 128 * 32 * 8),
        ("FFMA R3, R4, R5, R6", 0),
    ],
)
def test_multiply_adds(instruction: str, multiply_adds: int) -> None:
    code = sass.parse(f"""
        /*0000*/                   UMOV UR15, 0x8100490 ;
        /*0010*/                   UMOV UR17, 0x8080910 ;
        /*0020*/                   MUFU.EX2 R3, R4 ;
        /*0030*/                   {instruction} ;
        /*0040*/               @P0 BRA 0x20 ;
""")
    (loop,) = sass.tile_loops(code)
    assert sass.multiply_adds(code, loop, warps=8) == multiply_adds


def test_a_descriptor_that_is_no_constant_is_an_error() -> None:
    code = sass.parse("""
        /*0000*/                   ULDC UR15, c[0x0][0x28] ;
        /*0010*/                   MUFU.EX2 R3, R4 ;
        /*0020*/                   UTCHMMA gdesc[UR20], gdesc[UR22], tmem[UR8], tmem[UR14], idesc[UR15], UPT ;
        /*0030*/               @P0 BRA 0x10 ;
""")
    with pytest.raises(ValueError, match="0x20"):
        sass.multiply_adds(code, sass.tile_loops(code)[0], warps=4)


def turns(*body: str, before: str = "MOV R8, RZ") -> int:
    lines = [before, "FFMA R3, R4, R5, R6", *body, "FFMA R3, R4, R5, R6"]
    code = sass.parse("\n".join(f"        /*{16 * i:04x}*/ {line} ;" for i, line in enumerate(lines)))
    (loop,) = sass.loops(code)
    return sass.trips(code, loop)


STEP, LESS = "VIADD R8, R8, 0x1", "ISETP.LT.AND P0, PT, R8, 0xc, PT"


def test_turns() -> None:
    assert turns(STEP, LESS, "@P0 BRA 0x10") == 12
    assert turns(LESS, STEP, "@P0 BRA 0x10") == 13  # it is compared before it grows
    assert turns(STEP, "ISETP.GE.AND P0, PT, R8, 0xc, PT", "@!P0 BRA 0x10") == 12
    assert turns(STEP, LESS, "@P0 BRA 0x10", before="IMAD.MOV.U32 R8, RZ, RZ, 0x4") == 8
    # The branch leaves the loop, and what closes it has no condition.
    assert turns(STEP, LESS, "@!P0 CALL.REL.NOINC 0x60", "BRA 0x10") == 12
    # A flag that is true at first, and not any more after the first turn.
    flag = ("PLOP3.LUT P0, PT, PT, PT, UP0, 0x80, 0x0", "UPLOP3.LUT UP0, UPT, UPT, UPT, UPT, 0x40, 0x0")
    assert turns(*flag, "@P0 BRA 0x10", before="UPLOP3.LUT UP0, UPT, UPT, UPT, UPT, 0x80, 0x0") == 2
    flag = ("UPLOP3.LUT UP1, UPT, UPT, UPT, UP0, 0x80, 0x8", "UPLOP3.LUT UP0, UPT, UPT, UPT, UPT, 0x40, 0x4")
    assert turns(*flag, "BRA.U UP1, 0x10", before="UPLOP3.LUT UP0, UPT, UPT, UPT, UPT, 0x80, 0x8") == 2
    assert turns(STEP, "UISETP.LT.AND UP0, UPT, R8, 0xc, UPT",
                 "PLOP3.LUT P0, PT, PT, PT, UP0, 0x80, 0x0", "@P0 BRA 0x10") == 12  # fmt: skip


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ((STEP, LESS, "@P0 BRA 0x10"), "LDC R8, c[0x0][0x28]"),  # it begins anywhere
        ((STEP, LESS, "@P0 BRA 0x10"), "@P1 MOV R8, RZ"),
        ((STEP, "ISETP.LT.AND P0, PT, R8, R9, PT", "@P0 BRA 0x10"), "MOV R8, RZ"),  # and ends anywhere
        ((STEP, STEP, LESS, "@P0 BRA 0x10"), "MOV R8, RZ"),
        (("SHF.L.U32 R8, R8, 0x1, RZ", LESS, "@P0 BRA 0x10"), "MOV R8, RZ"),
        ((STEP, "FSETP.GT.AND P0, PT, R8, 1, PT", "@P0 BRA 0x10"), "MOV R8, RZ"),
        (("VIADD R8, R8, -0x1", LESS, "@P0 BRA 0x10"), "MOV R8, RZ"),  # it never ends
    ],
)
def test_turns_that_cannot_be_read(body: tuple[str, ...], before: str) -> None:
    with pytest.raises(ValueError, match="0x10"):
        turns(*body, before=before)
