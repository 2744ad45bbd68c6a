"""The facts -> plain sentences on the threshold and the weight, which claim no more than what was measured."""

from __future__ import annotations

import math

from dec_kernels.doctor.examine import STRONGEST, Gradients, Positives, Sweep, Terms, Weight
from dec_kernels.spec import Spec


def sentences(
    spec: Spec, dim: int, terms: Terms, positives: Positives, sweep: Sweep, gradients: Gradients, weight: Weight
) -> list[str]:
    return [
        *_on_the_threshold(spec, dim, positives, sweep),
        *_on_missing_negatives(spec, terms),
        _on_the_weight(weight),
        *_on_few_patches(gradients),
    ]


def _on_the_threshold(spec: Spec, dim: int, positives: Positives, sweep: Sweep) -> list[str]:
    other = "rmse" if spec.distance == "l2" else "l2"
    alone = positives["alone"]
    tried = sweep["thresholds"]
    bounds = " and ".join(f"{_half(sweep, distance)} with {distance}" for distance in sweep["curves"])
    return [
        f"At {spec.threshold:g} dB with {spec.distance}, {alone[spec.distance]:.1%} of the rows have only themselves "
        f"as positive (with {other}: {alone[other]:.1%}). Their Qpos holds nothing but their own SR and HR patch.",
        f"At least half of the rows have another patch as positive {bounds}; tried were {tried[0]:g} to {tried[-1]:g} "
        f"dB in steps of {tried[1] - tried[0]:g}.",
        f"The distances differ by a shift alone: here rmse at t dB is l2 at t - {10 * math.log10(dim):.1f} dB, that is "
        f"10 log10 of D = {dim}.",
        "This says which patches the loss takes for similar on these images, not which threshold makes better ones: "
        "only a training can tell.",
    ]


def _half(sweep: Sweep, distance: str) -> str:
    """Up to which threshold half of the rows have company."""
    enough = [
        threshold
        for threshold, alone in zip(sweep["thresholds"], sweep["curves"][distance]["alone"], strict=True)
        if alone <= 0.5
    ]
    return f"up to {max(enough):g} dB" if enough else "nowhere"


def _on_missing_negatives(spec: Spec, terms: Terms) -> list[str]:
    missing = terms["rows_without_negatives"]
    if not missing:
        return []
    return [
        f"{missing} of {terms['rows']} rows have no negative and add nothing to the loss: within "
        f"{spec.threshold:g} dB every patch is similar to them."
    ]


def _on_the_weight(weight: Weight) -> str:
    aim = f"DECLoss's gradient at {weight['share']:g} of that of {weight['l1_weight']:g} * L1"
    if weight["weight"] is None:
        return f"There is no weight that puts {aim}: one of the two gradients is zero here."
    return (
        f"loss_weight={weight['weight']:.3g} puts {aim}, on this output; as SR changes in training, so does the ratio."
    )


def _on_few_patches(gradients: Gradients) -> list[str]:
    strongest, median = gradients["strongest"], gradients["dec_over_l1_median"]
    if strongest is None or median is None or strongest < 0.5:
        return []
    return [
        f"But {STRONGEST:.0%} of the patches hold {strongest:.1%} of DECLoss's squared gradient norm, and the weight "
        f"follows them. A patch's gradient has the factor 1 / |q|, so near-black patches of SR pull hardest. In the "
        f"median patch DEC / L1 is {median:.3g}, over the whole batch {gradients['dec_over_l1']:.3g}."
    ]
