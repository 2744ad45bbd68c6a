"""What comes of a sweep: the table and the figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dec_kernels.trainer.means import describe
from dec_kernels.trainer.metrics import METRICS
from dec_kernels.trainer.sweep.spec import Sweep

Results = dict[str, dict[str, Any]]  # run -> {"settings", "step", "epoch", "figures"} or {"settings", "error"}

_COLOR, _BEST_COLOR = "#5e81ac", "#d08770"
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
        both = [name for name in sweep.runs if all(name in figures[metric] for metric in figures)]
        if not both:
            raise ValueError(f"the plane needs {wanted} of one run. {' '.join(notes)}")
        figure = Figure(figsize=(6.4, 5.2), dpi=160, layout="constrained")
        _draw_plane(figure.subplots(), both, figures)
    else:
        figure = Figure(figsize=(1 + 5 * len(panels), 4.4), dpi=160, layout="constrained")
        draw_panel = {"line": _draw_line, "heatmap": _draw_heatmap}[sweep.figure.kind]
        for axis, metric in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw_panel(axis, sweep, metric, figures[metric])
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
    label, places, ticks = sweep.axis("x")
    names = sorted(figures, key=lambda name: places[name])
    axis.plot([places[name] for name in names], [figures[name] for name in names], "o-", color=_COLOR, linewidth=1.8)
    best = METRICS[metric].best(figures.values())
    away = 8 if METRICS[metric].higher_is_better else -15  # on the side where the best point has no lines
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
    axis.set_xticks([*ticks], [*ticks.values()], parse_math=False)
    axis.set_xlabel(label)
    axis.set_ylabel(_label(metric))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_heatmap(axis: Axes, sweep: Sweep, metric: str, figures: Mapping[str, float]) -> None:
    (x_label, x, x_ticks), (y_label, y, y_ticks) = sweep.axis("x"), sweep.axis("y")
    where = {name: ([*y_ticks].index(y[name]), [*x_ticks].index(x[name])) for name in figures}
    cells = np.full((len(y_ticks), len(x_ticks)), np.nan)
    for name, value in figures.items():
        cells[where[name]] = value
    # Bright is better in every panel.
    image = axis.imshow(cells, cmap="cividis" if METRICS[metric].higher_is_better else "cividis_r", origin="lower")
    best = METRICS[metric].best(figures.values())
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for name, value in figures.items():
        bright = (value > middle) == METRICS[metric].higher_is_better
        row, column = where[name]
        axis.text(
            column,
            row,
            METRICS[metric].text(value),
            ha="center",
            va="center",
            color="black" if bright else "white",
            fontweight="bold" if value == best else "normal",
        )
    axis.set_xticks(range(len(x_ticks)), [*x_ticks.values()])
    axis.set_yticks(range(len(y_ticks)), [*y_ticks.values()])
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.set_title(_label(metric), fontsize=11)
    axis.spines[:].set_visible(False)
    axis.figure.colorbar(image, ax=axis, shrink=0.8)


def _draw_plane(axis: Axes, names: Sequence[str], figures: Mapping[str, Mapping[str, float]]) -> None:
    distortion, perception = figures
    points = [(figures[distortion][name], figures[perception][name]) for name in names]
    axis.plot(*zip(*points, strict=True), "o-", color=_COLOR, linewidth=1.2, markersize=7)
    for name, point in zip(names, points, strict=True):
        axis.annotate(
            name, point, xytext=(7, -11), textcoords="offset points", fontsize=9, bbox=_ON_LINES, parse_math=False
        )
    axis.margins(0.15)
    x, y = (0.97 if METRICS[metric].higher_is_better else 0.03 for metric in figures)
    axis.annotate(
        "better",
        (x, y),
        (0.8 * x + 0.1, 0.8 * y + 0.1),
        "axes fraction",
        ha="center",
        color=_BEST_COLOR,
        arrowprops={"arrowstyle": "->", "color": _BEST_COLOR},
    )
    axis.set_xlabel(f"distortion: {_label(distortion)}")
    axis.set_ylabel(f"perception: {_label(perception)}")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
