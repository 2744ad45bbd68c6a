import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cycles
from benchmarks.cycles import __main__ as command
from benchmarks.cycles import model
from benchmarks.cycles.code import Cost, amounts, cost
from benchmarks.cycles.gpus import GPUS, Gpu
from benchmarks.cycles.model import Launch
from benchmarks.cycles.walk import Band, Walk, band, banded, plain
from dec_kernels.backends.triton import sass
from dec_kernels.backends.triton.aot import Build
from dec_kernels.backends.triton.host import backward_walks, forward_walks
from dec_kernels.backends.triton.layout import Operand, Size
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.spec import Spec
from tests import lanes

# Three loops in the one over tiles: two turns with a product and a copy of 16 bytes; under a condition, three turns of
# additions; and what float32 cannot decide.
CODE = sass.parse("""
        /*0000*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0010*/                   MOV R8, RZ ;
        /*0020*/                   LDGSTS.E.BYPASS.128 [R60], desc[UR6][R2.64] ;
        /*0030*/                   HGMMA.64x32x8.F32.TF32 R24, R12, gdesc[UR8], R24, gsb0 ;
        /*0040*/                   FFMA R3, R4, R5, R6 ;
        /*0050*/                   FFMA R3, R4, R5, R6 ;
        /*0060*/                   FFMA R3, R4, R5, R6 ;
        /*0070*/                   VIADD R8, R8, 0x1 ;
        /*0080*/                   ISETP.NE.AND P0, PT, R8, 0x2, PT ;
        /*0090*/               @P0 BRA 0x20 ;
        /*00a0*/                   MUFU.EX2 R3, R4 ;
        /*00b0*/              @!PT LDS RZ, [RZ] ;
        /*00c0*/               @P1 BRA 0x1f0 ;
        /*00d0*/                   HMMA.16816.F32.BF16 R64, R22, R80, R64 ;
        /*00e0*/                   MOV R9, RZ ;
        /*00f0*/                   FADD R3, R4, R5 ;
        /*0100*/                   FADD R3, R4, R5 ;
        /*0110*/                   FADD R3, R4, R5 ;
        /*0120*/                   FADD R3, R4, R5 ;
        /*0130*/                   SHFL.BFLY PT, R10, R8, 0x1, 0x1f ;
        /*0140*/                   VIADD R9, R9, 0x1 ;
        /*0150*/                   ISETP.NE.AND P0, PT, R9, 0x3, PT ;
        /*0160*/               @P0 BRA 0xf0 ;
        /*0170*/                   DADD R20, R20, R22 ;
        /*0180*/                   DFMA R20, R20, R22, R20 ;
        /*0190*/                   F2F.F64.F32 R20, R22 ;
        /*01a0*/                   FADD R3, R4, R5 ;
        /*01b0*/                   FADD R3, R4, R5 ;
        /*01c0*/                   FADD R3, R4, R5 ;
        /*01d0*/                   FADD R3, R4, R5 ;
        /*01e0*/               @P2 BRA 0x170 ;
        /*01f0*/               @P3 BRA 0x10 ;
        /*0200*/                   STG.E.64 desc[UR4][R2.64], R4 ;
        /*0210*/                   EXIT ;
""")


def test_what_a_loop_asks_of_each_unit():
    found = cost(CODE, warps=4, registers=100, shared=1000)
    assert found.once == Counter({"issue": 4 * 3, "L2": 128 * (16 + 8)})
    assert found.turn == Counter(
        {
            "issue": 4 * (2 * 8 + 4),  # the inner loop twice; MOV, MUFU, two branches
            "TF32": 2 * 64 * 32 * 8,
            "FP32": 2 * 3 * 128,
            "integer": 2 * 2 * 128 + 128,
            "special functions": 128,
            # The copy's 16 bytes of each thread, and the right operand of the product: 32 x 8 values of 4 bytes.
            "shared memory": 2 * (128 * 16 + 32 * 8 * 4),
            "L2": 2 * 128 * 16,
        }
    )
    assert found.sometimes == Counter(
        {
            "issue": 4 * (2 + 3 * 8),
            "BF16": 4 * 16 * 8 * 16,
            "FP32": 3 * 4 * 128,
            "integer": 128 + 3 * 2 * 128,
            "shared memory": 3 * 4 * 128,
        }
    )
    assert (found.registers, found.shared) == (100, 1000)


