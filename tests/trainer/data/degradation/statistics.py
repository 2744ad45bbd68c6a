"""Bounds for what is drawn at random: a right sampler exceeds one of them in fewer than a millionth of all seeds."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, kstest

LEAST = 1e-6


def assert_probability(events: Sequence[bool], probability: float) -> None:
    """Whether so many of `events` are true, each with `probability`."""
    happened = sum(map(bool, events))
    assert len(events) >= 300
    assert binomtest(happened, len(events), probability).pvalue > LEAST, (happened / len(events), probability)


def assert_uniform(values: Sequence[float], least: float, most: float) -> None:
    """Whether `values` are evenly spread from `least` to `most`."""
    assert len(values) >= 200
    assert least <= min(values) <= max(values) <= most
    assert kstest(values, "uniform", (least, most - least)).pvalue > LEAST


def assert_whole(values: Sequence[int], expected: Sequence[int]) -> None:
    """Whether each of `expected` comes up equally often, and nothing else."""
    assert set(values) == set(expected)
    found, counts = np.unique(values, return_counts=True)
    assert len(found) == len(expected)
    for count in counts:
        assert binomtest(int(count), len(values), 1 / len(expected)).pvalue > LEAST
