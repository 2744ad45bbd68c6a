"""What remains of a demo run: the figures as a table and JSON, the sample grid and the loss curves as pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.metrics import METRICS, measure, to_float, to_uint8
from dec_kernels.trainer.resize import imresize

BICUBIC = "Bicubic"

Figures = dict[str, dict[str, dict[str, float]]]  # method -> image (or "mean") -> metric -> value

_HEADINGS = {"psnr_y": "PSNR Y", "psnr_rgb": "PSNR RGB", "ssim_y": "SSIM Y", "ssim_rgb": "SSIM RGB"}
_COLORS = ("#4c566a", "#5e81ac", "#d08770")


class Crop(NamedTuple):
    """A square of a photograph that the sample grid shows: HR pixels."""

    image: str
    top: int
    left: int
    size: int


def bicubic(pair: Pair) -> Tensor:
    """The low-resolution image upscaled by MATLAB's bicubic: (3, scale * h, scale * w) uint8."""
    return to_uint8(imresize(to_float(pair.lr), pair.hr.shape[-1] / pair.lr.shape[-1]))


def nearest(pair: Pair) -> Tensor:
    """The low-resolution image with each pixel as a square: (3, scale * h, scale * w) uint8."""
    return F.interpolate(pair.lr[None], size=pair.hr.shape[-2:], mode="nearest")[0]


def compute_figures(pairs: Sequence[Pair], results: Mapping[str, Mapping[str, Tensor]]) -> Figures:
    """Measure each method's images (method -> image -> (3, H, W) uint8), with their mean under ``"mean"``."""
    figures: Figures = {}
    for method, images in results.items():
        rows = {
            pair.name: measure(images[pair.name], pair.hr, border=pair.hr.shape[-1] // pair.lr.shape[-1])
            for pair in pairs
        }
        rows["mean"] = {metric: float(np.mean([row[metric] for row in rows.values()])) for metric in METRICS}
        figures[method] = rows
    return figures


def metrics_table(figures: Figures) -> Table:
    """The figures for the terminal, one block for each image; the best of a block is bold."""
    table = Table(title="Held-out photographs, x4 (PSNR in dB, border of 4 pixels left out)", title_justify="left")
    for heading in ("image", "method"):
        table.add_column(heading)
    for metric in METRICS:
        table.add_column(_HEADINGS[metric], justify="right")
    for image in figures[BICUBIC]:
        best = {metric: max(rows[image][metric] for rows in figures.values()) for metric in METRICS}
        for method, rows in figures.items():
            cells = []
            for metric in METRICS:
                value = rows[image][metric]
                text = f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"
                cells.append(f"[bold]{text}[/bold]" if value == best[metric] else text)
            table.add_row(image if method == BICUBIC else "", method, *cells)
        table.add_section()
    return table


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def draw_grid(
    path: Path,
    crops: Sequence[Crop],
    pairs: Sequence[Pair],
    results: Mapping[str, Mapping[str, Tensor]],
    titles: Sequence[str],
) -> None:
    """Draw crops of LR | each method named in ``titles`` | HR, with the crop's Y-PSNR under each tile."""
    by_name = {pair.name: pair for pair in pairs}
    columns = ["LR (nearest)", *titles, "HR"]
    figure = Figure(figsize=(2.3 * len(columns), 2.55 * len(crops) + 0.5), dpi=160)
    axes = figure.subplots(len(crops), len(columns), squeeze=False)
    for row, crop in zip(axes, crops, strict=True):
        pair = by_name[crop.image]
        images = [nearest(pair), *(results[title][crop.image] for title in titles), pair.hr]
        window = (slice(None), slice(crop.top, crop.top + crop.size), slice(crop.left, crop.left + crop.size))
        psnr = [measure(image[window], pair.hr[window], border=0)["psnr_y"] for image in images[:-1]]
        for axis, image, value in zip(row, images, [*psnr, None], strict=True):
            axis.imshow(image[window].permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            text = "ground truth" if value is None else f"{value:.2f} dB"
            weight = "bold" if value is not None and value == max(psnr) else "normal"
            axis.set_xlabel(text, fontsize=11, fontweight=weight, labelpad=4)
        row[0].set_ylabel(crop.image, fontsize=12)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=13, pad=7)
    figure.tight_layout(pad=0.6, w_pad=0.4, h_pad=0.9)
    figure.savefig(path)


def read_curve(log: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one column of a CSVLogger's ``metrics.csv``; empty if it was never logged."""
    with log.open(newline="") as file:
        rows = [(int(row["step"]) + 1, float(row[key])) for row in csv.DictReader(file) if row.get(key)]
    return [step for step, _ in rows], [value for _, value in rows]


def pull_ratio(log: Path) -> float:
    """How hard DECLoss pulled at the output compared with L1: the ratio of their mean gradient norms."""
    dec, l1 = (np.mean(read_curve(log, f"train/{name}_pull")[1]) for name in ("dec", "l1"))
    return float(dec / l1)


def draw_curves(path: Path, logs: Mapping[str, tuple[Path, int]], bicubic_psnr: float) -> None:
    """Draw training L1, training DEC loss and held-out Y-PSNR over the steps.

    Args:
        path: the picture to write.
        logs: training -> its ``metrics.csv`` and the step at which it took off from the one before it.
        bicubic_psnr: mean Y-PSNR of bicubic on the held-out photographs, in dB.
    """
    panels = {"train/l1": "L1 loss, running mean", "train/dec": "DEC loss, running mean", "val/psnr_y": "Y-PSNR [dB]"}
    figure = Figure(figsize=(13, 3.9), dpi=160)
    axes = figure.subplots(1, len(panels))
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        ends: dict[int, float] = {}  # the step at which each curve ends -> its last value
        for color, (name, (log, start)) in zip(_COLORS, logs.items(), strict=False):
            steps, values = read_curve(log, key)
            if not steps:
                continue
            steps = [start + step for step in steps]
            if key == "val/psnr_y":
                if start in ends:
                    steps, values = [start, *steps], [ends[start], *values]
                ends[steps[-1]] = values[-1]
            else:
                values = smooth(values)
            axis.plot(steps, values, color=color, linewidth=1.8, label=name)
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for axis, title in zip(axes, ("training crops", "training crops, stage 2", "held-out photographs"), strict=True):
        axis.set_title(title, fontsize=11)
    psnr = axes[-1]
    psnr.axhline(bicubic_psnr, color="black", linestyle="--", linewidth=1, label=BICUBIC)
    psnr.set_ylim(bottom=bicubic_psnr - 1.5)  # the first validations, far below, would flatten all that matters
    for axis in axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path)


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over a twelfth of the curve, narrower at its ends; as many values as came in."""
    radius = max(1, len(values) // 24)
    return [float(np.mean(values[max(0, i - radius) : i + radius + 1])) for i in range(len(values))]