def test_code_without_a_loop_over_tiles_is_an_error():
    with pytest.raises(ValueError, match="loop"):
        cost(sass.parse("        /*0000*/ EXIT ;"), warps=4, registers=1, shared=0)


@pytest.mark.parametrize(
    ("instruction", "shared"),
    [
        ("LDS R3, [R4]", 8 * 32 * 4),
        ("LDS.U8 R3, [R4]", 8 * 32),
        ("STS.64 [R4], R6", 8 * 32 * 8),
        ("LDSM.16.M88.4 R4, [R8]", 8 * 4 * 128),
        ("STSM.16.M88 [R8], R4", 8 * 128),
        ("HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24", 2 * (64 + 128) * 16 * 2),
        ("HGMMA.64x128x16.F32.BF16 R24, R8, gdesc[UR8], R24", 2 * 128 * 16 * 2),
        ("LDG.E.128 R4, desc[UR4][R2.64]", 0),
    ],
)
def test_bytes_of_shared_memory(instruction, shared):
    assert amounts(sass.parse(f"        /*0000*/ {instruction} ;"), 0, warps=8)["shared memory"] == shared


# Round numbers, so that every time below can be worked out by hand.
GPU = Gpu(
    "sm_0", multiprocessors=10, clock=1e9, tf32=4e12, bf16=8e12, fp32=100, integer=50, shared=102400, threads=2048,
    programs=32, l2=1e12, dram=1e11, source="made up",
)  # fmt: skip
COST = Cost(
    once=Counter({"issue": 1000}),
    turn=Counter({"TF32": 2e6, "BF16": 4e6, "special functions": 16e3, "L2": 1e6, "issue": 4000}),
    sometimes=Counter({"FP32": 1e6}),
    registers=100,
    shared=20000,
)


def test_seconds_of_a_launch():
    launched = Launch(programs=20, splits=1, resident=2, walk=Walk(turns=100, conditional=0.25))
    prediction = model.predict(GPU, COST, launched, dram=10**6)
    assert prediction.terms == pytest.approx(
        {
            "tensor cores": 100 * (2e6 / 2e12 + 4e6 / 4e12),
            "L2": 1e8 / 1e12,
            "DRAM": 1e6 / 1e11,
            "special functions": 1.6e6 / 160e9,
            "issue": (20 * 1000 + 100 * 4000) / 40e9,
            "FP32": 25e6 / 1e12,
        }
    )
    assert prediction.limit == "tensor cores"
    assert prediction.seconds == pytest.approx((200e-6, sum(prediction.terms.values())))


@pytest.mark.parametrize("unit", ["special functions", "L2", "issue", "shared memory", "integer"])
def test_the_limit_is_what_takes_longest(unit):
    launched = Launch(programs=20, splits=1, resident=2, walk=Walk(turns=100, conditional=0.25))
    more = COST._replace(turn=COST.turn + Counter({unit: 1e8}))
    assert model.predict(GPU, more, launched, dram=10**6).limit == unit
    assert model.predict(GPU, COST, launched, dram=10**9).limit == "DRAM"


def test_programs_that_cannot_be_shared_out_evenly():
    even, uneven = (
        model.predict(GPU, COST, Launch(programs, 1, 2, Walk(100, 0.25)), dram=10**6).terms for programs in (20, 21)
    )
    assert uneven["tensor cores"] == pytest.approx(30 / 21 * even["tensor cores"])
    assert uneven["L2"] == even["L2"]


@pytest.mark.parametrize(
    ("changes", "programs"),
    [
        ({}, 4),  # 102400 bytes, 20000 and 1024 for each
        ({"shared": 0}, 4),  # 104 registers of 128 threads, 65536 in all
        ({"shared": 0, "registers": 30}, 16),  # 2048 threads
    ],
)
def test_programs_that_a_multiprocessor_holds(changes, programs):
    build = Build("sm_0", 192, "bf16", "forward_plain", Tile(64, 64, 4, 2), Tile(64, 64, 4, 2))
    assert model.resident(GPU, build, COST._replace(**changes)) == programs
    assert model.resident(replace(GPU, programs=3), build, COST._replace(**changes)) == 3


