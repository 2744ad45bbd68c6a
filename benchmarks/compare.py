"""Compares ways to compute the loss: their time in turns, their peak memory in fresh processes, and the claims.

    python -m benchmarks.compare

prints its tables and writes cpu.json, cpu_time.png and cpu_memory.png to benchmarks/results/.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import machine, plots
from benchmarks.competitors import CHUNKS, COMPETITORS, PRODUCTS, TILES, tiled_products
from benchmarks.memory import measure_in_fresh_process
from benchmarks.results import (
    DIM,
    FLOOR,
    MIB,
    OURS,
    SMALL_DIM,
    Results,
    claims,
    curve,
    extrapolate,
    print_tables,
    slope,
)
from benchmarks.timing import interleaved
from benchmarks.workload import images, to_8_bits

PATCH_SIZES = {DIM: 8, SMALL_DIM: 4}
RESULTS = Path(__file__).resolve().parent / "results"

# The curve of a competitor ends if its next call, at twice the n, is expected to exceed these.
MAX_SECONDS = 15.0
MAX_MEMORY = 8 * 1024 * MIB

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What is measured at which n.

    Attributes:
        rounds: the sizes n of the curves, each twice the one before, and the number of timed rounds of each.
        speed_at: n of the claims about time.
        memory_at: n of the claim about memory.
        linear_over: sizes n, with D = 48, over which memory should grow linearly.
        largest: n, with D = 48, of one call with landmarks.
    """

    rounds: Mapping[int, int]
    speed_at: int
    memory_at: int
    linear_over: Sequence[int]
    largest: int


FULL = Plan(
    rounds={
        256: 101,
        512: 25,
        1024: 25,
        2048: 15,
        4096: 7,
        8192: 15,
        16384: 1,
        32768: 1,
        65536: 5,
        131072: 3,
        262144: 3,
    },
    speed_at=8192,
    memory_at=32768,
    linear_over=(16384, 32768, 65536),
    largest=2**20,
)
QUICK = Plan(rounds={512: 3, 1024: 3, 2048: 3}, speed_at=1024, memory_at=1024, linear_over=(512, 1024), largest=4096)


def compare(plan: Plan, console: Console) -> Results:
    """Measures what the plan asks for, and prints each result as it comes."""
    console.print("Finding the fastest chunk and the fastest tile")
    choices = {"chunk": _try_chunks(plan.speed_at), "tile": _try_tiles(plan.speed_at)}
    chunk, tile = (min(records, key=lambda r: r["median"])["size"] for records in choices.values())
    names = (*OURS, "eager", "compile", f"chunked_{chunk}")
    labels = {name: COMPETITORS[name].label for name in names} | FLOOR

    time: Records = []
    memory: Records = []
    left_out: Records = []

    def add_memory(name: str, n: int, dim: int) -> None:
        memory.append({"competitor": name, "n": n, "dim": dim} | measure_in_fresh_process(name, n, PATCH_SIZES[dim]))
        console.print(f"n = {n}, D = {dim}: {memory[-1]['extra_bytes'] / MIB:.1f} MiB, {labels[name]}")

    running = [*names, "products_six"]
    for n, rounds in plan.rounds.items():
        for name in list(running):
            if reason := reason_to_stop(name, n, time, memory):
                running.remove(name)
                left_out.append({"competitor": name, "from_n": n, "reason": reason})
                console.print(f"{labels[name]} ends before n = {n}: {reason}")
        for name in running:
            if name in COMPETITORS:
                add_memory(name, n, DIM)
        at_n = [*running, "products_five"] if n == plan.speed_at else running
        for record in _times(at_n, n, tile, rounds):
            time.append(record)
            console.print(f"n = {n}, D = {DIM}: {record['median']:.4f} s, {labels[record['competitor']]}")
    for n in plan.linear_over:
        add_memory("cpp", n, SMALL_DIM)
    add_memory("cpp_landmarks", plan.largest, SMALL_DIM)

    results: dict[str, Any] = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.compare"),
        "workload": {
            "call": "forward and backward to the gradient of sr",
            "images": "float32 crops of four photographs of scikit-image; sr is their x4 bicubic reconstruction",
            "loss": "distance l2, temperature outside, scope batch, the paper's constants",
            "time": "seconds; all competitors in turns in one process, after a first call of each",
            "memory": "peak resident set of a fresh process during a call, above both images and what a small call "
            "before it left behind, minus the returned gradient; the seconds beside it are of that call, in which the "
            "process requests all memory from the system",
            "errors": "of the gradient, in the 2-norm, relative to that of the exact loss in float64; sr in 8 bits",
        },
        "labels": labels,
        "claims_at": {"speed": plan.speed_at, "memory": plan.memory_at},
        "losses": _losses(names, plan.speed_at),
        "errors": _errors(OURS, plan.speed_at),
        "time": time,
        "memory": memory,
        "left_out": left_out,
        "choices": choices,
    }
    results["slopes"] = {
        measure: {name: slope(curve(results, measure, name)) for name in labels} for measure in ("time", "memory")
    }
    results["claims"] = claims(results)
    return results


