"""Plots time and memory over n with logarithmic axes; the legend shows the fitted exponents."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmarks.results import DIM, FIT_FROM, FLOOR, MIB, OURS, Results, curve, slope

# Okabe and Ito's palette, which colour-blind people can tell apart, and Tol's wine for what it has no colour left for.
COLOURS = {
    "triton": "#56B4E9",
    "cpp": "#0072B2",
    "cpp_bf16": "#56B4E9",
    "cpp_landmarks": "#882255",
    "torch": "#009E73",
    "eager": "#D55E00",
    "compile": "#CC79A7",
    "keops": "#F0E442",
    "products_six": "#000000",
    "chunked_256": "#E69F00",
    "cublas_triton_32": "#999999",
    "landmarks": "#882255",
}
CHUNKED = "#E69F00"
AXES = {
    "time": ("Time of the loss and its gradient", "seconds", 1.0),
    "memory": ("Extra memory of the loss and its gradient", "MiB", 1 / MIB),
}


class Line(NamedTuple):
    """The line of one competitor.

    Attributes:
        label: its name in the legend.
        points: n -> seconds or bytes.
        colour: of the line.
        ours: whether this package computes it; its line is thicker.
        floor: whether it is a lower bound; its line is dotted.
    """

    label: str
    points: dict[int, float]
    colour: str
    ours: bool
    floor: bool = False


def lines(results: Results, measure: str) -> list[Line]:
    """The lines of the comparison on the CPU."""
    return [
        Line(label, curve(results, measure, name), COLOURS.get(name, CHUNKED), name in OURS, name in FLOOR)
        for name, label in results["labels"].items()
    ]


def note(results: Results) -> str:
    """The conditions of the comparison, for the caption."""
    return f"D = {DIM}, float32 images, {results['machine']['threads']} CPU threads."


def draw(measure: str, lines: Sequence[Line], note: str, path: Path) -> None:
    """Writes the plot of `measure`, "time" or "memory", as PNG."""
    title, unit, scale = AXES[measure]
    figure = Figure(figsize=(9.6, 5.0), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    sizes = sorted({n for line in lines for n in line.points})
    drawn = []
    for line in lines:
        if len(line.points) < 2:
            continue
        values = [value * scale for value in line.points.values()]
        exponent = slope(line.points)
        (handle,) = axes.plot(
            list(line.points),
            values,
            ":" if line.floor else "o-",
            color=line.colour,
            linewidth=2.4 if line.ours else 1.5,
            markersize=4,
            label=f"{line.label}  $n^{{{exponent:.2f}}}$" if exponent else line.label,
        )
        # The legend has the order of the lines' values at the largest n, extrapolated if a line ends before.
        drawn.append((values[-1] * (sizes[-1] / list(line.points)[-1]) ** (exponent or 0), handle))

    handles = [handle for _, handle in sorted(drawn, key=lambda item: item[0], reverse=True)]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelspacing=0.9)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=30)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("n, patches in the batch")
    axes.set_title(f"{title}, {unit}", loc="left", fontsize=12, fontweight="bold")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=9)

    note += f" Exponents are fitted from n = {FIT_FROM:,} on. A line ends where a call would take too long or too much."
    figure.supxlabel(note, fontsize=8, color="#666666", x=0.01, ha="left")
    figure.savefig(path)