# 64 rows; each has its own column, and the eight to both sides.
NEAR = Band(np.maximum(np.arange(64) - 8, 0), np.minimum(np.arange(64) + 9, 64))


def test_turns_of_the_plain_kernels():
    # Rows 0 to 31 have columns 0 to 39, and rows 32 to 63 have 24 to 63; none of them is a column of all of them.
    assert plain(NEAR, Tile(32, 16, 4, 1)) == Walk(2 * 4, 2 * 3 / 8)
    # Rows 0 to 7 have columns 0 to 15, of which all have 0 to 8: tile 0 of 8 columns is the band's, tile 1 is in part.
    # Rows 8 to 15 have 0 to 23, and all of them 7 to 16: tile 1 is the band's, tiles 0 and 2 in part.
    walk = plain(Band(NEAR.first[:16], NEAR.last[:16]), Tile(8, 8, 4, 1))
    assert (walk.turns, walk.conditional) == (1 + 1, 1.0)
    # Of 64 columns, the third tile of 30 has four: it reaches back, whether or not it meets a band. All of the last
    # eight rows have it in their bands.
    assert plain(NEAR, Tile(8, 30, 4, 1)).turns == 7 * 3 + 2
    assert plain(Band(np.zeros(64, int), np.zeros(64, int)), Tile(64, 30, 4, 1)) == Walk(3, 1 / 3)
    assert plain(NEAR, Tile(32, 128, 4, 1)) == Walk(0, 0.0)  # too few columns for a tile: all are the band's


def test_turns_of_the_bands_kernels():
    # From 0 to 15, 0 to 23, 8 to 31, 16 to 39, and the same from the other end: in strips of 8, of three chunks each.
    walk = banded(NEAR, 16, Tile(8, 8, 4, 1), chunks=3)
    assert walk == Walk(2 * (2 + 3 + 3 + 3) * 3, 1 / 3)
    assert banded(NEAR, 16, Tile(8, 8, 4, 1), chunks=1) == Walk(22, 0.0)
    assert banded(NEAR, 128, Tile(8, 8, 4, 1), chunks=1).turns == 8 * 8  # all columns are the band's


def test_photographs_have_a_band():
    rows = band(1024, 48)
    assert rows.first.shape == rows.last.shape == (1024,)
    assert (rows.first <= np.arange(1024)).all()
    assert (np.arange(1024) < rows.last).all()
    assert 0.005 < np.mean(rows.last - rows.first) / 1024 < 0.5


@pytest.mark.parametrize(("rows", "columns"), [(1024, 128), (8192, 64), (65536, 64), (256, 128), (512, 64)])
def test_walks_are_split_as_by_the_backend(rows, columns):
    tile = Tile(128, columns, 8, 2)
    chosen, constants = Tiles(*4 * [tile]), Spec().constants(768, "bf16")
    size = Size(1, rows, rows, 768, Operand.of(768, "bf16", GPU.sm))
    none = np.zeros(rows, int)
    for direction, walks in (("forward", forward_walks), ("backward", backward_walks)):
        expected = walks(size, constants, GPU.sm, GPU.multiprocessors, chosen)
        for kernel, launch in (("plain", expected.plain), ("band", expected.band)):
            build = Build(GPU.sm, 768, "bf16", f"{direction}_{kernel}", tile, tile)
            found = model.launch(GPU, build, COST, Band(none, none))
            assert found.programs == launch.programs
            assert found.splits == (expected.splits if kernel == "plain" else 1)


COMPILED = """
import json
import numpy as np
from benchmarks.cycles import model
from benchmarks.cycles.code import costs
from benchmarks.cycles.gpus import GPUS
from benchmarks.cycles.walk import Band

if __name__ == "__main__":
    gpu = GPUS["H100 SXM"]
    (build,) = (b for b in model.builds("sm_90", 192, "bf16") if b.kernel == "forward_plain")
    (cost,) = costs([build]).values()
    none = np.zeros(8448, int)
    launched = model.launch(gpu, build, cost, Band(none, none))
    print(json.dumps([build.tile, cost._asdict(), launched, model.predict(gpu, cost, launched, 0)]))
"""


