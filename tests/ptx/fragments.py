"""How the matrices of tensor core instructions lie in registers and in shared memory.

Registers are (count, lanes) uint32, lanes of whole warps; matrices are (warps, rows, columns). With g = lane // 4 and
t = lane % 4, a lane holds of the 16 rows of its warp rows g and g + 8, of the accumulator columns 8 j + 2 t and
8 j + 2 t + 1, and of the operands, in 4-byte words along k, words t and t + 4: two bf16 or one tf32 each (PTX ISA,
"Matrix Fragments for mma.m16n8k16" and "wgmma.mma_async: Register Fragments").
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.ptx.parse import Fault

Words = NDArray[np.uint32]
Matrix = NDArray[np.float64]

BYTES = {"bf16": 2, "tf32": 4}


def numbers(data: NDArray, kind: str) -> Matrix:
    """Words or bytes as the tensor cores read them: the last axis counts numbers; a tf32 is cut off at 19 bits."""
    if kind == "bf16":
        words = data.view(np.uint16).astype(np.uint32) << 16
    else:
        words = data.view(np.uint32) & np.uint32(0xFFFFE000)
    return words.view(np.float32).astype(np.float64)


def left(registers: Words, kind: str) -> Matrix:
    """A, from four registers -> (warps, 16, K)."""
    words = registers.reshape(2, 2, -1, 8, 4).transpose(2, 1, 3, 0, 4)  # (k half, row half, warp, g, t)
    return numbers(np.ascontiguousarray(words).reshape(-1, 16, 8), kind)


def right(registers: Words, kind: str) -> Matrix:
    """B of mma.sync, from two registers -> (warps, K, 8)."""
    words = registers.reshape(2, -1, 8, 4).transpose(1, 2, 0, 3)  # (k half, warp, g, t): column g
    return numbers(np.ascontiguousarray(words).reshape(-1, 8, 8), kind).transpose(0, 2, 1)


def accumulator(registers: Words) -> Matrix:
    """(warps, 16, N), from N / 2 registers."""
    values = registers.view(np.float32).reshape(-1, 2, 2, registers.shape[1] // 32, 8, 4)  # (j, row half, column, ...)
    return values.transpose(3, 1, 4, 0, 5, 2).reshape(values.shape[3], 16, -1).astype(np.float64)


def registers_of(matrix: Matrix) -> Words:
    """The way back from `accumulator`; rounds to float32."""
    values = matrix.astype(np.float32).reshape(len(matrix), 2, 8, -1, 4, 2).transpose(3, 1, 5, 0, 2, 4)
    return np.ascontiguousarray(values).view(np.uint32).reshape(-1, 32 * len(matrix))


class Descriptor(NamedTuple):
    """Where a wgmma finds a matrix in shared memory (PTX ISA, "Matrix Descriptor Format"); all in bytes."""

    start: int
    leading: int
    stride: int
    swizzle: int  # the width of the rows that are swizzled: 128, 64, 32; 16 for none

    @classmethod
    def of(cls, bits: int) -> "Descriptor":
        used = 0x3FFF | 0x3FFF << 16 | 0x3FFF << 32 | 3 << 62
        if bits & ~used:
            raise Fault(f"a matrix descriptor has bits set that are not taken here: {bits:#x}")
        start, leading, stride = ((bits >> at & 0x3FFF) << 4 for at in (0, 16, 32))
        return cls(start, leading, stride, (16, 128, 64, 32)[bits >> 62])

    def addresses(self, rows: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
        """K-major, (rows, 32 / unit): addresses of the units of rows, k along memory.

        Eight rows, each `swizzle` bytes wide, lie one after the other, and groups of eight a stride apart. Without a
        swizzle they are 16 bytes wide, and the next 16 bytes are a leading dimension away.
        """
        k = np.arange(0, 32, unit)
        if self.swizzle == 16:
            k = k // 16 * self.leading + k % 16
        return self._swizzled((rows // 8 * self.stride + rows % 8 * self.swizzle)[:, None] + k)

    def addresses_transposed(self, columns: int, unit: int) -> NDArray[np.int64]:
        """MN-major, (2 columns / unit, 16): the same where columns are along memory, two bytes each.

        Eight values of k, each `swizzle` bytes of columns wide, lie one after the other, and groups of eight a stride
        apart; the next columns are a leading dimension away.
        """
        if self.swizzle == 16:
            raise Fault("a transposed matrix without a swizzle is not taken here")
        n, k = np.arange(0, 2 * columns, unit)[:, None], np.arange(16)
        along = n // self.swizzle * self.leading + n % self.swizzle
        return self._swizzled(along + k // 8 * self.stride + k % 8 * self.swizzle)

    def _swizzled(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of a row in its group of eight goes into the number of a 16-byte chunk, by exclusive or."""
        addresses = self.start + offsets
        return addresses ^ (addresses >> 7 & self.swizzle // 16 - 1) << 4
