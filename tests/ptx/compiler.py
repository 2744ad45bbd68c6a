"""Compiles kernels to PTX for sm_90 in a process of its own, as a launch with the same arguments would.

`python -m tests.ptx.compiler` answers a line of JSON, a `Request`, with a line of JSON, a `Compiled` or the error.
The tests themselves run with an interpreting Triton, and with one of two versions; so the compiler cannot be theirs.
"""

import importlib
import json
import subprocess
import sys
from types import TracebackType
from typing import Any, NamedTuple

from tests.lanes import environment

ARCHITECTURE = 90


class Request(NamedTuple):
    """A kernel, found by its module and name, and how it is called.

    Attributes:
        arguments: name -> a number or string, or ["*fp32", whether its address is a multiple of 16] for a tensor.
        options: of the launch, num_warps and the like.
    """

    module: str
    name: str
    arguments: dict[str, Any]
    options: dict[str, Any]


class Compiled(NamedTuple):
    """Attributes:
    ptx: the module's text.
    shared: bytes of shared memory of a program.
    arguments: names of those that are left to be passed, in order.
    """

    ptx: str
    shared: int
    arguments: list[str]


class Compiler:
    """A lane's process, for a `with` statement."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ptx.compiler"],
            env=environment(lane), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._known: dict[str, Compiled] = {}

    def __enter__(self) -> "Compiler":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def compile(self, request: Request) -> Compiled:
        line = json.dumps(request)
        if line not in self._known:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            if isinstance(answer, str):
                raise RuntimeError(f"{request.name} does not compile: {answer}")
            self._known[line] = Compiled(*answer)
        return self._known[line]


def compile_now(request: Request) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(request.module), request.name)
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        value = request.arguments[parameter.name]
        specialized = not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (specialized and value == 1 and isinstance(value, int)):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        pointer = isinstance(value, list)
        kind = value[0] if pointer else parameter.annotation_type or _type_of(value)
        signature[parameter.name] = kind
        if value[1] if pointer else specialized and isinstance(value, int) and value % 16 == 0:
            attributes[index,] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", ARCHITECTURE, 32), options=request.options)
    left = [name for name, kind in signature.items() if kind != "constexpr"]
    return Compiled(compiled.asm["ptx"], compiled.metadata.shared, left)


def _type_of(value: float) -> str:
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def main() -> None:
    for line in sys.stdin:
        try:
            answer: object = compile_now(Request(*json.loads(line)))
        except Exception as error:  # whatever the compiler can raise, the test is told
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
