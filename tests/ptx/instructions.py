"""What each instruction does to the registers of a group of warps, and to memory.

`bind` turns an instruction into a function without arguments that works on the arrays of one group. Branches, barriers
and the instructions of wgmma are not here: `run` decides what comes next.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.ptx import fragments
from tests.ptx.parse import Address, Fault, Instruction

if TYPE_CHECKING:
    from tests.ptx.run import Group

Step = Callable[[], object]

BITS = {"pred": 1} | {f"{letter}{bits}": bits for letter in "busf" for bits in (8, 16, 32, 64)}
TYPES = {
    "pred": np.bool_,
    "b8": np.uint8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64,
}  # fmt: skip


def bind(instruction: Instruction, group: "Group") -> Step:
    """Raises a `Fault` where the instruction is not known."""
    names = instruction.opcode.split(".")
    if make := _MEMORY.get(tuple(names[:2])) or _MEMORY.get(tuple(names[:3])):
        return make(instruction, names, group)
    if instruction.guard:
        raise Fault(f"{instruction.opcode} is not known with a predicate")
    if make := _OTHERS.get(names[0]):
        return make(instruction, names, group)
    raise Fault(f"{instruction.opcode} is not known")


# Arithmetic: operands of one type, and a function that may write its result in place.


def _quotient(a: NDArray, b: NDArray, out: NDArray) -> None:
    """Towards zero, as C has it."""
    wide = a.astype(np.int64)
    out[:] = (wide - np.fmod(wide, b)) // b


def _shift(shift: np.ufunc, a: NDArray, by: NDArray, out: NDArray) -> None:
    """By as many bits as there are or more, nothing but copies of the sign is left."""
    bits = a.itemsize * 8
    arithmetic = shift is np.right_shift and a.dtype.kind == "i"
    far = shift(a, a.dtype.type(bits - 1)) if arithmetic else a.dtype.type(0)
    out[:] = np.where(by < bits, shift(a, np.minimum(by, bits - 1).astype(a.dtype)), far)


def _exp2(a: NDArray, out: NDArray) -> None:
    """To the last bit but one, as ex2.approx; subnormal numbers are zero."""
    result = np.exp2(a)
    out[:] = np.where(result < np.finfo(np.float32).tiny, np.float32(0), result)


def _fma(a: NDArray, b: NDArray, c: NDArray, out: NDArray) -> None:
    """In float64, where a product of float32 is exact; the sum is rounded twice."""
    out[:] = a.astype(np.float64) * b + c


def _field(a: NDArray, start: NDArray, length: NDArray, out: NDArray) -> None:
    """bfe: `length` bits of a from bit `start` on, as many as there are; of an s32 the highest is a sign."""
    width = np.minimum(length.astype(np.int64), 32 - np.minimum(start, 32))
    bits = (a.astype(np.int64) >> start) & (1 << width) - 1
    sign = np.where(width > 0, 1 << np.maximum(width - 1, 0), 0) if a.dtype == np.int32 else 0
    out[:] = (bits ^ sign) - sign


_SAME_TYPE: dict[str, Callable] = {
    "add": np.add, "sub": np.subtract,
    "min": np.fmin, "max": np.fmax,  # a NaN gives way
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "div": np.divide, "rem": np.fmod, "ex2": _exp2, "fma": _fma,
    "bfe": _field,
}  # fmt: skip
_INTEGERS = {"div": _quotient}


def _arithmetic(instruction: Instruction, names: list[str], group: "Group") -> Step:
    kind = names[-1]
    compute = _INTEGERS.get(names[0]) if kind[0] != "f" else None
    compute = compute or _SAME_TYPE[names[0]]
    types = [kind] * len(instruction.operands)
    if names[0] == "bfe":
        types[2:] = ["u32", "u32"]
    out, *inputs = (group.array(o, t) for o, t in zip(instruction.operands, types, strict=True))
    return partial(compute, *inputs, out)


def _move(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """mov; of {a, b} the first is the low half, and "_" is nowhere."""
    to, source = instruction.operands
    if isinstance(to, tuple):
        whole = group.array(source, names[1])
        parts = [(i, group.register(name)) for i, name in enumerate(to) if name != "_"]

        def unpack() -> None:
            for i, part in parts:
                part[:] = whole >> BITS[names[1]] // len(to) * i

        return unpack
    if isinstance(source, tuple):
        out, halves = group.array(to, names[1]), [group.register(name) for name in source]

        def pack() -> None:
            out[:] = sum(half.astype(out.dtype) << BITS[names[1]] // len(halves) * i for i, half in enumerate(halves))

        return pack
    return partial(np.copyto, group.array(to, names[1]), group.array(source, names[1]))


def _shifts(instruction: Instruction, names: list[str], group: "Group") -> Step:
    shift = np.left_shift if names[0] == "shl" else np.right_shift
    out, a, by = (group.array(o, t) for o, t in zip(instruction.operands, (names[1], names[1], "u32"), strict=True))
    return partial(_shift, shift, a, by, out)


def _products(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """mul and mad: the low half of an integer product, the high half or all of it; mul of floats."""
    part, kind = names[1], names[-1]
    if kind[0] == "f":
        out, a, b = (group.array(o, kind) for o in instruction.operands)
        return partial(np.multiply, a, b, out)
    wide = kind[0] + str(2 * BITS[kind])
    result = wide if part == "wide" else kind
    out, a, b = (group.array(o, t) for o, t in zip(instruction.operands, (result, kind, kind), strict=False))
    more = group.array(instruction.operands[3], result) if names[0] == "mad" else 0

    def step() -> None:
        product = np.multiply(a, b, dtype=TYPES[kind if part == "lo" else wide])
        out[:] = (product >> BITS[kind] if part == "hi" else product) + more

    return step


_COMPARE = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
            "ge": operator.ge}  # fmt: skip


def _comparison(instruction: Instruction, names: list[str], group: "Group") -> Step:
    how, kind = names[1], names[2]
    out = group.array(instruction.operands[0], "pred")
    a, b = (group.array(o, kind) for o in instruction.operands[1:])
    if how in ("num", "nan"):
        return lambda: np.not_equal(np.isnan(a) | np.isnan(b), how == "num", out=out)
    if kind[0] == "f" and how[-1] == "u":  # true of a NaN too
        compare = _COMPARE[how[:-1]]
        return lambda: np.copyto(out, compare(a, b) | np.isnan(a) | np.isnan(b))
    compare = _COMPARE[how]
    # All comparisons with a NaN are false; of Python's operators "not equal" is not.
    if kind[0] == "f" and how == "ne":
        return lambda: np.copyto(out, compare(a, b) & ~np.isnan(a) & ~np.isnan(b))
    return lambda: np.copyto(out, compare(a, b))


def _selection(instruction: Instruction, names: list[str], group: "Group") -> Step:
    out, a, b, p = (group.array(o, t) for o, t in zip(instruction.operands, (*[names[1]] * 3, "pred"), strict=True))
    return lambda: np.copyto(out, np.where(p, a, b))


def _conversion(instruction: Instruction, names: list[str], group: "Group") -> Step:
    to, source = names[-2], names[-1]
    if to == "tf32":
        out, a = (group.array(o, "b32") for o in instruction.operands)
        # To nearest, halves away from zero: a carry out of the bits that are cut off. A NaN stays one.
        rounded = lambda: (a + np.uint32(0x1000)) & np.uint32(0xFFFFE000)  # noqa: E731
        return lambda: np.copyto(out, np.where(np.isnan(a.view(np.float32)), a, rounded()))
    if to in ("bf16", "bf16x2"):
        out = group.array(instruction.operands[0], "b16" if to == "bf16" else "b32")
        parts = [group.array(o, "f32") for o in instruction.operands[1:]]

        def step() -> None:
            halves = [_bf16(part).astype(out.dtype) for part in parts]
            out[:] = halves[0] if to == "bf16" else halves[0] << 16 | halves[1]

        return step
    out, a = (group.array(o, t) for o, t in zip(instruction.operands, (to, source), strict=True))
    if names[1:-2] not in ([], ["rn"]) or (source[0] == "f" and to[0] != "f"):
        raise Fault(f"{instruction.opcode} is not known")
    return lambda: out.__setitem__(slice(None), a.astype(out.dtype))


def _bf16(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The upper half of float32 numbers, to nearest, halves to even; a NaN becomes the canonical one."""
    bits = x.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(x), np.uint32(0x7FFF), rounded)


