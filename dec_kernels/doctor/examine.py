"""A batch -> what the loss does on it: its terms, its positives, its gradient beside L1's, over all thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels import dec_loss
from dec_kernels.doctor import positives
from dec_kernels.doctor.crops import patches_of, window_of
from dec_kernels.doctor.sums import sums
from dec_kernels.reference import patch_rows
from dec_kernels.spec import CHOICES, Spec

THRESHOLDS = tuple(float(db) for db in range(20, 51, 3))
STRONGEST = 0.01
SWEEP_PATCHES = 4096  # at each threshold of the sweep the loss and its gradient are those of so many patches at most


class Terms(TypedDict):
    """The loss and what it is made of.

    Attributes:
        loss: L of Eq. 42.
        mean_log_qpos, mean_log_qneg: over the rows that have positives and negatives; None if there are none.
        rows: n.
        rows_without_negatives: they contribute 0; the mean stays over n.
        zero_patches_sr, zero_patches_hr: patches of norm zero.
    """

    loss: float
    mean_log_qpos: float | None
    mean_log_qneg: float | None
    rows: int
    rows_without_negatives: int
    zero_patches_sr: int
    zero_patches_hr: int


class Positives(TypedDict):
    """Positives per row at the chosen threshold, the row itself among them.

    Attributes:
        rows: that were counted; fewer than n in large batches, drawn at random.
        histogram: "1", "2", "3-4", "5-8", ... -> rows.
        mean: per row.
        alone: distance -> share of the rows that are their own only positive, at the chosen threshold.
        tile: rows and columns of a tile.
        band_share: share of the tiles in which positives are possible.
    """

    rows: int
    histogram: dict[str, int]
    mean: float
    alone: dict[str, float]
    tile: int
    band_share: float


class Gradients(TypedDict):
    """Of each loss, a mean, with respect to SR.

    Attributes:
        dec, l1, mse: 2-norms.
        dec_over_l1, dec_over_mse: their ratios; None where the divisor is zero.
        dec_over_l1_median: the median over the patches of the ratio of the norms within a patch.
        strongest: share of |dDEC|^2 that is in the `STRONGEST` of the patches with the largest gradients.
    """

    dec: float
    l1: float
    mse: float
    dec_over_l1: float | None
    dec_over_mse: float | None
    dec_over_l1_median: float | None
    strongest: float | None


class Weight(TypedDict):
    """`weight` w is such that ``|w dDEC| = share * |l1_weight dL1|``; None where a gradient is zero."""

    share: float
    l1_weight: float
    weight: float | None


class Curve(TypedDict):
    """One value for each of the sweep's thresholds.

    Attributes:
        alone: share of the rows that are their own only positive.
        positives: mean per row.
        loss: L.
        gradient_ratio: |dDEC| / |dL1|; None where L1's is zero.
    """

    alone: list[float]
    positives: list[float]
    loss: list[float]
    gradient_ratio: list[float | None]


class Sweep(TypedDict):
    """Attributes:
    thresholds: dB.
    rows: whose positives were counted, among all patches.
    loss_patches: patches of the first crops, whose loss and gradients are in the curves.
    curves: distance -> curve.
    """

    thresholds: list[float]
    rows: int
    loss_patches: int
    curves: dict[str, Curve]


def terms(sr: Tensor, hr: Tensor, spec: Spec) -> Terms:
    """Of SR and HR images, (B, C, H, W) float32 each."""
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


def neighbours(hr: Tensor, spec: Spec, seed: int) -> tuple[Positives, dict[str, list[Tensor]]]:
    """Positives at the chosen threshold; and for each distance the counts of each row at each of `THRESHOLDS`."""
    dim = hr.shape[1] * spec.patch_size**2
    columns = positives.groups(hr, spec.patch_size, spec.scope == "image")
    radii = {
        distance: [_radius(spec, dim, distance, threshold) for threshold in (spec.threshold, *THRESHOLDS)]
        for distance in CHOICES["distance"]
    }
    counts = positives.count(columns, [radius for each in radii.values() for radius in each], seed).cpu()
    of_distance = dict(zip(radii, counts.split(1 + len(THRESHOLDS)), strict=True))
    chosen = of_distance[spec.distance][0]
    found: Positives = {
        "rows": len(chosen),
        "histogram": histogram(chosen),
        "mean": chosen.double().mean().item(),
        "alone": {distance: _alone(each[0]) for distance, each in of_distance.items()},
        "tile": positives.TILE,
        "band_share": positives.band_share(columns, radii[spec.distance][0]),
    }
    return found, {distance: list(each[1:]) for distance, each in of_distance.items()}


def histogram(counts: Tensor) -> dict[str, int]:
    """Rows with 1, 2, 3-4, 5-8, ... positives, up to the most that there are."""
    bins = {"1": int((counts == 1).sum())}
    high = 1
    while high < counts.max():
        low, high = high, 2 * high
        bins[f"{low + 1}-{high}" if high > 2 else "2"] = int(((counts > low) & (counts <= high)).sum())
    return bins


def gradients(sr: Tensor, hr: Tensor, spec: Spec) -> Gradients:
    """Of SR and HR images, (B, C, H, W) float32 each."""
    losses = (lambda x: loss(x, hr, spec), lambda x: F.l1_loss(x, hr), lambda x: F.mse_loss(x, hr))
    all_of_them = [value_and_gradient(of, sr)[1] for of in losses]
    dec, l1, mse = (gradient.norm().item() for gradient in all_of_them)
    dec_patches, l1_patches = (
        patch_rows(gradient, spec.patch_size).flatten(0, 1).norm(dim=1) for gradient in all_of_them[:2]
    )
    within = (dec_patches / l1_patches)[l1_patches > 0]
    squares = dec_patches.square().sort(descending=True).values
    return {
        "dec": dec,
        "l1": l1,
        "mse": mse,
        "dec_over_l1": _ratio(dec, l1),
        "dec_over_mse": _ratio(dec, mse),
        "dec_over_l1_median": within.median().item() if len(within) else None,
        "strongest": _ratio(squares[: math.ceil(STRONGEST * len(squares))].sum().item(), squares.sum().item()),
    }


def weight(found: Gradients, share: float, l1_weight: float) -> Weight:
    """The weight that puts DECLoss's gradient at `share` of L1's, which has the weight `l1_weight`."""
    ratio = _ratio(share * l1_weight * found["l1"], found["dec"])
    return {"share": share, "l1_weight": l1_weight, "weight": ratio or None}


def sweep(sr: Tensor, hr: Tensor, spec: Spec, counts: dict[str, list[Tensor]]) -> Sweep:
    """The curves of both distances, from the counts of `neighbours`."""
    sr, hr = window_of(sr, hr, spec.patch_size, SWEEP_PATCHES)
    _, l1 = value_and_gradient(lambda x: F.l1_loss(x, hr), sr)
    curves: dict[str, Curve] = {}
    for distance, each in counts.items():
        curve = curves[distance] = {
            "alone": [_alone(row) for row in each],
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
    """of(sr), and its gradient with respect to sr in float64."""
    sr = sr.detach().requires_grad_()
    value = of(sr)
    (gradient,) = torch.autograd.grad(value, sr)
    return value.item(), gradient.double()


def _radius(spec: Spec, dim: int, distance: str, threshold: float) -> float:
    return replace(spec, distance=distance, threshold=threshold).constants(dim, "ieee").radius


def _alone(counts: Tensor) -> float:
    return (counts == 1).double().mean().item()


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None
