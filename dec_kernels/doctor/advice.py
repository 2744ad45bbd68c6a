"""The facts in plain sentences about the threshold, the weight and landmarks, which claim no more than was measured."""

from __future__ import annotations

import math

from dec_kernels.doctor.examine import FLOOR, STRONGEST, Gradients, Sweep, Terms, Weight
from dec_kernels.doctor.landmarks import COUNTS, Landmarks
from dec_kernels.doctor.positives import Positives
from dec_kernels.spec import Spec


def sentences(
    spec: Spec,
    dim: int,
    terms: Terms,
    positives: Positives,
    sweep: Sweep,
    gradients: Gradients,
    weight: Weight,
    landmarks: Landmarks,
) -> list[str]:
    """What the facts say about the threshold, the weight and landmarks, for patches of `dim` values."""
    return [
        *_on_the_threshold(spec, dim, positives, sweep),
        *_on_missing_negatives(spec, terms),
        _on_the_weight(weight),
        *_on_few_patches(gradients),
        _on_landmarks(landmarks),
    ]


def _on_the_threshold(spec: Spec, dim: int, positives: Positives, sweep: Sweep) -> list[str]:
    other = "rmse" if spec.distance == "l2" else "l2"
    alone = positives["alone"]
    tried = sweep["thresholds"]
    bounds = " and ".join(f"{_half(sweep, distance)} with {distance}" for distance in sweep["curves"])
    return [
        f"At {spec.threshold:g} dB with {spec.distance}, {alone[spec.distance]:.1%} of the rows are their own only "
        f"positive (with {other}: {alone[other]:.1%}). The Qpos of such a row holds only its own SR and HR patch.",
        f"At least half of the rows have another patch as positive {bounds}. The thresholds tried are {tried[0]:g} to "
        f"{tried[-1]:g} dB in steps of {tried[1] - tried[0]:g} dB.",
        f"The two distances differ only by a shift: rmse at t dB is l2 at t - {10 * math.log10(dim):.1f} dB, where the "
        f"shift is 10 log10(D) and D = {dim}.",
        "These figures show which patches the loss treats as similar on these images. They do not show which threshold "
        "gives better images: only training can.",
    ]


def _half(sweep: Sweep, distance: str) -> str:
    """Up to which threshold at least half of the rows have another positive."""
    enough = [
        threshold
        for threshold, alone in zip(sweep["thresholds"], sweep["curves"][distance]["alone"], strict=True)
        if alone <= 0.5
    ]
    return f"up to {max(enough):g} dB" if enough else "at no threshold"


def _on_missing_negatives(spec: Spec, terms: Terms) -> list[str]:
    missing = terms["rows_without_negatives"]
    if not missing:
        return []
    return [
        f"{missing} of {terms['rows']} rows have no negative, because every patch is their positive at "
        f"{spec.threshold:g} dB. These rows add nothing to the loss."
    ]


def _on_the_weight(weight: Weight) -> str:
    effect = f"DECLoss's gradient {weight['share']:g} times that of {weight['l1_weight']:g} * L1"
    if weight["weight"] is None:
        return f"No loss_weight makes {effect}: one of the two gradients is zero here."
    return (
        f"loss_weight={weight['weight']:.3g} makes {effect} on this output. The ratio changes as SR changes during "
        "training."
    )


def _on_few_patches(gradients: Gradients) -> list[str]:
    strongest, median = gradients["strongest"], gradients["dec_over_l1_median"]
    if strongest is None or median is None or strongest < 0.5:
        return []
    floored = gradients["strongest_with_floor"]
    remedy = "" if floored is None else f" With norm_floor={FLOOR:g} they would hold {floored:.1%}."
    return [
        f"But {STRONGEST:.0%} of the patches hold {strongest:.1%} of the squared norm of DECLoss's gradient, so they "
        f"determine the suggested weight. The gradient of a patch has the factor 1 / |q|, so near-black SR patches "
        f"have the largest gradients. DEC / L1 is {median:.3g} in the median patch and {gradients['dec_over_l1']:.3g} "
        f"over the whole batch.{remedy}"
    ]


def _on_landmarks(found: Landmarks) -> str:
    bf16 = f"{found['bf16_error']:.1e}, the error of rounding to bfloat16"
    if not found["tried"]:
        return (
            f"Stay with landmarks=None: each row is compared with {found['columns']} patches only. The doctor tries "
            f"landmarks from {2 * COUNTS[0] + 1} patches on."
        )
    if found["suggested"] is None:
        least = min(found["tried"], key=lambda one: one["gradient_error"])
        return (
            f"Stay with landmarks=None: with none of {_list(found)} landmarks is the gradient's error below {bf16}. "
            f"The least is {least['gradient_error']:.1e}, with {least['landmarks']}."
        )
    chosen = next(one for one in found["tried"] if one["landmarks"] == found["suggested"])
    figures = f"a gradient error of {chosen['gradient_error']:.1e}, below {bf16}"
    exact = found["exact_seconds"]
    if exact is None:
        return f"landmarks={found['suggested']} has {figures}. A step takes {chosen['seconds']:.3g} s with it."
    times = f"a step takes {chosen['seconds']:.3g} s with it and {exact:.3g} s exactly"
    if exact <= chosen["seconds"]:
        return (
            f"Stay with landmarks=None: so few patches are computed exactly in no more time. (landmarks="
            f"{found['suggested']} has {figures}, but {times}.)"
        )
    fewest = f"Of {_list(found)} it is the fewest that is so exact."
    return f"landmarks={found['suggested']} has {figures}, and {times}. {fewest}"


def _list(found: Landmarks) -> str:
    return ", ".join(str(one["landmarks"]) for one in found["tried"])
