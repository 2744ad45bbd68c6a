"""The backend's own launches, on the emulator: the kernels of its modules are stood in for while a test runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels.backends import triton
from dec_kernels.backends.triton import host
from tests.ptx.compiler import Compiler, Request
from tests.ptx.parse import parse
from tests.ptx.run import Order, launch

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


@contextmanager
def emulated(compiler: Compiler, order: Order, architecture: str = "sm_90") -> Iterator[None]:
    """The backend launches its kernels on the emulator, in the tiles and with the operands that a GPU would get."""
    device = host.Host(architecture, multiprocessors=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton, "host_of", lambda _: device)
        patch.setattr(triton, "architecture", lambda _: architecture)
        kernels = {name: kernel for name, kernel in vars(host).items() if hasattr(kernel, "arg_names")}
        for name, kernel in kernels.items():
            patch.setattr(host, name, Emulated(kernel, compiler, order))
        _forget_launches()
        yield
    _forget_launches()


def _forget_launches() -> None:
    """Those that are kept name the kernels that they start."""
    for function in vars(host).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
