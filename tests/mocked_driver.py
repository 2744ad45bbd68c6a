"""A CUDA device that is none: Triton binds every launch as it would on sm_90, and compiles and starts nothing.

    python -m tests.mocked_driver

prints as JSON what steps call; tests/backends/triton/test_calls.py says what of it is wanted. It is a process of its
own, without TRITON_INTERPRET: `install` puts a driver in Triton that knows one device, and lets the package take CPU
tensors for that device's. What the kernels would have written stays as it was allocated.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from dec_kernels import dec_loss, op
from dec_kernels.backends import triton as backend
from dec_kernels.backends.triton.host import Host
from dec_kernels.backends.triton.tiles import PRECISIONS
from dec_kernels.distributed import ALONE
from dec_kernels.spec import Spec

# Of the arguments that a launcher converts: all others of these types are pointers.
RANGES = {"i32": 2**31, "i64": 2**63}


class Launches(list[str]):
    """The names of the kernels that were started, and of those that would have been compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.variants: Counter[str] = Counter()


class Driver:
    """What Triton asks its driver before a launch."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class Kernel:
    """In the place of a compiled kernel: checks what the launcher would convert, and counts."""

    function = packed_metadata = None

    def __init__(self, name: str, types: list[str], launches: Launches) -> None:
        self.name, self.types, self.launches = name, types, launches

    def launch_metadata(self, *arguments: Any) -> None:
        return None

    def run(self, x: int, y: int, z: int, stream: int, function: None, metadata: None, *more: Any) -> None:
        _, _, _, *arguments = more  # metadata of the launch, and two hooks
        assert 0 < x < 2**31, f"{self.name}: a grid of {x} programs"
        assert (y, z) == (1, 1)
        for kind, value in zip(self.types, arguments, strict=True):
            if kind[0] == "*":
                assert isinstance(value, Tensor), f"{self.name}: {value!r} for {kind}"
            elif kind in RANGES:
                assert -RANGES[kind] <= value < RANGES[kind], f"{self.name}: {value!r} for {kind}"
            elif kind == "fp32":
                assert isinstance(value, float), f"{self.name}: {value!r} for {kind}"
            else:
                assert kind == "constexpr", f"{self.name}: an argument of type {kind}"
        self.launches.append(self.name)


def install() -> Launches:
    """Puts the device in place for the rest of the process; the launches that it is asked for."""
    launches = Launches()

    def compile_nothing(self: Any, key: Any, signature: dict[str, str], device: int, *more: Any) -> Kernel:
        launches.variants[self.fn.__name__] += 1
        kernel = Kernel(self.fn.__name__, list(signature.values()), launches)
        self.device_caches[device][0][key] = kernel
        return kernel

    triton.runtime.driver.set_active(Driver())
    # Between binding and compiling, a launch has no step of a public name.
    JITFunction._do_compile = compile_nothing  # noqa: SLF001
    host = Host("sm_90", 132)
    backend.host_of = lambda device: host
    backend.architecture = lambda device: host.architecture
    backend.BACKEND.reasons = lambda device, dtype, dim, landmarks: []  # takes CPU tensors
    op._check_range = lambda sr, hr: None  # noqa: SLF001  # of the CPU's images alone
    return launches


class Calls(TorchDispatchMode):
    """Counts the calls that reach PyTorch's dispatcher below autograd, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[str(function)] += 1
        if function.namespace != "dec_kernels":
            return function(*args, **(kwargs or {}))
        with self:  # a mode is off while it handles a call: the operators' own calls would go uncounted
            return getattr(op, "_" + function.__name__.split(".")[0])(*args, **(kwargs or {}))


def counts(work: Callable[[], Any], launches: Launches) -> tuple[Any, dict[str, Any]]:
    """What `work` returns, and what it called: PyTorch's dispatcher by name, and kernels in turn."""
    launches.clear()
    with Calls() as calls:
        result = work()
    return result, {"dispatched": dict(calls.names), "launches": list(launches)}


def images(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.rand(batch, 3, height, width), torch.rand(batch, 3, height, width)


def step_alone(launches: Launches, landmarks: int | None = None) -> dict[str, Any]:
    """The calls of a step by the public face, and the microseconds that it takes: the least of many."""
    sr, hr = images(8, 64, 64)
    sr.requires_grad_()

    def loss() -> Tensor:
        return dec_loss(sr, hr, precision="bf16", backend="triton", landmarks=landmarks)

    before = launches.variants.copy()
    torch.autograd.grad(loss(), sr)
    compiled = dict(launches.variants - before)
    found, forward = counts(loss, launches)
    _, backward = counts(lambda: torch.autograd.grad(found, sr), launches)

    def once() -> float:
        start = time.perf_counter()
        torch.autograd.grad(loss(), sr)
        return time.perf_counter() - start

    microseconds = 1e6 * min(once() for _ in range(200 if landmarks is None else 20))
    return {"compiled": compiled, "forward": forward, "backward": backward, "microseconds": microseconds}


def step_of(ranks: int, sr: Tensor, hr: Tensor, spec: Spec, precision: str) -> int:
    """A step of rank 0 by the operators; the bytes that it keeps. With ranks, all columns have come."""
    constants = (spec.patch_size, spec.scope == "image", *spec.constants(192, precision), "triton", torch.float32)
    own = sr[: sr.shape[0] // ranks]
    _, sums, kept = op.row_losses(own, sr, hr, ALONE, *constants)
    weights = torch.ones_like(sums).repeat(1, ranks)
    gradient = op.row_losses_backward(weights, own, kept, None, None, ALONE, *constants)
    assert gradient.shape == own.shape
    return kept.nbytes


MODES = {"alone": (1, "batch"), "image": (1, "image"), "ranks": (4, "batch")}
# The first are compiled for; then others of the same size, other numbers of images, and ragged images.
SIZES = [(4, 64, 64), (4, 64, 64), (12, 64, 64), (8, 64, 64), (8, 41, 83), (4, 20, 30)]


def variants(launches: Launches) -> list[dict[str, Any]]:
    """For every way to call the loss: the kernels compiled at the first size, and again at the others."""
    found = []
    for precision, (mode, (ranks, scope)), inside in itertools.product(PRECISIONS, MODES.items(), (False, True)):
        spec = Spec(temperature="inside" if inside else "outside", scope=scope)
        compiled = []
        for size in SIZES:
            before = launches.variants.copy()
            step_of(ranks, *images(*size), spec, precision)
            compiled.append(dict(launches.variants - before))
        found.append({"precision": precision, "mode": mode, "inside": inside, "compiled": compiled})
    return found


def kept() -> dict[str, dict[str, float]]:
    """MiB that a step keeps for its backward, at 8192 patches of a rank: number of ranks -> preset ->"""
    return {
        str(ranks): {
            precision: step_of(ranks, *images(8 * ranks, 256, 256), Spec(), precision) / 2**20
            for precision in PRECISIONS
        }
        for ranks in (1, 4)
    }


if __name__ == "__main__":
    installed = install()
    found = {"variants": variants(installed), "step": step_alone(installed), "landmarks": step_alone(installed, 64)}
    print(json.dumps(found | {"kept": kept()}))
