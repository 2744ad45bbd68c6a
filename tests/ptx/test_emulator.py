"""The emulator by itself: instructions against what the PTX ISA says of them, and what it must not let pass."""

import itertools
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.kernels.backward import backward_plain
from dec_kernels.backends.triton.kernels.forward import forward_plain
from tests.conftest import on_the_interpreter
from tests.lanes import LANES
from tests.oracle import error
from tests.ptx.compiler import Compiled, Compiler
from tests.ptx.fragments import Descriptor
from tests.ptx.kernels import Emulated
from tests.ptx.memory import Shared
from tests.ptx.parse import Fault, parse
from tests.ptx.problem import Problem
from tests.ptx.run import Order, launch

pytestmark = pytest.mark.ptx


def run(body: str, warps: int = 1, order: Order | None = None, shared: int = 4096, grid: int = 1) -> Tensor:
    """(threads, 4) int32 that `body` left at %rd9, where each thread has room for four; %r9 is the thread's number."""
    text = f"""
.visible .entry tiny(
	.param .u64 .ptr .global .align 1 tiny_0
)
.reqntid {32 * warps}
{{
	.reg .pred 	%p<10>;
	.reg .b16 	%rs<10>;
	.reg .b32 	%r<100>;
	.reg .b64 	%rd<20>;
	ld.param.b64 	%rd8, [tiny_0];
	mov.u32 	%r9, %tid.x;
	mov.u32 	%r8, %ctaid.x;
	mad.lo.s32 	%r8, %r8, {32 * warps}, %r9;
	mad.wide.u32 	%rd9, %r8, 16, %rd8;
	mov.b32 	%r10, global_smem;
	shl.b32 	%r11, %r9, 2;
	add.s32 	%r11, %r11, %r10;
{body}
	ret;
}}
"""
    out = torch.zeros(grid * 32 * warps, 4, dtype=torch.int32)
    launch(parse(text), shared, grid, [out], order or Order(warps))
    return out


def bits(x: float) -> str:
    return f"0f{struct.unpack('I', struct.pack('f', x))[0]:08X}"


