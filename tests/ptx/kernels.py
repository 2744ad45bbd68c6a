"""The backend's own launches, on the emulator: the kernels of its modules are stood in for while a test runs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels.backends import triton
from dec_kernels.backends.triton import backward_kernels, forward_kernels, rows
from tests.ptx.compiler import Compiler, Request
from tests.ptx.parse import parse
from tests.ptx.run import Order, launch

_MODULES = (forward_kernels, backward_kernels, rows)
_TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float64: "*fp64",
    torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip


class Emulated:
    """Takes the place of a kernel; `run` gets what there is to be launched."""

    def __init__(self, kernel: Any, compiler: Compiler, order: Order) -> None:
        self.arg_names = kernel.arg_names
        self._module, self._name = kernel.fn.__module__, kernel.fn.__name__
        self._compiler, self._order = compiler, order

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def start(*positional: Any, **named: Any) -> None:
            arguments = dict(zip(self.arg_names, positional, strict=False))
            arguments |= {name: value for name, value in named.items() if name in self.arg_names}
            options = {name: value for name, value in named.items() if name not in self.arg_names}
            described = {name: _described(value) for name, value in arguments.items()}
            compiled = self._compiler.compile(Request(self._module, self._name, described, options))
            left = [arguments[name] for name in compiled.arguments]
            (programs,) = grid
            launch(parse(compiled.ptx), compiled.shared, programs, left, self._order)

        return start


def _described(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return [_TYPES[value.dtype], value.storage_offset() * value.element_size() % 16 == 0]


def emulate(patch: pytest.MonkeyPatch, compiler: Compiler, order: Order, architecture: str = "sm_90") -> None:
    """The backend launches its kernels on the emulator, in the tiles and with the operands that a GPU would get."""
    for module in _MODULES:
        for name, kernel in list(vars(module).items()):
            if hasattr(kernel, "arg_names"):
                patch.setattr(module, name, Emulated(kernel, compiler, order))
    patch.setattr(triton, "architecture", lambda device: architecture)
