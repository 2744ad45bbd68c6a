"""What each backend costs on a batch, and whether its numbers are right here."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor

from dec_kernels import reference
from dec_kernels.backends import BACKENDS, ENVIRONMENT
from dec_kernels.backends.precision import matmul_precision
from dec_kernels.doctor.crops import patches_of, window_of
from dec_kernels.doctor.examine import loss
from dec_kernels.doctor.memory import peak_extra_bytes, peak_extra_bytes_on_cuda
from dec_kernels.doctor.sums import resolved
from dec_kernels.spec import Spec

MOST_DENSE = 1024  # patches for which the reference is timed: its float64 matrices take 8 MiB each
MOST_INTERPRETED = 64
MOST_CHECKED = 512  # patches that are compared with the float64 reference
ROUNDS, SECONDS = 5, 1.0  # at most so many timed calls of a backend, and about so many seconds for them

# Bits of an operand's fraction, the leading one among them. A device without TF32 computes those presets as "ieee".
BITS = {"ieee": 24, "tf32x3": 24, "tf32": 11, "bf16": 8}
MARGIN = 10


class Cost(TypedDict):
    """Of one forward and backward.

    Attributes:
        backend: its name.
        reason: why it was not timed; None if it was.
        seconds: median of `calls` calls, after a first one that may compile.
        calls: that were timed.
        extra_bytes: at the peak, above the images and the returned gradient; None where this cannot be measured.
    """

    backend: str
    reason: str | None
    seconds: float | None
    calls: int
    extra_bytes: int | None


class Check(TypedDict):
    """A backend against the reference in float64: relative errors in the 2-norm.

    Attributes:
        backend: its name.
        patches: that were compared.
        loss_error, gradient_error: of the n values before reduction, and of their mean's gradient.
        loss_allowed, gradient_allowed: `MARGIN` times the errors of the same equations in plain float32, scaled up by
            how much coarser than float32 the operands may be rounded.
        right: whether both errors are within what is allowed.
    """

    backend: str
    patches: int
    loss_error: float
    gradient_error: float
    loss_allowed: float
    gradient_allowed: float
    right: bool


def require(sr: Tensor, spec: Spec) -> None:
    """Raises ValueError where the environment names a backend that cannot run images like `sr`, (B, C, H, W)."""
    try:
        resolved(sr, spec)
    except RuntimeError as error:
        raise ValueError(f"{ENVIRONMENT} is set, and {error}") from error


def costs(sr: Tensor, hr: Tensor, spec: Spec) -> list[Cost]:
    """Of every backend, on images (B, C, H, W) float32."""
    return [_cost(name, sr, hr, replace(spec, backend=name)) for name in BACKENDS]


def checks(sr: Tensor, hr: Tensor, spec: Spec) -> list[Check]:
    """Of every backend that can run, on at most `MOST_CHECKED` patches of images (B, C, H, W) float32."""
    most = MOST_INTERPRETED if sr.device.type == "cpu" else MOST_CHECKED
    found = []
    for name, backend in BACKENDS.items():
        if backend.reasons(sr.device, sr.dtype, sr.shape[1] * spec.patch_size**2):
            continue
        some = window_of(sr, hr, spec.patch_size, most if name == "triton" else MOST_CHECKED)
        found.append(_check(name, *some, spec))
    return found


def _cost(name: str, sr: Tensor, hr: Tensor, spec: Spec) -> Cost:
    reasons = BACKENDS[name].reasons(sr.device, sr.dtype, sr.shape[1] * spec.patch_size**2)
    if reason := "; ".join(reasons) or _not_worth_timing(name, sr, spec):
        return {"backend": name, "reason": reason, "seconds": None, "calls": 0, "extra_bytes": None}
    sr = sr.detach().requires_grad_()

    def call() -> Tensor:
        return torch.autograd.grad(loss(sr, hr, spec), sr)[0]

    first = _seconds(call)  # compiles what there is to compile
    calls = min(ROUNDS, max(1, int(SECONDS / first)))
    seconds = statistics.median(_seconds(call) for _ in range(calls))
    return {"backend": name, "reason": None, "seconds": seconds, "calls": calls, "extra_bytes": _extra_bytes(call, sr)}


def _not_worth_timing(name: str, sr: Tensor, spec: Spec) -> str | None:
    patches = patches_of(sr, spec.patch_size)
    if name == "reference" and patches > MOST_DENSE:
        return f"it is dense, made for small n, and not timed beyond {MOST_DENSE} patches; these are {patches}"
    if name == "triton" and sr.device.type == "cpu":
        return "it is interpreted here (TRITON_INTERPRET=1), and its time would mean nothing"
    return None


def _seconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    result = call()
    if result.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _extra_bytes(call: Callable[[], Tensor], sr: Tensor) -> int | None:
    kept = []  # the gradient has to be alive at the peak, and is then taken off
    if sr.is_cuda:
        return peak_extra_bytes_on_cuda(lambda: kept.append(call())) - sr.nbytes
    if sys.platform == "linux" and sr.device.type == "cpu":
        return max(0, peak_extra_bytes(lambda: kept.append(call())) - sr.nbytes)
    return None


def _check(name: str, sr: Tensor, hr: Tensor, spec: Spec) -> Check:
    true = _dense(sr, hr, spec, torch.float64)
    with matmul_precision("ieee", sr):
        plain = _errors(_dense(sr, hr, spec, torch.float32), true)
    bits = BITS[resolved(sr, replace(spec, backend=name)).precision]
    allowed = [MARGIN * max(error, 2.0**-24) * 2.0 ** (24 - bits) for error in plain]
    errors = _errors(_evaluate(sr, lambda x: loss(x, hr, replace(spec, backend=name, reduction="none"))), true)
    return {
        "backend": name,
        "patches": len(true[0]),
        "loss_error": errors[0],
        "gradient_error": errors[1],
        "loss_allowed": allowed[0],
        "gradient_allowed": allowed[1],
        "right": all(error <= limit for error, limit in zip(errors, allowed, strict=True)),
    }


def _dense(sr: Tensor, hr: Tensor, spec: Spec, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _evaluate(sr.to(dtype), lambda x: reference.dec_loss(x, hr.to(dtype), spec))


def _evaluate(sr: Tensor, terms: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The loss of each patch, (n,), and the gradient of their mean, (B, C, H, W)."""
    sr = sr.detach().requires_grad_()
    values = terms(sr)
    return values.detach(), torch.autograd.grad(values.mean(), sr)[0]


def _errors(values: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Relative, in the 2-norm; absolute where the truth is zero."""
    loss, gradient = (
        ((value.double() - truth.double()).norm() / (truth.double().norm() or 1)).item()
        for value, truth in zip(values, true, strict=True)
    )
    return loss, gradient