NAN = bits(math.nan)


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("add.s32 %r1, -1, 3", 2),
        ("sub.s32 %r1, 1, 3", -2),
        ("mul.lo.s32 %r1, 65537, 65537", 131073),
        ("mul.hi.u32 %r1, 0x80000000, 6", 3),
        ("mad.lo.s32 %r1, -3, 5, 1", -14),
        ("div.s32 %r1, -7, 2", -3),
        ("rem.s32 %r1, -7, 2", -1),
        ("shl.b32 %r1, 1, 31", -(2**31)),
        ("shl.b32 %r1, 1, 32", 0),
        ("shr.s32 %r1, -8, 1", -4),
        ("shr.s32 %r1, -8, 40", -1),
        ("shr.u32 %r1, -8, 28", 15),
        ("bfe.u32 %r1, 0xF0, 4, 3", 7),
        ("bfe.s32 %r1, 0xF0, 4, 3", -1),
        ("bfe.s32 %r1, 0x70, 4, 4", 7),
        ("bfe.u32 %r1, -1, 28, 15", 15),
        ("prmt.b32 %r1, 0x33221100, 0x77665544, 0x5410", 0x55441100),
        ("prmt.b32 %r1, 0x80, 0, 0x4448", 0xFF),
        ("min.s32 %r1, -1, 1", -1),
        ("max.u32 %r1, -1, 1", -1),
        ("neg.s32 %r1, 5", -5),
        ("selp.b32 %r1, 1, 2, %p0", 1),
        (f"max.f32 %r2, {NAN}, {bits(1)}; mov.b32 %r1, %r2", struct.unpack("i", struct.pack("f", 1.0))[0]),
        (f"setp.lt.f32 %p1, {NAN}, {bits(1)}; selp.b32 %r1, 1, 0, %p1", 0),
        (f"setp.ne.f32 %p1, {NAN}, {bits(1)}; selp.b32 %r1, 1, 0, %p1", 0),
        (f"setp.leu.f32 %p1, {NAN}, {bits(1)}; selp.b32 %r1, 1, 0, %p1", 1),
        (f"setp.num.f32 %p1, {NAN}, {NAN}; selp.b32 %r1, 1, 0, %p1", 0),
        ("setp.lt.u32 %p1, 1, -1; selp.b32 %r1, 1, 0, %p1", 1),
        ("setp.lt.s32 %p1, 1, -1; selp.b32 %r1, 1, 0, %p1", 0),
        ("cvt.s64.s32 %rd1, -1; shr.u64 %rd1, %rd1, 60; cvt.u32.u64 %r1, %rd1", 15),
        ("cvt.u64.u32 %rd1, -1; shr.u64 %rd1, %rd1, 60; cvt.u32.u64 %r1, %rd1", 0),
        ("mul.wide.s32 %rd1, -1, 2; cvt.u32.u64 %r1, %rd1", -2),
        # Halves go away from zero in tf32, and to even in bf16; the first operand is the upper half.
        ("mov.b32 %r2, 0x3F801000; cvt.rna.tf32.f32 %r1, %r2", 0x3F802000),
        ("mov.b32 %r2, 0x3F800FFF; cvt.rna.tf32.f32 %r1, %r2", 0x3F800000),
        ("mov.b32 %r2, 0x3F808000; mov.b32 %r3, 0x3F818000; cvt.rn.bf16x2.f32 %r1, %r2, %r3", 0x3F803F82),
        (f"ex2.approx.ftz.f32 %r1, {bits(-3)}", struct.unpack("i", struct.pack("f", 0.125))[0]),
        (f"ex2.approx.ftz.f32 %r1, {bits(-127)}", 0),
        (f"fma.rn.f32 %r1, {bits(3)}, {bits(5)}, {bits(-1)}", struct.unpack("i", struct.pack("f", 14.0))[0]),
        ("mov.b64 %rd1, 0x500000007; mov.b64 {_, %r1}, %rd1", 5),
        ("redux.sync.max.s32 %r1, %r9, -1", 31),
    ],
)
def test_arithmetic(instruction: str, expected: int) -> None:
    out = run(f"setp.eq.b32 %p0, 0, 0;\n{instruction};\nst.global.b32 [%rd9], %r1;")
    assert (out[:, 0] == expected).all()


@pytest.mark.parametrize(
    ("instruction", "source"),
    [("bfly.b32 %r1, %r9, 5", lambda lane: lane ^ 5), ("idx.b32 %r1, %r9, 7", lambda lane: 7)],
)
def test_shuffles_stay_within_a_warp(instruction: str, source) -> None:
    out = run(f"shfl.sync.{instruction}, 31, -1;\nst.global.b32 [%rd9], %r1;", warps=2)
    assert out[:, 0].tolist() == [32 * warp + source(lane) for warp in range(2) for lane in range(32)]


def test_a_predicate_keeps_lanes_out() -> None:
    out = run("setp.lt.s32 %p1, %r9, 3;\n@%p1 st.global.b32 [%rd9], 7;\n@!%p1 st.global.b32 [%rd9+4], 8;")
    assert out[:, :2].tolist() == [[7, 0]] * 3 + [[0, 8]] * 29


def loop(count: str) -> str:
    return f"""
	mov.b32 	%r1, 0;
$L__BB0_1:
	add.s32 	%r1, %r1, 1;
	setp.lt.s32 	%p1, %r1, {count};
	@%p1 bra 	$L__BB0_1;
	st.global.b32 	[%rd9], %r1;"""


def test_loops() -> None:
    assert (run(loop("5"))[:, 0] == 5).all()
    with pytest.raises(Fault, match="lanes differ"):
        run(loop("%r9"))


