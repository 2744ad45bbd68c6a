"""Times competitors in turns, so that other load on the machine affects all of them alike."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypedDict, TypeVar

import numpy as np

T = TypeVar("T")


class Timing(TypedDict):
    """Seconds of one competitor.

    Attributes:
        first_call: the call before the rounds, which may compile.
        rounds: the call of each round.
        q1, median, q3: quartiles of `rounds`.
    """

    first_call: float
    rounds: list[float]
    q1: float
    median: float
    q3: float


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Calls each competitor once to warm up, then all of them in turn for `rounds` rounds: A B C, A B C, ..."""
    first = {name: seconds(call) for name, call in calls.items()}
    taken = by_turns({name: partial(seconds, call) for name, call in calls.items()}, dict.fromkeys(calls, rounds))
    return {name: summary(first[name], taken[name]) for name in calls}


def by_turns(measurements: Mapping[str, Callable[[], T]], rounds: Mapping[str, int]) -> dict[str, list[T]]:
    """Takes measurements in turn, each for its own number of rounds: A B C, A B C, A C, ...; returns their values."""
    taken: dict[str, list[T]] = {name: [] for name in measurements}
    for turn in range(max(rounds.values(), default=0)):
        for name, measure in measurements.items():
            if turn < rounds[name]:
                taken[name].append(measure())
    return taken


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def summary(first_call: float, rounds: list[float]) -> Timing:
    """Adds the quartiles of the rounds."""
    q1, median, q3 = (float(q) for q in np.percentile(rounds, [25, 50, 75]))
    return {"first_call": first_call, "rounds": rounds, "q1": q1, "median": median, "q3": q3}
