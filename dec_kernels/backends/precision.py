"""What precision "auto" is, and PyTorch's own switch for float32 products, held at what a preset allows while ours run.

PyTorch has three interfaces to that switch, and its older getter raises once the newer ones were used. The value of one
backend's products can be read in every state: `torch.backends.cuda.matmul.fp32_precision`, or mkldnn's on the CPU.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dec_kernels.private_torch import constant_in_graphs


def preset_of(precision: str, device: torch.device) -> str:
    """The preset that `precision` stands for on `device` now; "auto" is what PyTorch's own products there may do.

    Under autocast its dtype says that: bfloat16 is "bf16", float16 is "tf32". Otherwise the process's setting does,
    made through any of PyTorch's interfaces to it: "bf16" and "tf32" are themselves, and "ieee", or no setting, is
    "tf32x3", which has float32's error. On CUDA devices `torch.set_float32_matmul_precision("medium")` is "bf16".

    A graph of torch.compile keeps the answer of the moment when it was compiled. PyTorch compiles it again when the
    setting for CUDA, or the state of autocast, is another.
    """
    if precision != "auto":
        return precision
    if torch.is_autocast_enabled(device.type):
        return "bf16" if torch.get_autocast_dtype(device.type) == torch.bfloat16 else "tf32"
    return _preset_of_process(device.type)


@constant_in_graphs
def _preset_of_process(device_type: str) -> str:
    setting = _switch_of(device_type).setting()
    if setting == "tf32" and device_type == "cuda" and _older_getter() == "medium":
        return "bf16"  # of which CUDA's own value knows no more than "tf32"
    return setting if setting in ("tf32", "bf16") else "tf32x3"


def setting_of(device: torch.device) -> str:
    """The process's setting for float32 products on `device`: "ieee", "tf32", "bf16", or "none" for no setting."""
    return _switch_of(device.type).setting()


def computed_as(preset: str, device: torch.device) -> str:
    """The preset that PyTorch's products on `device` compute for `preset`: "ieee" for "bf16" where that is faster."""
    return "ieee" if preset == "bf16" and device.type == "cpu" and not cpu_gains_by_bf16() else preset


@constant_in_graphs
def cpu_gains_by_bf16() -> bool:
    """Whether this CPU is known to multiply matrices faster in bfloat16 than in float32.

    By its features and not by a measurement, so that every process on it has the same answer. AMX gains, and so do
    AMD's AVX512_BF16 instructions. Intel's without AMX lose: 143 GFLOP/s against 256 in float32 on a Xeon of family 6,
    model 207. Where PyTorch has no instructions for bfloat16, or nothing is known, float32 loses nothing.
    """
    return _gains_by_bf16(processor())


def _gains_by_bf16(processor: dict[str, str]) -> bool:
    features = processor.get("flags", "").split()
    return "amx_bf16" in features or ("avx512_bf16" in features and processor.get("vendor_id") == "AuthenticAMD")


@functools.cache
def processor() -> dict[str, str]:
    """What Linux says of the first core, by the names in /proc/cpuinfo; nothing elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return {}
    fields = {}
    with cpuinfo.open() as lines:
        for line in lines:
            if not line.strip():
                break
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    return fields


def _older_getter() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # a newer interface was used, and has the last word
        return None


def tf32_or_ieee(preset: str) -> str:
    """What products of float32 operands may be made in under a preset: TF32 where it allows as much."""
    return "tf32" if preset in ("tf32", "bf16") else "ieee"


def matmul_precision(precision: str, operands: Tensor) -> AbstractContextManager[None]:
    """Inside, float32 products on the device of `operands` keep to the preset, whatever the process's own setting is.

    Nothing is written where the setting allows them as it is. It always does for bf16, for float64, and outside of
    autocast for what "auto" stands for. Elsewhere the switch, which PyTorch has for the whole process only, is changed
    for the time, and set back.
    """
    if precision == "bf16" or operands.dtype == torch.float64:
        return nullcontext()
    allowed: tuple[str, ...] = ("ieee", "none")
    if precision == "tf32":
        allowed = ("tf32",) if operands.is_cuda else ("tf32", "ieee", "none")
    return _switch_of(operands.device.type).held_at(allowed)


class _Switch:
    """PyTorch's setting for the float32 products of a backend, which threads may hold at one value together.

    A thread that wants another value waits for them, since there is one switch for all: products that need no other
    value have to hold it too, or it would be changed under them.

    Args:
        read: -> the value in force, "ieee", "tf32", "bf16", or "none" for no setting.
        write: sets it.
        restore: sets it back to a value that `read` returned.
    """

    def __init__(self, read: Callable[[], str], write: Callable[[str], None], restore: Callable[[str], None]) -> None:
        self._read, self._write, self._restore = read, write, restore
        self._freed = threading.Condition()
        self._holders = 0
        self._held = self._found = "none"

    def setting(self) -> str:
        """The process's own value, which a change for the time of our products does not touch."""
        with self._freed:
            return self._found if self._holders else self._read()

    @contextmanager
    def held_at(self, allowed: tuple[str, ...]) -> Iterator[None]:
        """Inside, the value is one of `allowed`: the one found if that is among them, otherwise the first."""
        with self._freed:
            self._freed.wait_for(lambda: not self._holders or self._held in allowed)
            if not self._holders:
                self._found = self._held = self._read()
                if self._found not in allowed:
                    self._held = allowed[0]
                    self._write(self._held)
            self._holders += 1
        try:
            yield
        finally:
            with self._freed:
                self._holders -= 1
                # A value that somebody else has set in the meantime is theirs to keep.
                if not self._holders and self._held != self._found and self._read() == self._held:
                    self._restore(self._found)
                self._freed.notify_all()


def _switch(products: Any, above: Any) -> _Switch:
    """Of PyTorch from 2.9 on: `products.fp32_precision`, which without a value of its own has that of `above`."""

    def write(value: str) -> None:
        products.fp32_precision = value

    def restore(value: str) -> None:
        # Had it no value of its own, it must go on following the setting above it.
        write("none" if value == above.fp32_precision else value)

    return _Switch(lambda: products.fp32_precision, write, restore)


def _older_switch() -> _Switch:
    """Of PyTorch before 2.9: one setting for all backends, which the CPU takes at its word with "medium" alone."""
    names = {"ieee": "highest", "tf32": "high", "bf16": "medium"}
    values = {name: value for value, name in names.items()}

    def write(value: str) -> None:
        torch.set_float32_matmul_precision(names[value])

    return _Switch(lambda: values[torch.get_float32_matmul_precision()], write, write)


def _switches() -> dict[str, _Switch]:
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        older = _older_switch()
        return {"cuda": older, "cpu": older}
    return {
        "cuda": _switch(backends.cuda.matmul, backends),
        "cpu": _switch(backends.mkldnn.matmul, backends.mkldnn),
    }


_SWITCHES = _switches()


def _switch_of(device_type: str) -> _Switch:
    return _SWITCHES["cuda" if device_type == "cuda" else "cpu"]  # other devices share oneDNN's, or have none