# Matrices. Where each number of a fragment is, is written here once more, lane by lane.


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_and_stmatrix(transposed: bool) -> None:
    trans = ".trans" if transposed else ""
    fill = "".join(f"st.shared.b32 [%r11+{128 * i}], %r{20 + i};\n" for i in range(4))
    values = "".join(f"mad.lo.s32 %r{20 + i}, %r9, 131074, {65536 + 2 * 65537 * 32 * i};\n" for i in range(4))
    load = f"""
	shl.b32 	%r12, %r9, 4;
	add.s32 	%r12, %r12, %r10;
	ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r30, %r31, %r32, %r33}}, [%r12];
	st.global.v4.b32 	[%rd9], {{%r30, %r31, %r32, %r33}};"""
    out = run(values + fill + load).numpy().view(np.uint16).reshape(32, 4, 2)
    for lane, i, half in itertools.product(range(32), range(4), range(2)):
        row, column = lane // 4, lane % 4 * 2 + half
        # Value k of shared memory, counted in 16 bits, is k: matrix i begins at 64 i.
        assert out[lane, i, half] == 64 * i + (8 * column + row if transposed else 8 * row + column)
    store = f"""
	stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r12+512], {{%r30, %r31, %r32, %r33}};
	ld.shared.b32 	%r1, [%r11+896];
	st.global.b32 	[%rd9], %r1;"""
    assert (run(values + fill + load + store)[:, 0] == run(values + fill + "st.global.b32 [%rd9], %r23;")[:, 0]).all()


