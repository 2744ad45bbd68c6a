"""Draws the plot of a scaling study."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.competitors import LANDMARKS
from benchmarks.scaling.model import GPU, Costs
from benchmarks.scaling.tables import Record, Results, by_configuration

# Okabe and Ito's palette, which colour-blind people can tell apart.
SHADES = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#56B4E9", "#D55E00")
WALK, LANDMARK, PREPARATION, COMMUNICATION = "#0072B2", "#882255", "#009E73", "#D55E00"


def draw(results: Results, path: Path) -> None:
    """Writes the plot as PNG: what was measured beside the model, and the predictions of each configuration."""
    measured, configurations = results["measured"], by_configuration(results["predicted"])
    figure = Figure(figsize=(13.5, 4.8), dpi=150, layout="constrained")
    left, first, *others = figure.subplots(1, 1 + len(configurations))
    for axes in others:
        axes.sharey(first)
    _draw_measured(left, measured)
    for axes, (label, steps) in zip((first, *others), configurations.items(), strict=True):
        _draw_predicted(axes, steps, label)
    note = (
        f"Left: one thread per process, {measured['machine']['cores']} cores of {measured['machine']['cpu']}, "
        f"{measured['run']['date'][:10]}. Middle and right: not measured; bands reach from the best case to the worst."
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
    bands = {
        "all pairs": ([r["walk_seconds"] for r in steps], WALK),
        f"{LANDMARKS} landmarks": ([r["with_landmarks"]["seconds"] for r in steps], LANDMARK),
        "communication": ([r["communication_seconds"] for r in steps], COMMUNICATION),
    }
    for name, (brackets, colour) in bands.items():
        low, high = ([1e3 * bracket[end] for bracket in brackets] for end in (0, 1))
        axes.fill_between(gpus, low, high, facecolor=colour + "4D", edgecolor=colour, label=name)
    columns = [1e3 * r["preparation_seconds"] for r in steps]
    axes.plot(gpus, columns, "--", color=PREPARATION, linewidth=1.5, label="preparing the columns")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    _style(axes, gpus)
    axes.set_xlabel(f"GPUs, {steps[0]['n_local']:,} patches on each")
    axes.set_title(f"PREDICTED, {GPU}, ms of each GPU\n{label}", loc="left", fontsize=11)


def _style(axes: Axes, numbers: Sequence[int]) -> None:
    """Makes both axes logarithmic, with `numbers` of processes or GPUs along x."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
