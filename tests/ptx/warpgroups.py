"""wgmma.mma_async of one group of warps: issued now, done as late as wgmma.wait_group allows.

Each warp computes its own 16 rows of the 64 of its warpgroup. Products and their sum are in float64, rounded once an
instruction to float32.
"""

import bisect
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.ptx import fragments
from tests.ptx.fragments import Descriptor, Words
from tests.ptx.memory import SEVERAL
from tests.ptx.parse import Fault, Instruction, Program

if TYPE_CHECKING:
    from tests.ptx.run import Group

_OPCODE = re.compile(r"wgmma\.mma_async\.sync\.aligned\.m64n(\d+)k(\d+)\.f32\.(bf16|tf32)\.\3")


class Shape(NamedTuple):
    columns: int
    k: int
    kind: str

    @classmethod
    def of(cls, opcode: str) -> "Shape":
        match = _OPCODE.fullmatch(opcode)
        if not match or int(match[2]) * fragments.BYTES[match[3]] != 32:
            raise Fault(f"{opcode} is not known")
        return cls(int(match[1]), int(match[2]), match[3])


class Operand(NamedTuple):
    """The part of a matrix in shared memory that the warps of one warpgroup read, each place by one of `readers`."""

    places: NDArray[np.int64]
    readers: NDArray[np.int64]
    lanes: slice
    transposed: bool


class Product(NamedTuple):
    instruction: Instruction
    shape: Shape
    accumulator: tuple[str, ...]
    accumulates: bool
    left: tuple[str, ...] | list[Operand]
    right: list[Operand]


class Products:
    """What a group of warps has issued and not waited for.

    Attributes:
        held: registers that nothing may write, `written`, and nothing may read or write, `accumulators`.
    """

    def __init__(self, program: Program, group: "Group") -> None:
        self._group = group
        self._writers: dict[str, list[int]] = {}
        for index, instruction in enumerate(program.instructions):
            if not instruction.opcode.startswith("wgmma"):
                for name in instruction.registers()[0]:
                    self._writers.setdefault(name, []).append(index)
        self.reset()

    def reset(self) -> None:
        self._open: list[Product] = []
        self._groups: list[list[Product]] = []
        self._since_fence: list[range] | None = None  # None: there was none yet
        self.accumulators: frozenset[str] = frozenset()
        self.inputs: frozenset[str] = frozenset()

    def ran(self, indices: range) -> None:
        """These instructions were run, none of them of wgmma."""
        if self._since_fence is not None:
            self._since_fence.append(indices)

    def fence(self) -> None:
        self._since_fence = []

    def commit(self) -> None:
        self._groups.append(self._open)
        self._open = []

    def wait(self, left: int) -> None:
        while len(self._groups) > left:
            for product in self._groups.pop(0):
                self._finish(product)
        self._hold()

    def issue(self, instruction: Instruction) -> None:
        shape = Shape.of(instruction.opcode)
        accumulator, a, b, scale, *more = instruction.operands
        assert isinstance(accumulator, tuple)
        if len(accumulator) != shape.columns // 2:
            raise Fault(f"an accumulator of {len(accumulator)} registers, {shape.columns // 2} are wanted")
        flags = [int(str(flag)) for flag in more]
        from_registers = isinstance(a, tuple)
        transposes = flags[2:] if shape.kind == "bf16" else [0, 0]
        if from_registers:
            transposes = [0, *transposes][-2:]
        if flags[:2] != [1, 1] or transposes[0]:
            raise Fault("wgmma is known for factors of one and an A that is not transposed")
        accumulates = self._group.uniform(self._group.array(scale, "pred"))
        self._check_fence(accumulator + (a if isinstance(a, tuple) else ()))
        product = Product(
            instruction, shape, accumulator, bool(accumulates),
            a if isinstance(a, tuple) else self._operands(a, shape, None),
            self._operands(b, shape, bool(transposes[1])),
        )  # fmt: skip
        for operand in (*(product.left if isinstance(product.left, list) else ()), *product.right):
            self._group.shared.begin_product(operand.places, operand.readers, self._group.warps[0])
        self._open.append(product)
        self._hold()

    def _check_fence(self, registers: tuple[str, ...]) -> None:
        if self._since_fence is None:
            raise Fault("wgmma without a wgmma.fence before it")
        for name in registers:
            writers = self._writers.get(name, [])
            for ran in self._since_fence:
                if bisect.bisect_left(writers, ran.start) < bisect.bisect_left(writers, ran.stop):
                    raise Fault(f"wgmma takes {name}, which was written after the last wgmma.fence")

    def _operands(self, descriptor: object, shape: Shape, transposed: bool | None) -> list[Operand]:
        """Of each warpgroup of the group; `transposed` None for A, of which each warp reads its own rows."""
        group = self._group
        values = group.array(descriptor, "b64")
        found = []
        for warpgroup in np.unique(group.warps // 4):
            local = np.flatnonzero(group.warps // 4 == warpgroup)
            lanes = slice(32 * local[0], 32 * (local[-1] + 1))
            described = Descriptor.of(int(group.uniform(values[lanes])))
            warps, unit = group.warps[local], group.shared.unit
            readers = np.array([[warps[0] if len(warps) == 1 else SEVERAL]])
            if transposed:
                addresses = described.addresses_transposed(shape.columns, unit)
            elif transposed is None:
                addresses = described.addresses((16 * (warps % 4)[:, None] + np.arange(16)).ravel(), unit)
                readers = np.repeat(warps, 16)[:, None]
            else:
                addresses = described.addresses(np.arange(shape.columns), unit)
            found.append(Operand(group.shared.places(addresses), readers, lanes, bool(transposed)))
        return found

    def _finish(self, product: Product) -> None:
        kind, group = product.shape.kind, self._group
        file, rows = group.registers(product.accumulator)
        registers = file[rows]
        rights = [self._matrix(operand, kind) for operand in product.right]
        if isinstance(product.left, list):
            lefts = [self._matrix(operand, kind).reshape(-1, 16, product.shape.k) for operand in product.left]
        else:
            words: Words = file[group.registers(product.left)[1]]
            lefts = [fragments.left(words[:, operand.lanes], kind) for operand in product.right]
        for a, b, operand in zip(lefts, rights, product.right, strict=True):
            result = a @ b.T
            if product.accumulates:
                result += fragments.accumulator(np.ascontiguousarray(registers[:, operand.lanes]))
            registers[:, operand.lanes] = fragments.registers_of(result)
        file[rows] = registers

    def _matrix(self, operand: Operand, kind: str) -> fragments.Matrix:
        """(rows, K)"""
        data = self._group.shared.end_product(operand.places, operand.readers)
        if operand.transposed:
            values = data.view(np.uint16).transpose(0, 2, 1)
            data = np.ascontiguousarray(values).reshape(-1, 16).view(np.uint8)
        return fragments.numbers(data.reshape(len(data), -1), kind)

    def _hold(self) -> None:
        pending = [product for products in (*self._groups, self._open) for product in products]
        self.accumulators = frozenset(name for product in pending for name in product.accumulator)
        self.inputs = frozenset(name for product in pending if isinstance(product.left, tuple) for name in product.left)
