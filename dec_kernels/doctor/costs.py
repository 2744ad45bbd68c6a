"""The time and the memory that each backend takes for a batch."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from dec_kernels.backends import reasons_of_each
from dec_kernels.doctor.crops import patches_of
from dec_kernels.doctor.examine import loss
from dec_kernels.doctor.memory import peak_extra_bytes, peak_extra_bytes_on_cuda
from dec_kernels.spec import Spec

MAX_DENSE_PATCHES = 1024  # for which the reference is timed: its float64 matrices take 8 MiB each
MAX_CALLS, SECONDS = 5, 1.0  # timed calls of a backend, and about how long they take together


class Cost(TypedDict):
    """The cost of one forward and backward.

    Attributes:
        backend: name of the backend.
        reason: why it was not timed; None if it was.
        seconds: median of the timed calls, which follow a first call that may compile.
        calls: number of timed calls.
        extra_bytes: peak memory above the images and the returned gradient; None where it cannot be measured.
    """

    backend: str
    reason: str | None
    seconds: float | None
    calls: int
    extra_bytes: int | None


def costs(sr: Tensor, hr: Tensor, spec: Spec) -> list[Cost]:
    """The cost of every backend for SR and HR images, (B, C, H, W) float32 each."""
    dim, columns = spec.sizes(sr.shape)
    reasons = reasons_of_each(sr.device, sr.dtype, dim, spec.landmarks_among(columns))
    return [_cost(name, why, sr, hr, replace(spec, backend=name)) for name, why in reasons.items()]


def _cost(name: str, reasons: list[str], sr: Tensor, hr: Tensor, spec: Spec) -> Cost:
    if reason := "; ".join(reasons) or _not_worth_timing(name, sr, spec):
        return {"backend": name, "reason": reason, "seconds": None, "calls": 0, "extra_bytes": None}
    seconds, calls = timed(sr, hr, spec)
    extra_bytes = _extra_bytes(_step(sr, hr, spec), sr)
    return {"backend": name, "reason": None, "seconds": seconds, "calls": calls, "extra_bytes": extra_bytes}


class Timed(NamedTuple):
    """The time of one forward and backward: the median of a number of calls, in seconds."""

    seconds: float
    calls: int


def timed(sr: Tensor, hr: Tensor, spec: Spec) -> Timed:
    """The time that the loss takes with SR and HR images, (B, C, H, W) float32 each."""
    call = _step(sr, hr, spec)
    first = _seconds(call)  # compiles what there is to compile
    calls = min(MAX_CALLS, max(1, int(SECONDS / first)))
    return Timed(statistics.median(_seconds(call) for _ in range(calls)), calls)


def _step(sr: Tensor, hr: Tensor, spec: Spec) -> Callable[[], Tensor]:
    """What computes the loss and returns its gradient."""
    sr = sr.detach().requires_grad_()
    return lambda: torch.autograd.grad(loss(sr, hr, spec), sr)[0]


def _not_worth_timing(name: str, sr: Tensor, spec: Spec) -> str | None:
    patches = patches_of(sr, spec.patch_size)
    if name == "reference" and patches > MAX_DENSE_PATCHES:
        return f"it is dense, so it is timed for up to {MAX_DENSE_PATCHES} patches only, and the batch has {patches}"
    if name == "triton" and sr.device.type == "cpu":
        return "its kernels are interpreted here (TRITON_INTERPRET=1), and their time has no meaning"
    return None


def _seconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    result = call()
    if result.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _extra_bytes(call: Callable[[], Tensor], sr: Tensor) -> int | None:
    kept = []  # the gradient has to be alive at the peak; its own size is then subtracted
    if sr.is_cuda:
        return peak_extra_bytes_on_cuda(lambda: kept.append(call())) - sr.nbytes
    if sys.platform == "linux" and sr.device.type == "cpu":
        return max(0, peak_extra_bytes(lambda: kept.append(call())) - sr.nbytes)
    return None
