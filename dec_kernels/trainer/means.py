"""Means over the images of a validation or test, and what is left out of them.

The PSNR of an image that is reproduced exactly is infinite, as in BasicSR, scikit-image and torchmetrics: so is every
mean with it, which then says nothing about the other images. An image whose output is NaN or infinite has no figures at
all. Both are left out of the mean, metric by metric, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypedDict

from dec_kernels.trainer.metrics import METRICS
from dec_kernels.trainer.wording import first_few

CAP = 60.0  # dB: what libvmaf, too, counts for an exact image of 8 bits

Row = Mapping[str, float]  # metric -> value


class LeftOut(TypedDict):
    """What the means are without.

    Attributes:
        images: how many there are.
        exact: metric -> images where it is infinite; without the metrics where there is none.
        nonfinite: the images whose output is NaN or infinite.
    """

    images: int
    exact: dict[str, int]
    nonfinite: list[str]


def mean_figures(rows: Collection[Row]) -> dict[str, float]:
    """The mean of each metric over the images where it is finite; infinity if every image is exact, NaN if none has it.

    Args:
        rows: of each image, at least one, all with the same metrics.
    """
    return {metric: _mean([row[metric] for row in rows]) for metric in next(iter(rows))}


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        return math.fsum(finite) / len(finite)
    return math.inf if math.inf in values else math.nan


def score(rows: Iterable[Row]) -> float:
    """What the best checkpoint is chosen by: the mean Y-PSNR of all images, each counted with `CAP` at most.

    A mean without the exact images would fall when one more becomes exact, and an infinite one could not rise any more.
    NaN where an output is not finite.
    """
    values = [row["psnr_y"] for row in rows]
    return math.nan if any(map(math.isnan, values)) else math.fsum(min(value, CAP) for value in values) / len(values)


def left_out(rows: Mapping[str, Row]) -> LeftOut:
    """What `mean_figures` leaves out of the means of `rows`, image -> figures."""
    infinite = {metric: sum(math.isinf(row[metric]) for row in rows.values()) for metric in next(iter(rows.values()))}
    return {
        "images": len(rows),
        "exact": {metric: count for metric, count in infinite.items() if count},
        "nonfinite": [name for name, row in rows.items() if any(map(math.isnan, row.values()))],
    }


def describe(name: str, left: LeftOut) -> list[str]:
    """Sentences on what is left out of the means of the method or run `name`; none if it is nothing."""
    sentences, images = [], left["images"]
    if left["exact"]:
        counts = ", ".join(f"{METRICS[metric].heading} of {count}" for metric, count in left["exact"].items())
        some = f"the mean leaves out exact images: {counts} of {images}"
        sentences.append(f"{name}: {'every image is exact' if min(left['exact'].values()) == images else some}")
    if names := left["nonfinite"]:
        sentences.append(
            f"{name}: NaN or infinite pixels, so no figures, in {len(names)} of {images}: {first_few(names)}"
        )
    return sentences
