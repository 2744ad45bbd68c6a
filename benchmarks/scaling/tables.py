"""Prints the tables of a scaling study; `Results` is the content of scaling.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.competitors import LANDMARKS
from benchmarks.results import MIB, three_digits
from benchmarks.scaling.model import GPU, PREDICTED

MEASURED = "MEASURED on a CPU"
Results = Mapping[str, Any]
Record = Mapping[str, Any]


def print_tables(results: Results, console: Console) -> None:
    """Prints what was measured beside the model, then the predictions."""
    measured, predicted = results["measured"], results["predicted"]
    machine, run = measured["machine"], measured["run"]
    console.print(_measured_table(measured["steps"]))
    console.print(
        f"{MEASURED}, {machine['cores']} cores of {machine['cpu']}, PyTorch {machine['torch']}, {run['date']}, by "
        f"{run['command']}. The columns headed model are {measured['workload']['model']}. A step with {LANDMARKS} "
        f"landmarks received {_difference(measured['steps'])} bytes more.\n"
    )
    for label, steps in by_configuration(predicted).items():
        console.print(_predicted_table(steps, label))
    console.print(f"Landmarks: {LANDMARKS} of them instead of all pairs outside of the bands.")
    console.print(f"{predicted['what']}. {predicted['gpu']['source']}. {predicted['links']['source']}.")


def _difference(steps: Sequence[Record]) -> int:
    """The most bytes that landmarks added in any process."""
    pairs = (zip(r["received_bytes_with_landmarks"], r["received_bytes"], strict=True) for r in steps)
    return max(more - less for of_step in pairs for more, less in of_step)


def by_configuration(predicted: Results) -> dict[str, list[Record]]:
    """The predicted steps of each configuration, by its label."""
    labels = dict.fromkeys(r["configuration"] for r in predicted["steps"])
    return {label: [r for r in predicted["steps"] if r["configuration"] == label] for label in labels}


def _measured_table(steps: Sequence[Record]) -> Table:
    headings = (
        "processes", "patches each", "wall, ms", "CPU ms of each", "model", "off", "bytes received", "model",
        "extra MiB", "model",
    )  # fmt: skip
    table = _table(f"{MEASURED}: a step with negatives from all processes, beside the model", headings)
    for r in steps:
        model = r["model"]
        table.add_row(
            str(r["processes"]),
            str(r["n_local"]),
            three_digits(1e3 * r["wall"]["median"]),
            three_digits(1e3 * r["cpu"]["median"]),
            three_digits(1e3 * model["cpu_seconds"]),
            f"{r['cpu']['median'] / model['cpu_seconds'] - 1:+.0%}",
            f"{max(r['received_bytes']):,}",
            f"{model['received_bytes']:,}",
            three_digits(max(r["extra_bytes"]) / MIB),
            three_digits(model["extra_bytes"] / MIB),
        )
    return table


def _predicted_table(steps: Sequence[Record], label: str) -> Table:
    headings = (
        "GPUs", "pairs", "TFLOP", "pairs, ms", "landmarks, ms", "columns, ms", "GB received", "communication, ms",
        "memory, GB", "landmarks, GB",
    )  # fmt: skip
    title = f"{PREDICTED}\nof each {GPU} in a step, {label}, {steps[0]['n_local']} patches on each"
    table = _table(title, headings)
    for r in steps:
        table.add_row(
            str(r["gpus"]),
            f"{r['pairs']:.2e}",
            three_digits(r["flop"] / 1e12),
            _bracket(r["walk_seconds"]),
            _bracket(r["with_landmarks"]["seconds"]),
            three_digits(1e3 * r["preparation_seconds"]),
            three_digits(r["received_bytes"] / 1e9),
            _bracket(r["communication_seconds"]),
            three_digits(r["memory_bytes"]["total"] / 1e9),
            three_digits(r["with_landmarks"]["memory_bytes"] / 1e9),
        )
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _bracket(seconds: Sequence[float]) -> str:
    low, high = (three_digits(1e3 * s) for s in seconds)
    return low if low == high else f"{low} to {high}"
