"""Global and shared memory that know who may see what.

Both raise a `Fault` where a GPU would read or write what nobody has defined. Shared memory keeps two stamps for every
place, of its last write and of its last read. A stamp holds a warp and a time, which passes with each write, fence and
barrier. What came before the last barrier of all threads is in order; what came after it, by another warp, is a race.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.ptx.parse import Fault

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Global:
    """Copies of tensors' storages; as much again lies between them and belongs to nobody."""

    _BASE = 0x7F00_0000_0000
    _ALIGNMENT = 512

    def __init__(self, tensors: list[Tensor]) -> None:
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
        self._views = {at: torch.empty(0, dtype=torch.uint8).set_(s).numpy() for at, s in storages.items()}
        self._starts: dict[int, int] = {}
        end = self._ALIGNMENT
        for at, view in self._views.items():
            self._starts[at] = end
            end += (2 * len(view) // self._ALIGNMENT + 8) * self._ALIGNMENT
        self._data = np.zeros(end, np.uint8)
        self._owned = np.zeros(end, bool)
        self._writer = np.full(end, -1, np.int32)  # the program that wrote a byte
        for at, view in self._views.items():
            place = slice(self._starts[at], self._starts[at] + len(view))
            self._data[place], self._owned[place] = view, True

    def pointer(self, tensor: Tensor) -> int:
        start = self._starts[tensor.untyped_storage().data_ptr()]
        return self._BASE + start + tensor.storage_offset() * tensor.element_size()

    def copy_back(self) -> None:
        for at, view in self._views.items():
            view[:] = self._data[self._starts[at] :][: len(view)]

    def read(self, address: NDArray[np.uint64], size: int, program: int) -> Bytes:
        """(n, size) bytes from each of n addresses."""
        places = self._places(address, size)
        writer = self._writer[places]
        if ((writer >= 0) & (writer != program)).any():
            raise Fault("reads from global memory what another program of this launch wrote")
        return self._data[places]

    def write(self, address: NDArray[np.uint64], values: Bytes, program: int) -> None:
        places = self._places(address, values.shape[1])
        writer = self._writer[places]
        if ((writer >= 0) & (writer != program)).any():
            raise Fault("writes to global memory where another program of this launch wrote")
        self._data[places], self._writer[places] = values, program

    def _places(self, address: NDArray[np.uint64], size: int) -> Integers:
        _check_alignment(address, size)
        places = (address.astype(np.int64) - self._BASE)[:, None] + np.arange(size)
        if places.min() < 0 or places.max() >= len(self._data) or not self._owned[places].all():
            raise Fault("is outside of every tensor in global memory")
        return places


_WARPS = 64  # a stamp's low bits: a warp, or
SEVERAL = _WARPS - 1
_UNWRITTEN, _COPYING = -1, -2  # in place of a stamp


class Shared:
    """The shared memory of one program, filled with NaNs that nobody may read; in units of `unit` bytes."""

    BASE = 1024  # the first kilobyte is the system's on sm_90

    def __init__(self, size: int, unit: int) -> None:
        self.unit, units = unit, -(-size // unit)
        self._data = np.full((units, unit), 0xFF, np.uint8)
        self._written = np.full(units, _UNWRITTEN, np.int32)
        self._read = np.full(units, -1, np.int32)
        self._products = np.zeros(units, np.int32)  # how many wgmma have yet to read a unit
        self._now = self._barrier = 1
        # Of each warp: its last proxy fence, and the barrier before that. Of what passed the last barrier: the same.
        self._fence, self._fence_barrier = np.zeros(_WARPS, np.int32), np.zeros(_WARPS, np.int32)
        self._known_fence, self._known_fence_barrier = self._fence.copy(), 0

    def barrier(self) -> None:
        """All threads have come here."""
        self._now += 1
        self._barrier = self._now
        self._known_fence, self._known_fence_barrier = self._fence.copy(), int(self._fence_barrier.max())

    def fence_proxy(self, warps: Integers) -> None:
        """These warps' writes, and the writes of all before the last barrier, are there for the asynchronous proxy."""
        self._now += 1
        self._fence[warps], self._fence_barrier[warps] = self._now, self._barrier

    def read(self, address: NDArray[np.uint32], size: int, warp: Integers) -> Bytes:
        """(n, size) bytes from each of n addresses, by threads of these warps, in ascending order."""
        places, warp = self._of_threads(address, size), warp[:, None]
        self._check_readable(self._written[places], warp)
        self._mark_read(places, warp)
        return self._data[places].reshape(-1, size)

    def write(self, address: NDArray[np.uint32], values: Bytes, warp: Integers) -> None:
        places, warp = self._of_threads(address, values.shape[1]), warp[:, None]
        values = values.reshape(*places.shape, self.unit)
        # Threads that hold the same value may all write it.
        self._check_writable(places, warp, lambda: (self._data[places] != values).any(-1))
        self._data[places] = values
        if (self._data[places] != values).any():
            raise Fault("writes different values to one place")
        self._stamp(places, warp)

    def begin_copy(self, address: NDArray[np.uint32], size: int, warp: Integers) -> Integers:
        """A cp.async: from now on these bytes, whose places it returns, are nobody's."""
        places = self._of_threads(address, size)
        self._check_writable(places, warp[:, None], lambda: True)
        self._data[places], self._written[places] = 0xFF, _COPYING
        return places

    def end_copy(self, places: Integers, values: Bytes, warp: Integers) -> None:
        self._data[places] = values.reshape(*places.shape, self.unit)
        self._stamp(places, warp[:, None])

    def begin_product(self, places: Integers, readers: Integers, warp: int) -> None:
        """A wgmma will read these places: each by one reader, a warp or `SEVERAL`, all of them in step with `warp`."""
        written = self._written[places]
        self._check_readable(written, readers)
        time, writer = written // _WARPS, written % _WARPS
        fenced = (time < self._known_fence[writer]) | (time < self._known_fence_barrier)
        fenced |= (time < self._fence_barrier[warp]) | ((writer == readers) & (time < self._fence[warp]))
        if not fenced.all():
            raise Fault("reads what no fence.proxy.async has handed over since it was written")
        self._products[places] += 1

    def end_product(self, places: Integers, readers: Integers) -> Bytes:
        self._products[places] -= 1
        self._mark_read(places, readers)
        return self._data[places]

    def _of_threads(self, address: NDArray[np.uint32], size: int) -> Integers:
        _check_alignment(address, size)
        return self.places(address.astype(np.int64)[:, None] + np.arange(0, size, self.unit))

    def places(self, address: Integers) -> Integers:
        """The places of addresses of units."""
        places = (address - self.BASE) // self.unit
        if places.min() < 0 or places.max() >= len(self._data):
            raise Fault(f"is outside of the {self._data.size} bytes of shared memory")
        return places

    def _check_readable(self, written: Integers, warp: Integers) -> None:
        if (lowest := written.min()) < 0:
            what = "nobody has written" if lowest == _UNWRITTEN else "a cp.async is still writing"
            raise Fault(f"reads shared memory that {what}")
        self._check_order(written, warp, True, "reads what another warp wrote")

    def _check_writable(self, places: Integers, warp: Integers, differs: Callable[[], Any]) -> None:
        written = self._written[places]
        if self._products[places].any():
            raise Fault("writes to shared memory that a wgmma is still reading")
        if written.min() == _COPYING:
            raise Fault("writes to shared memory that a cp.async is still writing")
        if written.max() >= self._barrier * _WARPS:
            self._check_order(written, warp, differs(), "writes where another warp wrote")
        self._check_order(self._read[places], warp, True, "writes where another warp read")

    def _check_order(self, stamps: Integers, warp: Integers, matters: Any, what: str) -> None:
        since = self._barrier * _WARPS
        if stamps.max() >= since and (matters & (stamps >= since) & (stamps % _WARPS != warp)).any():
            raise Fault(f"{what} since the last barrier")

    def _mark_read(self, places: Integers, warp: Integers) -> None:
        before, since, mark = self._read[places], self._barrier * _WARPS, self._now * _WARPS
        stamps = mark + warp
        if before.max() >= since:
            stamps = np.where((before >= since) & (before % _WARPS != warp), mark + SEVERAL, stamps)
        self._read[places] = stamps
        if warp.flat[0] != warp.flat[-1]:  # of several that read one place here, one has left its mark
            lost = self._read[places] != stamps
            self._read[places[lost]] = mark + SEVERAL

    def _stamp(self, places: Integers, warp: Integers) -> None:
        self._now += 1
        self._written[places] = self._now * _WARPS + warp


def _check_alignment(address: NDArray[np.unsignedinteger], size: int) -> None:
    if (address % size).any():
        raise Fault(f"an address is no multiple of {size} bytes")
