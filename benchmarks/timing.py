"""Timing by turns, so that whatever else the machine does falls on all competitors alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypedDict

import numpy as np


class Timing(TypedDict):
    """Seconds of one competitor.

    Attributes:
        first_call: the call before the rounds, which compiles what there is to compile.
        rounds: one call in each round.
        q1, median, q3: quartiles of `rounds`.
    """

    first_call: float
    rounds: list[float]
    q1: float
    median: float
    q3: float


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Calls each once to warm up, then all of them in turn, `rounds` times over: A B C, A B C, ..."""
    first = {name: seconds(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    return {name: summary(first[name], taken[name]) for name in calls}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def summary(first_call: float, rounds: list[float]) -> Timing:
    q1, median, q3 = (float(q) for q in np.percentile(rounds, [25, 50, 75]))
    return {"first_call": first_call, "rounds": rounds, "q1": q1, "median": median, "q3": q3}
