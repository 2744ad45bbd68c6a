"""Whether each backend gives correct results here: its loss and gradient against the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor

from dec_kernels import reference
from dec_kernels.backends import ENVIRONMENT, reasons_of_each
from dec_kernels.backends.precision import matmul_precision
from dec_kernels.doctor.crops import window_of
from dec_kernels.doctor.examine import loss
from dec_kernels.doctor.sums import resolved
from dec_kernels.spec import Spec

MAX_PATCHES = 512  # that are compared with the float64 reference
MAX_INTERPRETED_PATCHES = 64

# Bits of an operand's significand. A device without TF32 computes its presets as "ieee".
BITS = {"ieee": 24, "tf32x3": 24, "tf32": 11, "bf16": 8}
MARGIN = 10


class Check(TypedDict):
    """A backend against the reference in float64: relative errors in the 2-norm.

    Attributes:
        backend: name of the backend.
        patches: number of patches that were compared.
        loss_error: error of the n values before reduction.
        gradient_error: error of the gradient of their mean.
        loss_allowed, gradient_allowed: `MARGIN` times the error of the same equations in plain float32, times how much
            coarser than float32 the preset may round the operands.
        right: whether both errors are at most what is allowed.
    """

    backend: str
    patches: int
    loss_error: float
    gradient_error: float
    loss_allowed: float
    gradient_allowed: float
    right: bool


def require_backend(sr: Tensor, spec: Spec) -> None:
    """Raises ValueError if the environment names a backend that cannot run images like `sr`, (B, C, H, W)."""
    try:
        resolved(sr, spec)
    except RuntimeError as error:
        raise ValueError(f"{ENVIRONMENT} is set, but {error}") from error


def checks(sr: Tensor, hr: Tensor, spec: Spec) -> list[Check]:
    """Checks every backend that can run, on at most `MAX_PATCHES` patches of images, (B, C, H, W) float32 each.

    All compute every pair: what landmarks leave out is no fault of a backend, and `dec_kernels.doctor.landmarks`
    measures it.
    """
    spec = replace(spec, landmarks=None)
    found = []
    for name, reasons in reasons_of_each(sr.device, sr.dtype, sr.shape[1] * spec.patch_size**2).items():
        if not reasons:
            interpreted = name == "triton" and sr.device.type == "cpu"
            some = window_of(sr, hr, spec.patch_size, MAX_INTERPRETED_PATCHES if interpreted else MAX_PATCHES)
            found.append(_check(name, *some, spec))
    return found


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
    """Relative in the 2-norm; absolute if the true value is zero."""
    loss, gradient = (
        ((value.double() - truth.double()).norm() / (truth.double().norm() or 1)).item()
        for value, truth in zip(values, true, strict=True)
    )
    return loss, gradient
