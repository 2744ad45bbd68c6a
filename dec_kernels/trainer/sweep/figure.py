"""What comes of a sweep: the table and the figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dec_kernels.trainer.means import describe
from dec_kernels.trainer.metrics import METRICS
from dec_kernels.trainer.sweep.spec import Sweep

Results = dict[str, dict[str, Any]]  # run -> {"settings", "step", "epoch", "figures"} or {"settings", "error"}

_COLORS = ("#5e81ac", "#bf616a", "#4c8c6b", "#b48ead")
_BEST_COLOR = "#d08770"
_ON_LINES = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}  # keeps numbers legible there


def measured(results: Results, metric: str) -> dict[str, float]:
    """Run -> figure, for the runs where it is there and finite."""
    figures = {name: result.get("figures", {}).get(metric) for name, result in results.items()}
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def results_table(sweep: Sweep, results: Results) -> Table:
    """The figures for the terminal, a row for each run, the best of each column in bold; what means are without."""
    left = {name: results[name]["left_out"] for name in sweep.runs if "left_out" in results.get(name, {})}
    notes = "\n".join(note for name in left for note in describe(name, left[name]))
    table = Table(
        title=escape(f"{sweep.title} (PSNR in dB)"), title_justify="left", caption=Text(notes), caption_justify="left"
    )
    table.add_column("run")
    columns = {metric: figures for metric in METRICS if (figures := measured(results, metric))}
    for metric in columns:
        table.add_column(METRICS[metric].heading, justify="right")
    for name in sweep.runs:
        cells = []
        for metric, figures in columns.items():
            text = METRICS[metric].text(figures[name]) if name in figures else "-"
            is_best = figures.get(name) == METRICS[metric].best(figures.values())
            cells.append(f"[bold]{text}[/bold]" if is_best else text)
        table.add_row(escape(name), *cells)
    return table


def draw(sweep: Sweep, results: Results) -> Figure:
    """The sweep's figure. What was not measured is left out, and the picture says so.

    Raises:
        ValueError: nothing that the figure shows was measured.
    """
    figures: dict[str, dict[str, float]] = {metric: measured(results, metric) for metric in sweep.figure.metrics}
    panels = [metric for metric in figures if figures[metric]]
    wanted = " and ".join(METRICS[metric].heading for metric in sweep.figure.metrics)
    if not panels:
        raise ValueError(f"{wanted} were measured in no run")
    notes = [f"{METRICS[metric].heading} was not measured." for metric in figures if not figures[metric]]
    if sweep.figure.kind == "plane":
        if not any(all(name in figures[metric] for metric in figures) for name in sweep.runs):
            raise ValueError(f"the plane needs {wanted} of one run. {' '.join(notes)}")
        figure = Figure(figsize=(6.4, 5.2), dpi=160, layout="constrained")
        _draw_plane(figure.subplots(), sweep, figures)
    else:
        figure = Figure(figsize=(1 + 5 * len(panels), 4.4), dpi=160, layout="constrained")
        for axis, metric in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_line(axis, sweep, metric, figures[metric])
    figure.suptitle(sweep.title, fontsize=13)
    absent = [name for name in sweep.runs if any(name not in figures[metric] for metric in panels)]
    if absent:
        notes.append(f"Without figures: {', '.join(absent)}.")
    if notes:
        figure.supxlabel(" ".join(notes), fontsize=9, color=_BEST_COLOR, wrap=True, parse_math=False)
    return figure


def _label(metric: str) -> str:
    unit = " [dB]" if metric.startswith("psnr") else ""
    return f"{METRICS[metric].heading}{unit} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def _draw_line(axis: Axes, sweep: Sweep, metric: str, figures: Mapping[str, float]) -> None:
    best = METRICS[metric].best(figures.values())
    away = 8 if METRICS[metric].higher_is_better else -15  # on the side where the best point has no lines
    for color, (line, series) in zip(cycle(_COLORS), sweep.lines.items(), strict=False):
        places = sweep.places(series)
        names = sorted((name for name in places if name in figures), key=places.__getitem__)
        values = [figures[name] for name in names]
        axis.plot([places[name] for name in names], values, "o-", color=color, linewidth=1.8, label=line)
        for name in names:
            if figures[name] == best:
                axis.plot(places[name], best, "o", color=_BEST_COLOR, markersize=9)
            axis.annotate(
                METRICS[metric].text(figures[name]),
                (places[name], figures[name]),
                xytext=(0, away),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox=_ON_LINES,
                fontweight="bold" if figures[name] == best else "normal",
            )
    axis.margins(x=0.08, y=0.15)
    ticks = sweep.ticks()
    axis.set_xticks([*ticks], [*ticks.values()], parse_math=False)
    assert sweep.figure.x
    axis.set_xlabel(sweep.figure.x.label)
    axis.set_ylabel(_label(metric))
    _finish(axis, sweep, "best")


def _draw_plane(axis: Axes, sweep: Sweep, figures: Mapping[str, Mapping[str, float]]) -> None:
    distortion, perception = figures
    for color, (line, series) in zip(cycle(_COLORS), sweep.lines.items(), strict=False):
        names = [name for name in series.runs if all(name in figures[metric] for metric in figures)]
        x, y = ([figures[metric][name] for name in names] for metric in (distortion, perception))
        axis.plot(x, y, "o-", color=color, linewidth=1.2, markersize=7, label=line)
        for name, point in zip(names, zip(x, y, strict=True), strict=True):
            axis.annotate(
                name, point, xytext=(7, -11), textcoords="offset points", fontsize=9, bbox=_ON_LINES, parse_math=False
            )
    axis.margins(0.15)
    right, top = (0.97 if METRICS[metric].higher_is_better else 0.03 for metric in figures)
    axis.annotate(
        "better",
        (right, top),
        (0.8 * right + 0.1, 0.8 * top + 0.1),
        "axes fraction",
        ha="center",
        color=_BEST_COLOR,
        arrowprops={"arrowstyle": "->", "color": _BEST_COLOR},
    )
    axis.set_xlabel(f"distortion: {_label(distortion)}")
    axis.set_ylabel(f"perception: {_label(perception)}")
    _finish(axis, sweep, "upper left")  # the worst corner, if the second metric is better when lower


def _finish(axis: Axes, sweep: Sweep, legend: Literal["best", "upper left"]) -> None:
    if sweep.figure.series:
        for text in axis.legend(fontsize=9, loc=legend).get_texts():
            text.set_parse_math(False)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
