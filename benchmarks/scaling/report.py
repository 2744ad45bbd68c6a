"""The tables and the plot of a scaling study; `Results` is the content of scaling.json."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.results import MIB, three_digits
from benchmarks.scaling.model import GPU, PREDICTED, Costs

MEASURED = "MEASURED on a CPU"
Results = Mapping[str, Any]
Record = Mapping[str, Any]

# Okabe and Ito's palette, which the colour-blind tell apart.
SHADES = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#56B4E9", "#D55E00")
WALK, PREPARATION, COMMUNICATION = "#0072B2", "#009E73", "#D55E00"


def print_tables(results: Results, console: Console) -> None:
    measured, predicted = results["measured"], results["predicted"]
    machine, run = measured["machine"], measured["run"]
    console.print(_measured_table(measured["steps"]))
    console.print(
        f"{MEASURED}, {machine['cores']} cores of {machine['cpu']}, PyTorch {machine['torch']}, {run['date']}, by "
        f"{run['command']}. The columns headed model are {measured['workload']['model']}.\n"
    )
    for label, steps in _configurations(predicted).items():
        console.print(_predicted_table(steps, label))
    console.print(f"{predicted['what']}. {predicted['gpu']['source']}. {predicted['links']['source']}.")


def _configurations(predicted: Results) -> dict[str, list[Record]]:
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
        "GPUs", "pairs", "TFLOP", "pairs, ms", "columns, ms", "GB received", "communication, ms", "memory, GB",
    )  # fmt: skip
    title = f"{PREDICTED}\nof each {GPU} in a step, {label}, {steps[0]['n_local']} patches on each"
    table = _table(title, headings)
    for r in steps:
        table.add_row(
            str(r["gpus"]),
            f"{r['pairs']:.2e}",
            three_digits(r["flop"] / 1e12),
            _bracket(r["walk_seconds"]),
            three_digits(1e3 * r["preparation_seconds"]),
            three_digits(r["received_bytes"] / 1e9),
            _bracket(r["communication_seconds"]),
            three_digits(r["memory_bytes"]["total"] / 1e9),
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


def draw(results: Results, path: Path) -> None:
    """Writes the plot: what was measured beside the model, and the predictions of each configuration."""
    measured, configurations = results["measured"], _configurations(results["predicted"])
    figure = Figure(figsize=(13.5, 4.8), dpi=150, layout="constrained")
    left, first, *others = figure.subplots(1, 1 + len(configurations))
    for axes in others:
        axes.sharey(first)
    _draw_measured(left, measured)
    for axes, (label, steps) in zip((first, *others), configurations.items(), strict=True):
        _draw_predicted(axes, steps, label)
    note = (
        f"Left: one thread a process, {measured['machine']['cores']} cores of {measured['machine']['cpu']}, "
        f"{measured['run']['date'][:10]}. Middle and right: not measured; bands go from the best case to the worst."
    )
    figure.supxlabel(note, fontsize=8, color="#666666", x=0.01, ha="left")
    figure.savefig(path)


def _draw_measured(axes: Axes, measured: Results) -> None:
    costs = Costs(**measured["costs"])
    processes = sorted({r["processes"] for r in measured["steps"]})
    for patches, colour in zip(sorted({r["n_local"] for r in measured["steps"]}), cycle(SHADES), strict=False):
        modelled = [1e3 * costs.seconds(patches, p) for p in processes]
        axes.plot(processes, modelled, color=colour, linewidth=1.5)
        points = {r["processes"]: 1e3 * r["cpu"]["median"] for r in measured["steps"] if r["n_local"] == patches}
        axes.plot(list(points), list(points.values()), "o", color=colour)
        axes.annotate(f"{patches:,}", (processes[-1], modelled[-1]), (9, -4), textcoords="offset points", color=colour)
    _style(axes, processes)
    axes.set_xlabel("processes; at the lines, patches of each")
    axes.set_title("MEASURED (points) and model (lines)\nCPU, ms of each process", loc="left", fontsize=11)


def _draw_predicted(axes: Axes, steps: Sequence[Record], label: str) -> None:
    gpus = [r["gpus"] for r in steps]
    bands = {"all pairs": ("walk_seconds", WALK), "communication": ("communication_seconds", COMMUNICATION)}
    for name, (key, colour) in bands.items():
        low, high = ([1e3 * r[key][end] for r in steps] for end in (0, 1))
        axes.fill_between(gpus, low, high, facecolor=colour + "4D", edgecolor=colour, label=name)
    columns = [1e3 * r["preparation_seconds"] for r in steps]
    axes.plot(gpus, columns, "--", color=PREPARATION, linewidth=1.5, label="preparing the columns")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    _style(axes, gpus)
    axes.set_xlabel(f"GPUs, {steps[0]['n_local']:,} patches on each")
    axes.set_title(f"PREDICTED, {GPU}, ms of each GPU\n{label}", loc="left", fontsize=11)


def _style(axes: Axes, numbers: Sequence[int]) -> None:
    """Of both kinds: logarithmic, with `numbers` of processes or GPUs along x."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
