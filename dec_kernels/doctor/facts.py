"""All that the doctor finds out about a batch, computed once: what the tables, the JSON and the plot show."""

from __future__ import annotations

from typing import Any, TypedDict

from dec_kernels.doctor import advice, examine
from dec_kernels.doctor.backends import Check, Cost, checks, costs
from dec_kernels.doctor.crops import Batch, Input
from dec_kernels.environment import device_name
from dec_kernels.spec import Spec


class Facts(TypedDict):
    """Attributes:
    input: what was read and cut.
    settings: the loss's arguments.
    device: its name.
    terms, positives, gradients, weight, sweep: see `dec_kernels.doctor.examine`.
    backends, checks: of each backend, see `dec_kernels.doctor.backends`.
    advice: sentences.
    """

    input: Input
    settings: dict[str, Any]
    device: str
    terms: examine.Terms
    positives: examine.Positives
    gradients: examine.Gradients
    weight: examine.Weight
    sweep: examine.Sweep
    backends: list[Cost]
    checks: list[Check]
    advice: list[str]


def gather(batch: Batch, spec: Spec, *, share: float, l1_weight: float, seed: int) -> Facts:
    """Examines a batch with the loss's arguments in `spec`; `share` and `l1_weight` as in `examine.weight`."""
    sr, hr, read = batch
    terms = examine.terms(sr, hr, spec)
    positives, counts = examine.neighbours(hr, spec, seed)
    gradients = examine.gradients(sr, hr, spec)
    weight = examine.weight(gradients, share, l1_weight)
    sweep = examine.sweep(sr, hr, spec, counts)
    return {
        "input": read,
        "settings": dict(vars(spec)),
        "device": device_name(sr.device),
        "terms": terms,
        "positives": positives,
        "gradients": gradients,
        "weight": weight,
        "sweep": sweep,
        "backends": costs(sr, hr, spec),
        "checks": checks(sr, hr, spec),
        "advice": advice.sentences(spec, read["patch_values"], terms, positives, sweep, gradients, weight),
    }
