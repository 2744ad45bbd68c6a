"""Draws the curves over the threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

from dec_kernels.doctor.facts import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"l2": "#0072B2", "rmse": "#D55E00"}  # of Okabe and Ito's palette, which the colour-blind tell apart
TITLES = {
    "alone": "Rows that are their own only positive",
    "positives": "Mean positives per row",
    "loss": "Loss L",
    "gradient_ratio": "Gradient norm, DECLoss / L1",
}


def draw(facts: Facts, path: Path) -> None:
    """Writes the curves of both distances as PNG."""
    sweep, settings = facts["sweep"], facts["settings"]
    figure = Figure(figsize=(10, 6.6), dpi=150, layout="constrained")
    for axes, (key, title) in zip(figure.subplots(2, 2, sharex=True).flat, TITLES.items(), strict=True):
        for distance, curve in sweep["curves"].items():
            values = [float("nan") if value is None else value for value in curve[key]]  # type: ignore[literal-required]
            axes.plot(
                sweep["thresholds"],
                values,
                "o-",
                color=COLOURS[distance],
                linewidth=2.4 if distance == settings["distance"] else 1.5,
                markersize=3.5,
                label=distance,
            )
        axes.axvline(settings["threshold"], color="#555555", linestyle="--", linewidth=1)
        _style(axes, title)
    alone, positives, loss, ratio = figure.axes
    alone.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    alone.set_ylim(-0.03, 1.03)
    positives.set_yscale("log")
    positives.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    positives.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    positives.yaxis.set_minor_locator(NullLocator())
    ratio.set_ylim(bottom=0)
    for axes in (loss, ratio):
        axes.set_xlabel("threshold, dB")
    alone.legend(frameon=False, title="distance")
    chosen = f"{settings['threshold']:g} dB, {settings['distance']}"
    figure.suptitle(
        f"DECLoss over the threshold (dashed: {chosen}, as chosen)", x=0.01, ha="left", fontsize=13, fontweight="bold"
    )
    figure.supxlabel(_note(facts), fontsize=8, color="#666666", x=0.01, ha="left")
    figure.savefig(path, format="png")


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _note(facts: Facts) -> str:
    sweep, read = facts["sweep"], facts["input"]
    return (
        f"P = {facts['settings']['patch_size']}, D = {read['patch_values']}, n = {read['patches']:,} patches. "
        f"Top: positives of {sweep['rows']:,} rows. Bottom: loss of the first {sweep['loss_patches']:,} patches."
    )