def _permutation(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """prmt: each byte of the result is one of the eight of {b, a}, or eight copies of its sign."""
    out, a, b, selector = (group.array(o, "b32") for o in instruction.operands)

    def step() -> None:
        source = np.stack([a >> 8 * i & 0xFF for i in range(4)] + [b >> 8 * i & 0xFF for i in range(4)])
        result = np.zeros_like(out)
        for i in range(4):
            choice = selector >> 4 * i & 0xF
            byte = source[choice & 7, np.arange(len(out))]
            result |= np.where(choice & 8, (byte >> 7) * np.uint32(0xFF), byte) << 8 * i
        out[:] = result

    return step


# Between the lanes of a warp.


def _shuffle(instruction: Instruction, names: list[str], group: "Group") -> Step:
    out, a = (group.array(o, "b32") for o in instruction.operands[:2])
    by, clamp, members = (group.array(o, "u32") for o in instruction.operands[2:])
    if (clamp != 31).any() or (members != 0xFFFFFFFF).any():
        raise Fault("shfl.sync is known for whole warps only")
    lane = np.arange(len(out)) % 32
    base = np.arange(len(out)) - lane

    def step() -> None:
        source = lane ^ by if names[2] == "bfly" else by.astype(np.int64)
        out[:] = a[base + source % 32]

    return step


def _reduction(instruction: Instruction, names: list[str], group: "Group") -> Step:
    kind = names[-1]
    out, a, members = (group.array(o, t) for o, t in zip(instruction.operands, (kind, kind, "u32"), strict=True))
    reduce = {"max": np.max, "min": np.min, "add": np.sum}[names[2]]

    def step() -> None:
        if (members != 0xFFFFFFFF).any():
            raise Fault("redux.sync is known for whole warps only")
        out[:] = np.repeat(reduce(a.reshape(-1, 32), axis=1), 32)

    return step


def _product_of_warps(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """mma.sync: products and their sum in float64, rounded once to float32."""
    if instruction.opcode not in (
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    ):
        raise Fault(f"{instruction.opcode} is not known")
    kind = names[-2]
    (file, d), (_, a), (_, b), (_, c) = map(group.registers, instruction.operands)

    def step() -> None:
        product = fragments.left(file[a], kind) @ fragments.right(file[b], kind)
        file[d] = fragments.registers_of(product + fragments.accumulator(file[c]))

    return step


# Memory.


def _address(operand: object, group: "Group", kind: str) -> Callable[[], NDArray]:
    assert isinstance(operand, Address)
    base, offset = group.array(operand.base, kind), operand.offset
    return (lambda: base + TYPES[kind](offset)) if offset else (lambda: base)


def _registers(operand: object, group: "Group") -> list[NDArray]:
    """As they are: one may be wider than what is loaded into it, or stored of it."""
    names = [str(name) for name in (operand if isinstance(operand, tuple) else (operand,))]
    return [group.register(name) if name[0] == "%" else group.array(name, "b64") for name in names]


def _guarded(instruction: Instruction, group: "Group", step: Callable[[Any], None]) -> Step:
    """`step` for those lanes for which the instruction happens, if there are any."""
    if instruction.guard is None:
        return partial(step, slice(None))
    name, wanted = instruction.guard
    predicate = group.array(name, "pred")

    def guarded() -> None:
        if (lanes := predicate == wanted).any():
            step(lanes)

    return guarded


def _load(instruction: Instruction, names: list[str], group: "Group") -> Step:
    space, kind = names[1], names[-1]
    if space == "param":
        out = group.register(str(instruction.operands[0]))
        assert isinstance(instruction.operands[1], Address)
        value = np.array([group.parameter(instruction.operands[1].base)]).view(TYPES[kind])[:1]
        return lambda: np.copyto(out, value, casting="unsafe")
    outs = _registers(instruction.operands[0], group)
    item = BITS[kind] // 8
    address = _address(instruction.operands[1], group, "u64" if space == "global" else "u32")

    def step(mask: Any) -> None:
        data = group.read(space, address()[mask], item * len(outs), mask)
        values = np.ascontiguousarray(data).view(TYPES[kind])
        for i, out in enumerate(outs):
            out[mask] = values[:, i]

    return _guarded(instruction, group, step)


def _store(instruction: Instruction, names: list[str], group: "Group") -> Step:
    space, kind = names[1], names[-1]
    address = _address(instruction.operands[0], group, "u64" if space == "global" else "u32")
    sources = _registers(instruction.operands[1], group)

    def step(mask: Any) -> None:
        values = np.stack([source[mask].astype(TYPES[kind]) for source in sources], axis=1)
        group.write(space, address()[mask], values.view(np.uint8), mask)

    return _guarded(instruction, group, step)


def _copy(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """cp.async: as many bytes as the size of the source says, and zeros for the rest of the size of the copy."""
    if names[2] == "commit_group":
        return group.commit_copies
    if names[2] == "wait_group":
        return partial(group.wait_for_copies, int(str(instruction.operands[0])))
    to, source = (_address(o, group, t) for o, t in zip(instruction.operands, ("u32", "u64"), strict=False))
    size = int(str(instruction.operands[2]), 0)
    taken = group.array(instruction.operands[3] if len(instruction.operands) > 3 else str(size), "u32")

    def step(mask: Any) -> None:
        group.copy(to()[mask], source()[mask], size, taken[mask], mask)

    return _guarded(instruction, group, step)


def _matrices(instruction: Instruction, names: list[str], group: "Group") -> Step:
    """ldmatrix and stmatrix: lane 8 i + r has the address of row r of matrix i; each row is 8 16-bit values."""
    load, count, transposed = names[0] == "ldmatrix", int(names[4][1:]), "trans" in names
    memory, registers = instruction.operands if not load else instruction.operands[::-1]
    address = _address(memory, group, "u32")
    file, rows = group.registers(registers)
    lanes = (np.arange(group.lanes).reshape(-1, 32)[:, : 8 * count]).ravel()

    def to_words(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """(warps * count * 8, 16) bytes -> (count, lanes): lane 4 r + t holds values 2 t and 2 t + 1 of row r."""
        values = data.view(np.uint16).reshape(-1, count, 8, 8)
        if transposed:
            values = values.transpose(0, 1, 3, 2)
        words = np.ascontiguousarray(values).view(np.uint32).reshape(-1, count, 32)
        return words.transpose(1, 0, 2).reshape(count, -1)

    def to_bytes(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        values = np.ascontiguousarray(words.reshape(count, -1, 32).transpose(1, 0, 2)).view(np.uint16)
        values = values.reshape(-1, count, 8, 8)
        if transposed:
            values = values.transpose(0, 1, 3, 2)
        return np.ascontiguousarray(values).view(np.uint8).reshape(-1, 16)

    def load_step() -> None:
        file[rows] = to_words(group.read("shared", address()[lanes], 16, lanes))

    def store_step() -> None:
        group.write("shared", address()[lanes], to_bytes(file[rows]), lanes)

    return load_step if load else store_step


_MEMORY = {
    ("ld", "global"): _load, ("ld", "shared"): _load, ("ld", "param"): _load,
    ("st", "global"): _store, ("st", "shared"): _store,
    ("cp", "async"): _copy,
}  # fmt: skip
_OTHERS = dict.fromkeys(_SAME_TYPE, _arithmetic) | {
    "mov": _move, "shl": _shifts, "shr": _shifts, "mul": _products, "mad": _products, "setp": _comparison,
    "selp": _selection, "cvt": _conversion, "prmt": _permutation, "shfl": _shuffle, "redux": _reduction,
    "mma": _product_of_warps, "ldmatrix": _matrices, "stmatrix": _matrices,
}  # fmt: skip
