"""The error of the loss as configured, and what landmarks would cost and save on these images."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from torch import Tensor

from dec_kernels.audit import audit, bf16_error
from dec_kernels.distributed import ALONE
from dec_kernels.doctor.costs import timed
from dec_kernels.doctor.crops import patches_of
from dec_kernels.spec import Spec

COUNTS = (32, 64, 128, 256, 512, 1024)
MAX_EXACT_PATCHES = 32768  # for which the loss without landmarks is timed: some 10 seconds a call on two cores


class Audited(TypedDict):
    """`dec_kernels.audit.Audit` of one number of landmarks, and its time.

    Attributes:
        landmarks: m; None for the exact loss.
        rows: number of rows that were computed in float64.
        qneg_error: of Qneg, relative, root of the mean square.
        loss_error: of the loss, absolute.
        gradient_error: of its gradient, relative in the 2-norm.
        gradient_interval: the interval of 95 % around that.
        seconds: of one forward and backward, the median of some calls.
    """

    landmarks: int | None
    rows: int
    qneg_error: float
    loss_error: float
    gradient_error: float
    gradient_interval: tuple[float, float]
    seconds: float


class Landmarks(TypedDict):
    """What was tried.

    Attributes:
        columns: number of patches that each row is compared with.
        configured: the loss with the arguments that were given.
        tried: the same with each of `COUNTS` that is less than half of the columns.
        bf16_error: relative error of the gradient if z and h are rounded to bfloat16, and nothing else is.
        exact_seconds: of one forward and backward without landmarks; None with landmarks and
            more than `MAX_EXACT_PATCHES`.
        suggested: the fewest landmarks that were tried whose gradient error is less than `bf16_error`; None if none is.
    """

    columns: int
    configured: Audited
    tried: list[Audited]
    bf16_error: float
    exact_seconds: float | None
    suggested: int | None


def landmarks(sr: Tensor, hr: Tensor, spec: Spec, seed: int) -> Landmarks:
    """Audits SR and HR images, (B, C, H, W) float32 each; `seed` is that of the sampled rows."""
    columns = spec.sizes(sr.shape)[1]
    tried = [_audited(sr, hr, replace(spec, landmarks=count), seed) for count in COUNTS if count < columns / 2]
    bf16 = bf16_error(sr, hr, spec, seed=seed).value
    configured = _audited(sr, hr, spec, seed)
    exact_seconds: float | None = configured["seconds"]
    if spec.landmarks is not None:
        few = patches_of(sr, spec.patch_size) <= MAX_EXACT_PATCHES
        exact_seconds = timed(sr, hr, replace(spec, landmarks=None)).seconds if few else None
    return {
        "columns": columns,
        "configured": configured,
        "tried": tried,
        "bf16_error": bf16,
        "exact_seconds": exact_seconds,
        "suggested": next((one["landmarks"] for one in tried if one["gradient_error"] < bf16), None),
    }


def _audited(sr: Tensor, hr: Tensor, spec: Spec, seed: int) -> Audited:
    found = audit(sr, hr, spec, ALONE, seed=seed)
    return {
        "landmarks": spec.landmarks,
        "rows": found.rows,
        "qneg_error": found.qneg.rms,
        "loss_error": found.loss_error.value,
        "gradient_error": found.gradient_error.value,
        "gradient_interval": (found.gradient_error.low, found.gradient_error.high),
        "seconds": timed(sr, hr, spec).seconds,
    }
