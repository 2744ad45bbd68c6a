"""What the loss does on a batch: its terms, its gradient beside that of L1, and both over the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels import dec_loss
from dec_kernels.doctor.crops import patches_of, window_of
from dec_kernels.doctor.positives import share_alone
from dec_kernels.doctor.sums import sums
from dec_kernels.reference import patch_rows
from dec_kernels.spec import Spec

THRESHOLDS = tuple(float(db) for db in range(20, 51, 3))
STRONGEST = 0.01  # share of the patches
FLOOR = 0.1  # the `norm_floor` that is tried
MAX_SWEEP_PATCHES = 4096  # whose loss and gradient the sweep computes at each threshold


class Terms(TypedDict):
    """The loss and its terms.

    Attributes:
        loss: L of Eq. 42.
        mean_log_qpos, mean_log_qneg: means over the rows that have negatives; None if no row has.
        rows: n.
        rows_without_negatives: number of rows that contribute 0 to L, which remains a mean over n.
        zero_patches_sr, zero_patches_hr: number of patches of norm zero.
    """

    loss: float
    mean_log_qpos: float | None
    mean_log_qneg: float | None
    rows: int
    rows_without_negatives: int
    zero_patches_sr: int
    zero_patches_hr: int


class Gradients(TypedDict):
    """Gradients of three losses with respect to SR; each loss is a mean.

    Attributes:
        dec, l1, mse: 2-norms of the gradients.
        dec_over_l1, dec_over_mse: ratios of the norms; None where the divisor is zero.
        dec_over_l1_median: median over the patches of the ratio of the norms within a patch; None if L1 has no
            gradient.
        strongest: share of the squared norm of DECLoss's gradient in those `STRONGEST` of the patches that have the
            largest gradients; None if the gradient is zero.
        strongest_with_floor: the same share with `norm_floor=FLOOR`.
    """

    dec: float
    l1: float
    mse: float
    dec_over_l1: float | None
    dec_over_mse: float | None
    dec_over_l1_median: float | None
    strongest: float | None
    strongest_with_floor: float | None


class Weight(TypedDict):
    r"""The weight w for which $|w \nabla L_{DEC}| = \mathrm{share} \cdot |\mathrm{l1\_weight} \nabla L_1|$.

    Attributes:
        share: as given.
        l1_weight: as given.
        weight: w; None if a gradient is zero.
    """

    share: float
    l1_weight: float
    weight: float | None


class Curve(TypedDict):
    """One value for each threshold of the sweep.

    Attributes:
        alone: share of the rows that are their own only positive.
        positives: mean number of positives per row.
        loss: L of Eq. 42.
        gradient_ratio: norm of DECLoss's gradient over that of L1's; None if L1 has no gradient.
    """

    alone: list[float]
    positives: list[float]
    loss: list[float]
    gradient_ratio: list[float | None]


class Sweep(TypedDict):
    """The curves over the threshold.

    Attributes:
        thresholds: dB.
        rows: number of rows whose positives were counted, among all patches.
        loss_patches: number of patches, of the first crops, whose loss and gradients the curves show.
        curves: distance -> curve.
    """

    thresholds: list[float]
    rows: int
    loss_patches: int
    curves: dict[str, Curve]


def terms(sr: Tensor, hr: Tensor, spec: Spec) -> Terms:
    """The loss of SR and HR images, (B, C, H, W) float32 each."""
    qpos, qneg = sums(sr, hr, spec)
    both = (qpos != 0) & (qneg != 0)
    zero = [int((patch_rows(images, spec.patch_size).norm(dim=-1) == 0).sum()) for images in (sr, hr)]
    return {
        "loss": loss(sr, hr, spec).item(),
        "mean_log_qpos": qpos[both].double().log().mean().item() if both.any() else None,
        "mean_log_qneg": qneg[both].double().log().mean().item() if both.any() else None,
        "rows": len(qpos),
        "rows_without_negatives": int((qneg == 0).sum()),
        "zero_patches_sr": zero[0],
        "zero_patches_hr": zero[1],
    }


def gradients(sr: Tensor, hr: Tensor, spec: Spec) -> Gradients:
    """The gradients at SR images, with HR images as the target: (B, C, H, W) float32 each."""
    floored = replace(spec, norm_floor=FLOOR)
    losses = (
        lambda x: loss(x, hr, spec),
        lambda x: F.l1_loss(x, hr),
        lambda x: F.mse_loss(x, hr),
        lambda x: loss(x, hr, floored),
    )
    all_of_them = [value_and_gradient(of, sr)[1] for of in losses]
    dec, l1, mse, _ = (gradient.norm().item() for gradient in all_of_them)
    dec_patches, l1_patches, _, floored_patches = (
        patch_rows(gradient, spec.patch_size).flatten(0, 1).norm(dim=1) for gradient in all_of_them
    )
    within = (dec_patches / l1_patches)[l1_patches > 0]
    return {
        "dec": dec,
        "l1": l1,
        "mse": mse,
        "dec_over_l1": _ratio(dec, l1),
        "dec_over_mse": _ratio(dec, mse),
        "dec_over_l1_median": within.median().item() if len(within) else None,
        "strongest": _strongest(dec_patches),
        "strongest_with_floor": _strongest(floored_patches),
    }


def _strongest(norms: Tensor) -> float | None:
    squares = norms.square().sort(descending=True).values
    return _ratio(squares[: math.ceil(STRONGEST * len(squares))].sum().item(), squares.sum().item())


def weight(found: Gradients, share: float, l1_weight: float) -> Weight:
    """The weight that makes DECLoss's gradient `share` times as large as that of `l1_weight` times L1."""
    ratio = _ratio(share * l1_weight * found["l1"], found["dec"])
    return {"share": share, "l1_weight": l1_weight, "weight": ratio or None}


def sweep(sr: Tensor, hr: Tensor, spec: Spec, counts: dict[str, list[Tensor]]) -> Sweep:
    """The curves of both distances, given the counts that `positives.examine` returns for `THRESHOLDS`."""
    sr, hr = window_of(sr, hr, spec.patch_size, MAX_SWEEP_PATCHES)
    _, l1 = value_and_gradient(lambda x: F.l1_loss(x, hr), sr)
    curves: dict[str, Curve] = {}
    for distance, each in counts.items():
        curve = curves[distance] = {
            "alone": [share_alone(row) for row in each],
            "positives": [row.double().mean().item() for row in each],
            "loss": [],
            "gradient_ratio": [],
        }
        for threshold in THRESHOLDS:
            at = replace(spec, threshold=threshold, distance=distance)
            value, gradient = value_and_gradient(lambda x, at=at: loss(x, hr, at), sr)  # type: ignore[misc]
            curve["loss"].append(value)
            curve["gradient_ratio"].append(_ratio(gradient.norm().item(), l1.norm().item()))
    return {
        "thresholds": list(THRESHOLDS),
        "rows": len(counts[spec.distance][0]),
        "loss_patches": patches_of(sr, spec.patch_size),
        "curves": curves,
    }


def loss(sr: Tensor, hr: Tensor, spec: Spec) -> Tensor:
    """`dec_kernels.dec_loss` with the arguments of `spec`."""
    return dec_loss(sr, hr, **vars(spec))


def value_and_gradient(of: Callable[[Tensor], Tensor], sr: Tensor) -> tuple[float, Tensor]:
    """The value of a loss, and its gradient with respect to `sr` in float64."""
    sr = sr.detach().requires_grad_()
    value = of(sr)
    (gradient,) = torch.autograd.grad(value, sr)
    return value.item(), gradient.double()


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None