def _times(names: Sequence[str], n: int, tile: int, rounds: int) -> Records:
    """Times competitors at one n, with D = 192."""
    torch.compiler.reset()  # so that torch.compile can specialize for this n, as it does if shapes stay the same
    sr, hr = images(n, PATCH_SIZES[DIM])
    sr.requires_grad_()

    def call(name: str):
        if name in COMPETITORS:
            return lambda: COMPETITORS[name].step(sr, hr, PATCH_SIZES[DIM])
        return tiled_products(n, DIM, *PRODUCTS[name], tile)

    timings = interleaved({name: call(name) for name in names}, rounds)
    return [{"competitor": name, "n": n, "dim": DIM} | timing for name, timing in timings.items()]


def _try_chunks(n: int) -> Records:
    records = _times([f"chunked_{mib}" for mib in CHUNKS], n, tile=0, rounds=1)
    return [{"size": mib} | record for mib, record in zip(CHUNKS, records, strict=True)]


def _try_tiles(n: int) -> Records:
    calls = {str(tile): tiled_products(n, DIM, *PRODUCTS["products_six"], tile) for tile in TILES}
    return [{"size": int(tile), "n": n, "dim": DIM} | timing for tile, timing in interleaved(calls, rounds=3).items()]


def reason_to_stop(name: str, n: int, time: Records, memory: Records) -> str | None:
    """Why a competitor should not run at n; None if it should.

    The records of a smaller n are extrapolated: time grows with n * n, and memory at most so.
    """

    def expected(records: Records, key: str) -> float:
        return extrapolate({r["n"]: r[key] for r in records if r["competitor"] == name}, n)

    if expected(time, "median") > MAX_SECONDS:
        return f"a call would take more than {MAX_SECONDS:.0f} s"
    if expected(memory, "extra_bytes") > MAX_MEMORY:
        return f"it might need more than {MAX_MEMORY / MIB / 1024:.0f} GiB"
    return None


def _losses(names: Sequence[str], n: int) -> dict[str, float | str]:
    """The loss of the photographs by each competitor; "inf" if its mask loses a patch to itself."""
    sr, hr = images(n, PATCH_SIZES[DIM])
    losses = {}
    for name in names:
        with torch.no_grad():
            loss = COMPETITORS[name].loss(sr, hr, PATCH_SIZES[DIM]).item()
        losses[name] = loss if math.isfinite(loss) else str(loss)
    return losses


def _errors(names: Sequence[str], n: int) -> dict[str, float]:
    """The relative error of the gradient by each competitor."""
    sr, hr = images(n, PATCH_SIZES[DIM])
    sr = to_8_bits(sr)
    _, true = COMPETITORS["cpp"].step(sr.double().requires_grad_(), hr.double(), PATCH_SIZES[DIM])
    sr.requires_grad_()
    errors = {}
    for name in names:
        _, gradient = COMPETITORS[name].step(sr, hr, PATCH_SIZES[DIM])
        errors[name] = ((gradient.double() - true).norm() / true.norm()).item()
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", metavar="DIR", type=Path, help="use tiny sizes, for a minute or two, and write the results to DIR"
    )
    given = parser.parse_args()
    plan, folder = (QUICK, given.quick) if given.quick else (FULL, RESULTS)

    console = Console(width=140)
    results = compare(plan, console)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    for measure in ("time", "memory"):
        plots.draw(measure, plots.lines(results, measure), plots.note(results), folder / f"cpu_{measure}.png")
    print_tables(results, console)


if __name__ == "__main__":
    main()