def test_the_forward_kernel_in_bf16():
    tile, cost, launched, (_, limit, terms) = json.loads(lanes.printed(COMPILED))
    rows, columns, warps, *_ = tile
    programs, splits, resident, (turns, _) = launched
    n = 8448  # of a number of rows that 132 multiprocessors share evenly
    assert turns == n * n // (rows * columns)
    assert programs == splits * n // rows
    assert resident >= 1
    uneven = -(-programs // 132) * 132 / programs
    assert terms["tensor cores"] == pytest.approx(uneven * 2 * 2 * n * n * 192 / 989.4e12, rel=1e-12)
    assert cost["turn"]["BF16"] == 2 * rows * columns * 192
    # A similarity of each kind, at most one of them by a polynomial.
    assert cost["turn"]["special functions"] in (2 * rows * columns, rows * columns)
    assert cost["turn"]["L2"] == columns * 192 * 2
    # A sum and a multiply-add of each pair, at least, and not ten times as many.
    assert 2 * rows * columns <= cost["turn"]["FP32"] < 20 * rows * columns
    assert 300 * warps / 8 < cost["turn"]["issue"] / warps < 3000
    assert limit in terms


def canned(builds):
    return dict.fromkeys(builds, COST)


def test_writes_what_it_prints_and_says_that_it_predicts(monkeypatch, tmp_path, capsys):
    file = tmp_path / "cycles.json"
    monkeypatch.setattr(model, "costs", canned)
    arguments = ["--gpu", "H100 SXM", "B200", "--n", "1024", "--dim", "48", "192", "--precision", "tf32", "bf16"]
    monkeypatch.setattr("sys.argv", ["cycles", *arguments, "--json", str(file)])
    command.main()
    assert capsys.readouterr().out.count("PREDICTED") == 2 * 2
    content = json.loads(file.read_text())
    assert content["what"].startswith("PREDICTED")
    assert content["gpus"]["B200"]["source"]
    assert len(content["predictions"]) == 2 * 2 * 2 * len(model.KERNELS)

    monkeypatch.setattr(cycles, "FILE", file)
    found = cycles.stored("NVIDIA H100 80GB HBM3", 1024, 192, "bf16")
    assert list(found) == list(model.KERNELS)
    assert found == cycles.stored("H100 SXM", 1024, 192, "bf16")
    for prediction in found.values():
        low, high = prediction.seconds
        assert low == prediction.terms[prediction.limit] == max(prediction.terms.values())
        assert high == pytest.approx(sum(prediction.terms.values()), rel=1e-3)
    # 1024 rows of 192 values: the parts of the gradients, the images twice, the order.
    of = {"gpu": "H100 SXM", "dim": 192, "precision": "bf16", "kernel": "backward_plain"}
    (backward,) = (r for r in content["predictions"] if of.items() <= r.items())
    parts = backward["programs"] // (1024 // backward["tile"][0])
    assert parts > 1
    assert found["images"].terms == {"DRAM": pytest.approx(1024 * (192 * 4 * (parts + 2) + 8) / 3.35e12, rel=1e-3)}


@pytest.mark.parametrize(
    "asked",
    [("NVIDIA H100 PCIe", 8192, 192, "bf16"), ("H100 SXM", 8191, 192, "bf16"), ("H100 SXM", 8192, 192, "fp8")],
)
def test_nothing_is_stored_of_what_was_not_predicted(asked):
    assert cycles.stored(*asked) == {}


def test_nothing_is_stored_without_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr(cycles, "FILE", tmp_path / "none.json")
    assert cycles.stored("H100 SXM", 8192, 192, "bf16") == {}


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("dim", [48, 192, 768])
def test_every_gpu_is_in_the_file(gpu, dim):
    for precision in ("ieee", "tf32x3", "tf32", "bf16"):
        found = cycles.stored(gpu, 8192, dim, precision)
        assert list(found) == list(model.KERNELS)
        assert all(0 < prediction.seconds[0] <= prediction.seconds[1] < 10 for prediction in found.values())
        # No pass is faster than its two or four products on the tensor cores.
        if precision != "ieee":
            rate = GPUS[gpu].bf16 if precision == "bf16" else GPUS[gpu].tf32
            forward = found["forward_plain"].seconds[0] + found["forward_band"].seconds[0]
            assert forward > 0.8 * 2 * 2 * 8192**2 * dim / rate
