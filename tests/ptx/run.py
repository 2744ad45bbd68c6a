"""Runs the programs of a launch one after the other, and the warps of each in some order between its barriers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tests.ptx import instructions
from tests.ptx.memory import Global, Shared
from tests.ptx.parse import Fault, Instruction, Operand, Program
from tests.ptx.warpgroups import Products


class Order(NamedTuple):
    """In which order warps run.

    Attributes:
        size: as many warps at a time go in step.
        name: "forward" and "reverse" run each group from barrier to barrier; "random" changes after a few instructions.
        seed: of the order of programs, and of "random".
    """

    size: int
    name: str = "forward"
    seed: int = 0


def launch(program: Program, shared: int, grid: int, arguments: list[Any], order: Order) -> None:
    """Runs a kernel with `shared` bytes of shared memory on tensors and numbers, one for each of its own parameters.

    Raises:
        Fault: a program did what a GPU leaves undefined; it says in which line of the PTX.
    """
    memory = Global([a for a in arguments if isinstance(a, Tensor)])
    values = {}
    for (name, kind), argument in zip(program.parameters.items(), arguments, strict=False):
        if isinstance(argument, Tensor):
            values[name] = memory.pointer(argument)
        else:
            numeric = instructions.TYPES[kind.removeprefix(".")]
            values[name] = int.from_bytes(np.array(argument).astype(numeric).tobytes(), "little")
    random = np.random.default_rng(order.seed)
    warps = program.threads // 32
    groups = [Group(program, np.arange(w, min(w + order.size, warps)), values, memory, grid)
              for w in range(0, warps, order.size)]  # fmt: skip
    unit = min((bits // 8 for bits in map(_shared_bits, program.instructions) if bits), default=4)
    with np.errstate(all="ignore"):
        for number in random.permutation(grid):
            block = Shared(shared, unit)
            for group in groups:
                group.begin(int(number), block)
            _run(groups, block, order, random)
    memory.copy_back()


def _run(groups: list["Group"], shared: Shared, order: Order, random: np.random.Generator) -> None:
    while not all(group.ended for group in groups):
        for group in groups:
            group.waiting = False
        if order.name == "random":
            while running := [group for group in groups if not (group.waiting or group.ended)]:
                running[random.integers(len(running))].run(int(random.integers(1, 100)))
        else:
            for group in groups[:: -1 if order.name == "reverse" else 1]:
                group.run(None)
        if any(group.ended != groups[0].ended for group in groups):
            raise Fault("some warps have come to an end, and others wait for them at a barrier")
        shared.barrier()


def _shared_bits(instruction: Instruction) -> int:
    """Of what a load or store of shared memory takes at a time, up to 32; 0 for other instructions."""
    names = instruction.opcode.split(".")
    return min(32, instructions.BITS[names[-1]]) if names[1:2] == ["shared"] else 0


class Group:
    """Warps that go in step: their registers, where they are, and what they have begun and not waited for.

    Attributes:
        warps: their numbers in the program.
        ended: they have come to the end.
        waiting: they have come to a barrier.
    """

    def __init__(
        self, program: Program, warps: NDArray[np.int64], parameters: dict[str, int], memory: Global, grid: int
    ) -> None:
        self.warps, self.lanes = warps, 32 * len(warps)
        self._program, self._parameters, self._memory = program, parameters, memory
        self._warp = np.repeat(warps, 32)
        self._files: dict[int, NDArray] = {}
        self._rows: dict[str, int] = {}
        for bits, dtype in ((1, np.bool_), (16, np.uint16), (32, np.uint32), (64, np.uint64)):
            names = [name for name, width in program.widths.items() if width == bits]
            self._files[bits] = np.zeros((len(names), self.lanes), dtype)
            self._rows |= {name: row for row, name in enumerate(names)}
        ones = np.ones(self.lanes, np.uint32)
        self._block = np.zeros(self.lanes, np.uint32)
        self._named = {
            "%tid.x": (32 * warps[:, None] + np.arange(32)).ravel().astype(np.uint32), "%ctaid.x": self._block,
            "%nctaid.x": ones * np.uint32(grid), "%ntid.x": ones * np.uint32(program.threads),
            "global_smem": ones * np.uint32(Shared.BASE),
        }  # fmt: skip
        self._products = Products(program, self)
        code = program.instructions
        self._touched = [frozenset().union(*i.registers()) for i in code]
        self._written = [i.registers()[0] for i in code]
        self._steps = [self._bind(i) for i in code]
        # Behind each instruction, the next one that decides what is run.
        self._stop = [len(code)] * (len(code) + 1)
        for index in reversed(range(len(code))):
            self._stop[index] = index if code[index].opcode.split(".")[0] in _CONTROL else self._stop[index + 1]

    def begin(self, number: int, shared: Shared) -> None:
        """Program `number`, from its first instruction; registers hold nothing of use."""
        self._number, self.shared, self._at = number, shared, 0
        self.ended = self.waiting = False
        self._copies: list[list[tuple]] = [[]]
        for bits, file in self._files.items():
            file.view(np.uint8).fill(0xFF if bits > 1 else 1)
        self._block.fill(number)
        self._products.reset()

    def run(self, budget: int | None) -> None:
        """To the next barrier or the end, or `budget` instructions on."""
        index, code, products = self._at, self._program.instructions, self._products
        try:
            while not (self.waiting or self.ended):
                start, stop = index, self._stop[index]
                if budget is not None:
                    if budget <= 0:
                        break
                    stop = min(stop, index + budget)
                    budget -= stop - start + 1
                for index in range(start, stop):
                    if products.accumulators:
                        self._check_held(index)
                    self._steps[index]()
                products.ran(range(start, stop))
                index = stop
                if stop == self._stop[start]:
                    if products.accumulators and not code[index].opcode.startswith("wgmma"):
                        self._check_held(index)
                    index = self._control(index)
        except Fault as fault:
            raise Fault(
                f"line {code[index].line}: {fault} (program {self._number}, warps {self.warps[0]} to {self.warps[-1]}, "
                f"{code[index].opcode})"
            ) from fault
        self._at = index

    def _control(self, index: int) -> int:
        """Runs an instruction that is no step, and says which comes next."""
        instruction = self._program.instructions[index]
        name, *more = instruction.opcode.split(".")
        if name == "bra":
            if instruction.guard:
                predicate, wanted = instruction.guard
                if bool(self.uniform(self.array(predicate, "pred"))) != wanted:
                    return index + 1
            return self._program.labels[str(instruction.operands[0])]
        if instruction.guard:
            raise Fault(f"{instruction.opcode} is not known with a predicate")
        if name == "ret":
            if self._products.accumulators:
                raise Fault("the end, and a wgmma has not been waited for")
            self.ended = True
            return index
        if name == "bar":
            if more == ["sync"] and instruction.operands == ("0",):
                self.waiting = True
            elif more != ["warp", "sync"]:
                raise Fault(f"{instruction.opcode} {instruction.operands} is not known")
        elif instruction.opcode.startswith("fence.proxy.async"):
            self.shared.fence_proxy(self.warps)
        elif more[0] == "mma_async":
            self._products.issue(instruction)
        elif more[0] == "wait_group":
            self._products.wait(int(str(instruction.operands[0])))
        elif more[0] in ("fence", "commit_group"):
            getattr(self._products, more[0].removesuffix("_group"))()
        else:
            raise Fault(f"{instruction.opcode} is not known")
        return index + 1

    def _check_held(self, index: int) -> None:
        products = self._products
        if found := products.accumulators & self._touched[index]:
            raise Fault(f"{min(found)} is the accumulator of a wgmma that has not been waited for")
        if found := products.inputs & self._written[index]:
            raise Fault(f"{min(found)} is read by a wgmma that has not been waited for")

    def _bind(self, instruction: Instruction) -> Callable[[], object] | None:
        if instruction.opcode.split(".")[0] in _CONTROL:
            return None
        try:
            return instructions.bind(instruction, self)
        except Fault as fault:
            raise Fault(f"line {instruction.line}: {fault}") from fault

    # What instructions see.

    def array(self, operand: Operand, kind: str) -> NDArray:
        """The lanes' values of a register, or copies of an immediate or a special register, as a type."""
        dtype = np.dtype(instructions.TYPES[kind])
        name = str(operand)
        if name in self._rows:
            values = self.register(name)
        elif name in self._named:
            values = self._named[name]
        else:
            values = np.full(self.lanes, _immediate(name, kind))
        if values.dtype.itemsize != dtype.itemsize:
            raise Fault(f"{operand} is no {kind}")
        return values.view(dtype)

    def register(self, name: str) -> NDArray:
        """As many bits as it has, unsigned."""
        return self._files[self._program.widths[name]][self._rows[name]]

    def registers(self, names: tuple[str, ...]) -> tuple[NDArray, list[int]]:
        """32-bit registers as rows of an array, and which rows."""
        return self._files[32], [self._rows[name] for name in names]

    def uniform(self, values: NDArray) -> Any:
        """The one value that all lanes have."""
        if (values != values[0]).any():
            raise Fault("lanes differ where they have to agree")
        return values[0]

    def parameter(self, name: str) -> int:
        return self._parameters[name]

    def read(self, space: str, address: NDArray, size: int, lanes: Any) -> NDArray[np.uint8]:
        if space == "global":
            return self._memory.read(address, size, self._number)
        return self.shared.read(address, size, self._warp[lanes])

    def write(self, space: str, address: NDArray, values: NDArray[np.uint8], lanes: Any) -> None:
        if space == "global":
            self._memory.write(address, values, self._number)
        else:
            self.shared.write(address, values, self._warp[lanes])

    def copy(self, to: NDArray, source: NDArray, size: int, taken: NDArray, lanes: Any) -> None:
        if ((taken != 0) & (taken != size)).any():
            raise Fault("cp.async is known for a whole source or none of it")
        places = self.shared.begin_copy(to, size, self._warp[lanes])
        self._copies[-1].append((places, size, source.copy(), taken != 0, self._warp[lanes]))

    def commit_copies(self) -> None:
        self._copies.append([])

    def wait_for_copies(self, left: int) -> None:
        while len(self._copies) - 1 > left:
            for places, size, source, taken, warp in self._copies.pop(0):
                values = np.zeros((len(places), size), np.uint8)
                if taken.any():
                    values[taken] = self._memory.read(source[taken], size, self._number)
                self.shared.end_copy(places, values, warp)


_CONTROL = ("bra", "ret", "bar", "fence", "wgmma")


def _immediate(text: str, kind: str) -> Any:
    if text[:2] in ("0f", "0F", "0d", "0D"):
        raw = int(text[2:], 16).to_bytes((len(text) - 2) // 2, "little")
        return np.frombuffer(raw, instructions.TYPES[kind])[0]
    number = int(text.removesuffix("U"), 0)
    if kind == "pred":
        return np.bool_(number)
    dtype = np.dtype(instructions.TYPES[kind])
    if kind[0] == "f":
        return dtype.type(number)
    return np.frombuffer((number % 2 ** (8 * dtype.itemsize)).to_bytes(dtype.itemsize, "little"), dtype)[0]