@pytest.mark.parametrize(("kind", "k"), [("bf16", 16), ("tf32", 8)])
def test_mma(kind: str, k: int) -> None:
    generator = np.random.default_rng(0)
    a, b, c = (generator.integers(-8, 8, shape).astype(np.float32) for shape in ((16, k), (k, 8), (16, 8)))

    def word(matrix: np.ndarray, rows: list[int], columns: list[int]) -> int:
        values = [int(np.float32(matrix[i, j]).view(np.uint32)) for i, j in zip(rows, columns, strict=True)]
        return values[0] if kind == "tf32" else values[0] >> 16 | values[1] & 0xFFFF0000

    words = np.zeros((10, 32), np.uint32)
    for lane in range(32):
        g, t = lane // 4, lane % 4
        for i in range(4):
            row, column = g + 8 * (i % 2), (k // 2) * (i // 2) + (2 * t if kind == "bf16" else t)
            words[i, lane] = word(a, [row] * 2, [column, min(column + 1, k - 1)])
            words[6 + i, lane] = np.float32(c[g + 8 * (i // 2), 2 * t + i % 2]).view(np.uint32)
        for i in range(2):
            row = (k // 2) * i + (2 * t if kind == "bf16" else t)
            words[4 + i, lane] = word(b, [row, min(row + 1, k - 1)], [g] * 2)
    if kind == "tf32":
        words[:6] |= 0x1FFF  # cut off, not rounded
    load = "".join(
        f"setp.eq.b32 %p1, %r9, {lane};\nselp.b32 %r{20 + i}, {words[i, lane]}, %r{20 + i}, %p1;\n"
        for i in range(10)
        for lane in range(32)
    )
    d = "{%r30, %r31, %r32, %r33}"
    shape = f"m16n8k{k}.row.col.f32.{kind}.{kind}.f32"
    out = run(load + f"""
	mma.sync.aligned.{shape} {d}, {{%r20, %r21, %r22, %r23}}, {{%r24, %r25}}, {{%r26, %r27, %r28, %r29}};
	st.global.v4.b32 	[%rd9], {d};""").numpy().view(np.float32)  # fmt: skip
    true = a @ b + c
    for lane, i in itertools.product(range(32), range(4)):
        assert out[lane, i] == true[lane // 4 + 8 * (i // 2), 2 * (lane % 4) + i % 2]


def test_descriptors() -> None:
    described = Descriptor.of(1 << 62 | 64 << 32 | 1 << 16 | 0x440)
    assert described == Descriptor(start=0x4400, leading=16, stride=1024, swizzle=128)
    rows = described.addresses(np.arange(16), 16) - 0x4400
    # Chunk c of row r of a swizzled row of eight is where chunk c ^ r would be.
    assert rows[:3].tolist() == [[0, 16], [128 + 16, 128], [256 + 32, 256 + 48]]
    assert rows[8].tolist() == [1024, 1024 + 16]
    narrow = Descriptor.of(3 << 62 | 16 << 32 | 1 << 16 | 0x440).addresses(np.arange(16), 16) - 0x4400
    assert narrow[3:5].tolist() == [[96, 112], [128 + 16, 128]]
    plain = Descriptor(0x4400, 128, 256, 16).addresses(np.arange(9), 16) - 0x4400
    assert plain[[0, 1, 8]].tolist() == [[0, 128], [16, 144], [256, 384]]
    wide = Descriptor(0x4400, 2048, 1024, 128).addresses_transposed(128, 16) - 0x4400
    # 64 columns to a row; k = 1 in the next row, k = 8 a stride on, column 64 a leading dimension on.
    assert wide[[0, 1, 8], 0].tolist() == [0, 16, 2048]
    assert wide[0, [1, 7, 8]].tolist() == [128 + 16, 7 * 128 + 7 * 16, 1024]
    with pytest.raises(Fault, match="bits set that are not taken"):
        Descriptor.of(1 << 49)


# Who may see what.

STORE, LOAD = "st.shared.b32 [%r11], %r9;\n", "ld.shared.b32 %r1, [%r12];\nst.global.b32 [%rd9], %r1;\n"
OTHER = "xor.b32 %r12, %r9, 32;\nshl.b32 %r12, %r12, 2;\nadd.s32 %r12, %r12, %r10;\n"  # the same lane of the other warp
COPY = "cp.async.ca.shared.global [ %r11 + 0 ], [ %rd8 + 0 ], 0x4, 4;\ncp.async.commit_group;\n"
ORDERS = [Order(2), Order(1), Order(1, "reverse"), Order(1, "random", 1)]


@pytest.mark.parametrize("order", ORDERS)
def test_what_barriers_and_waits_order(order: Order) -> None:
    out = run(OTHER + STORE + "bar.sync 0;\n" + LOAD, 2, order)
    assert out[:, 0].tolist() == [lane ^ 32 for lane in range(64)]
    assert (run(OTHER + COPY + "cp.async.wait_group 0;\nbar.sync 0;\n" + LOAD, 2, order) == 0).all()
    assert (run(COPY + "cp.async.wait_group 0;\nld.shared.b32 %r1, [%r11];\n", 2, order) == 0).all()


FIRST, SECOND = "setp.lt.u32 %p1, %r9, 32;\n", "setp.ge.u32 %p1, %r9, 32;\n"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("body", "what"),
    [
        (OTHER + LOAD, "nobody has written"),
        (OTHER + "st.shared.b32 [%r10], %r9;\n", "different values"),
        (COPY + "ld.shared.b32 %r1, [%r11];\n", "a cp.async is still writing"),
        (COPY + STORE, "a cp.async is still writing"),
        (COPY + COPY + "cp.async.wait_group 1;\n", "a cp.async is still writing"),
        (COPY + "cp.async.wait_group 1;\nbar.sync 0;\nld.shared.b32 %r1, [%r11];\n", "a cp.async is still writing"),
        (OTHER + COPY + "bar.sync 0;\ncp.async.wait_group 0;\n" + LOAD, "since the last barrier|still writing"),
        (OTHER + STORE + LOAD, "since the last barrier|nobody has written"),
        (OTHER + STORE + "bar.sync 0;\n" + LOAD + STORE, "since the last barrier"),
        (OTHER + STORE + "bar.sync 0;\n" + LOAD + COPY, "since the last barrier|still writing"),
        ("st.shared.b32 [%r11+4000], %r9;\n", "outside of the 4096 bytes"),
        ("st.shared.b64 [%r11], %rd9;\n", "no multiple of 8"),
        ("ld.global.b32 %r1, [%rd9+1024];\n", "outside of every tensor"),
        (FIRST + "@%p1 bra $L__BB0_1;\nbar.sync 0;\n$L__BB0_1:\n", "others wait|lanes differ"),
        ("sin.approx.f32 %r1, %r2;\n", "not known"),
    ],
)
def test_what_is_not_in_order_is_a_fault(body: str, what: str, order: Order) -> None:
    with pytest.raises(Fault, match=what) as caught:
        run(body, 2, order)
    assert str(caught.value).startswith("line ") or "others wait" in str(caught.value)


@pytest.mark.parametrize(
    "access", ["st.global.b32 [%rd8], %r8;", "st.global.b32 [%rd9], 1;\nld.global.b32 %r1, [%rd8];"]
)
def test_programs_keep_to_their_own_results(access: str) -> None:
    run(access)
    with pytest.raises(Fault, match="another program of this launch wrote"):
        run(access, grid=3)


def test_fences_of_the_writer_or_of_the_reader() -> None:
    zero, one, all_of_them = np.array([0]), np.array([1]), np.array([0, 1])
    address, value = np.array([Shared.BASE], np.uint32), np.zeros((1, 4), np.uint8)

    def reads(*before: str) -> None:
        shared = Shared(64, 4)
        shared.write(address, value, zero)
        for step in before:
            shared.barrier() if step == "barrier" else shared.fence_proxy(
                {"0": zero, "1": one, "all": all_of_them}[step]
            )
        shared.begin_product(np.zeros((1, 1), np.int64), one[:, None], 1)

    for in_order in (("0", "barrier"), ("barrier", "1"), ("barrier", "all"), ("barrier", "0", "barrier")):
        reads(*in_order)
    for missing in (("barrier",), ("1", "barrier"), ("barrier", "0"), ("barrier", "barrier")):
        with pytest.raises(Fault, match=r"fence\.proxy\.async"):
            reads(*missing)
    with pytest.raises(Fault, match="since the last barrier"):
        reads("all")


# The kernels with something taken out of them, or changed.


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    with Compiler("installed") as compiler:
        yield compiler


def changed(monkeypatch: pytest.MonkeyPatch, compiler: Compiler, change) -> None:
    """From now on kernels are compiled to texts that `change` went over."""
    compile_ = compiler.compile

    def compile_and_change(request) -> Compiled:
        compiled = compile_(request)
        text = change(compiled.ptx)
        assert text != compiled.ptx
        return compiled._replace(ptx=text)

    monkeypatch.setattr(compiler, "compile", compile_and_change)


def forward_of(compiler: Compiler) -> Tensor:
    """Sums of negatives by the bf16 kernel for the tiles without positives."""
    problem, row = Problem.random(1, 4 * 64, 64, 192, "bf16"), tiles.TABLE["sm_90", 192, "bf16"]
    problem = replace(problem, column_of_row=torch.arange(64)[None])  # the band ends behind them
    negative = torch.full((1, 1, 64), torch.nan)
    problem.start(Emulated(forward_plain, compiler, Order(8)), row.forward, row.forward, 1, negative=negative)
    return negative


def backward_of(compiler: Compiler) -> None:
    problem, row = Problem.random(1, 5 * 128, 16, 192, "bf16"), tiles.TABLE["sm_90", 192, "bf16"]
    problem = replace(problem, column_of_row=torch.arange(16)[None])
    dz = torch.full((1, 1, 16, 192), torch.nan)
    problem.start(Emulated(backward_plain, compiler, Order(8)), row.backward, row.backward, 1, dz=dz)


def without(what: str, which: int | None = None):
    """A change: statements that begin so are left out; of them the one of this index, or all."""

    def change(text: str) -> str:
        lines = text.split("\n")
        found = [i for i, line in enumerate(lines) if line.strip().startswith(what)]
        for i in found if which is None else [found[which]]:
            lines[i] = ""
        return "\n".join(lines)

    return change


def replaced(old: str, new: str):
    return lambda text: text.replace(old, new)


def waiting_for_a_copy_less(text: str) -> str:
    """A change: each cp.async.wait_group lets one group more be under way."""
    return re.sub(r"(?<=cp\.async\.wait_group )\s*(\d+)", lambda match: str(int(match[1]) + 1), text)


_FROM_REGISTERS = re.compile(r"\s*wgmma\.mma_async\S* \{[^}]*\}, \{(%r\d+)")


def without_the_fence_of_registers(text: str) -> str:
    """A change: the fence before the first wgmma that takes its left matrix from registers is left out."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if _FROM_REGISTERS.match(line))
    lines[max(i for i in range(first) if "wgmma.fence" in lines[i])] = ""
    return "\n".join(lines)


def writing_an_input(text: str) -> str:
    """A change: a register of a wgmma's left matrix is written right behind it."""
    lines = text.split("\n")
    at, match = next((i, match) for i, line in enumerate(lines) if (match := _FROM_REGISTERS.match(line)))
    return "\n".join([*lines[: at + 1], f"mov.b32 {match[1]}, 0;", *lines[at + 1 :]])


@on_the_interpreter
@pytest.mark.parametrize(
    ("run_kernel", "change", "what"),
    [
        (forward_of, without("cp.async.wait_group", 0), "a cp.async is still writing"),
        (forward_of, waiting_for_a_copy_less, "a cp.async is still writing"),
        (forward_of, without("fence.proxy.async"), r"no fence\.proxy\.async"),
        (forward_of, without("bar.sync", 0), "since the last barrier"),
        (forward_of, without("wgmma.fence"), r"without a wgmma\.fence"),
        (forward_of, without("wgmma.wait_group"), "accumulator of a wgmma|still reading"),
        (forward_of, without("wgmma.commit_group"), "accumulator of a wgmma"),
        (forward_of, replaced("wait_group.sync.aligned 0", "wait_group.sync.aligned 1"), "accumulator of a wgmma"),
        (forward_of, replaced("ret;", "@%p1 ld.global.b32 { %r1 }, [ %rd2 + 0 ];\nret;"), "outside of every tensor"),
        (backward_of, without("fence.proxy.async"), r"no fence\.proxy\.async"),
        (backward_of, without("wgmma.wait_group", -1), "of a wgmma|read by a wgmma"),
        (backward_of, without_the_fence_of_registers, r"written after the last wgmma\.fence"),
        (backward_of, writing_an_input, "read by a wgmma"),
    ],
)
def test_a_kernel_that_waits_too_little_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, compiler: Compiler, run_kernel, change, what: str
) -> None:
    changed(monkeypatch, compiler, change)
    with pytest.raises(Fault, match=f"^line .*({what})"):
        run_kernel(compiler)


@on_the_interpreter
@pytest.mark.parametrize(
    "change",
    [
        # The descriptor's stride: half of it, and another swizzle.
        replaced("4611686293305294848", str(4611686293305294848 - (32 << 32))),
        replaced("4611686293305294848", str(4611686293305294848 + (1 << 62))),
        replaced("shfl.sync.bfly.b32", "shfl.sync.idx.b32"),
        replaced("ex2.approx.ftz.f32", "mov.b32"),
        replaced("0f40000000", "0f40010000"),
    ],
)
def test_a_kernel_that_computes_something_else_is_found(
    monkeypatch: pytest.MonkeyPatch, compiler: Compiler, change
) -> None:
    expected = forward_of(compiler)
    changed(monkeypatch, compiler, change)
    try:
        found = forward_of(compiler)
    except Fault:
        return
    assert not error(found, expected) < 1e-4


@on_the_interpreter
@pytest.mark.parametrize("lane", LANES[1:])
def test_the_oldest_triton_leaves_a_fence_out(monkeypatch: pytest.MonkeyPatch, lane: str) -> None:
    """Once this fails, the kernels need none of their own."""
    shape_of = tiles.shape_of
    monkeypatch.setattr(tiles, "shape_of", lambda *row: {**shape_of(*row), "ASYNCHRONOUS": False})
    with Compiler(lane) as compiler, pytest.raises(Fault, match=r"no fence\.proxy\.async"):
        forward_of(compiler)
