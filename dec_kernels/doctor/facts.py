"""All that the doctor finds out about a batch, computed once; the tables, the JSON and the plot show it."""

from __future__ import annotations

from typing import Any, TypedDict

from dec_kernels.doctor import advice, examine, positives
from dec_kernels.doctor.checks import Check, checks
from dec_kernels.doctor.costs import Cost, costs
from dec_kernels.doctor.crops import Crops, Input
from dec_kernels.doctor.landmarks import Landmarks, landmarks
from dec_kernels.environment import device_name
from dec_kernels.spec import Spec


class Facts(TypedDict):
    """What the doctor found.

    Attributes:
        input: what was read and how it was cut.
        settings: the arguments of the loss.
        device: name of the device.
        terms: the loss and its terms.
        positives: positives per row at the chosen threshold.
        gradients: the gradients of DECLoss, L1 and MSE.
        weight: the suggested loss_weight.
        sweep: the curves over the threshold.
        backends: the cost of each backend.
        checks: the errors of each backend that can run.
        landmarks: the error of the loss as configured, and with several numbers of landmarks.
        advice: sentences about the threshold, the weight and the landmarks.
    """

    input: Input
    settings: dict[str, Any]
    device: str
    terms: examine.Terms
    positives: positives.Positives
    gradients: examine.Gradients
    weight: examine.Weight
    sweep: examine.Sweep
    backends: list[Cost]
    checks: list[Check]
    landmarks: Landmarks
    advice: list[str]


def gather(batch: Crops, spec: Spec, *, share: float, l1_weight: float, seed: int) -> Facts:
    """Examines a batch.

    Args:
        batch: the crops.
        spec: the arguments of the loss.
        share, l1_weight: as in `examine.weight`.
        seed: of the samples of rows: of those whose positives are counted, and of those that are audited.
    """
    sr, hr, read = batch
    terms = examine.terms(sr, hr, spec)
    found, counts = positives.examine(hr, spec, examine.THRESHOLDS, seed)
    gradients = examine.gradients(sr, hr, spec)
    weight = examine.weight(gradients, share, l1_weight)
    sweep = examine.sweep(sr, hr, spec, counts)
    approximate = landmarks(sr, hr, spec, seed)
    return {
        "input": read,
        "settings": dict(vars(spec)),
        "device": device_name(sr.device),
        "terms": terms,
        "positives": found,
        "gradients": gradients,
        "weight": weight,
        "sweep": sweep,
        "backends": costs(sr, hr, spec),
        "checks": checks(sr, hr, spec),
        "landmarks": approximate,
        "advice": advice.sentences(spec, read["patch_values"], terms, found, sweep, gradients, weight, approximate),
    }
