"""What remains of a training: figures as tables, JSON and CSV, sample grids and curves as pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text
from torch import Tensor

from dec_kernels.jsontext import to_json
from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.data.sources import MEAN
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.means import LeftOut, describe, left_out, mean_figures
from dec_kernels.trainer.metrics import METRICS, measure, to_float, to_uint8
from dec_kernels.trainer.resize import imresize

BICUBIC = "Bicubic"

Rows = dict[str, dict[str, float]]  # image (or MEAN) -> metric -> value
Figures = dict[str, Rows]  # method -> rows


class Summary(NamedTuple):
    """Figures with each method's mean under ``MEAN``; what is left out of the means of each method; and that in words:
    of each method, in their order."""

    figures: Figures
    left_out: dict[str, LeftOut]
    notes: list[str]


_COLORS = ("#4c566a", "#5e81ac", "#d08770")
_LABEL_LENGTH = 20  # characters of an image's name beside its row of the sample grid


class Crop(NamedTuple):
    """A square of a photograph that the sample grid shows: HR pixels."""

    image: str
    top: int
    left: int
    size: int


class Sample(NamedTuple):
    """A row of the sample grid: one place of an image in several versions."""

    name: str
    tiles: dict[str, Tensor]  # heading -> (3, H, W) uint8, the ground truth last


def bicubic(pair: Pair) -> Tensor:
    """The low-resolution image upscaled by MATLAB's bicubic: (3, scale * h, scale * w) uint8."""
    return to_uint8(imresize(to_float(pair.lr), pair.scale))


def nearest(pair: Pair) -> Tensor:
    """The low-resolution image with each pixel as a square: (3, scale * h, scale * w) uint8."""
    return F.interpolate(to_uint8(pair.lr)[None], size=pair.hr.shape[-2:], mode="nearest")[0]


def compute_figures(pairs: Sequence[Pair], results: Mapping[str, Mapping[str, Tensor]]) -> Summary:
    """Measure each method's images: method -> image -> (3, H, W) uint8."""
    return summarize(
        {
            method: {pair.name: measure(images[pair.name], pair.hr, border=pair.scale) for pair in pairs}
            for method, images in results.items()
        }
    )


def summarize(figures: Figures) -> Summary:
    """``figures`` with their means, all methods having the same images."""
    left = {method: left_out(rows) for method, rows in figures.items()}
    notes = [note for method in figures for note in describe(method, left[method])]
    return Summary(
        {method: rows | {MEAN: mean_figures(rows.values())} for method, rows in figures.items()}, left, notes
    )


def metrics_table(
    figures: Figures, title: str = "PSNR in dB; a border of `scale` pixels left out", notes: Sequence[str] = ()
) -> Table:
    """The figures for the terminal, one block for each image, the best of a block in bold; and under it ``notes``."""
    metrics = [name for name in METRICS if any(name in row for rows in figures.values() for row in rows.values())]
    table = Table(title=title, title_justify="left", caption=Text("\n".join(notes)), caption_justify="left")
    for heading in ("image", "method"):
        table.add_column(heading)
    for name in metrics:
        table.add_column(METRICS[name].heading, justify="right")
    for image in next(iter(figures.values())):
        best = {name: METRICS[name].best(rows[image][name] for rows in figures.values()) for name in metrics}
        label = image
        for method, rows in figures.items():
            cells = []
            for name in metrics:
                value = rows[image][name]
                text = METRICS[name].text(value)
                cells.append(f"[bold]{text}[/bold]" if value == best[name] else text)
            table.add_row(Text(label), method, *cells)  # no markup: brackets in a name are its own
            label = ""
        table.add_section()
    return table


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` by :func:`~dec_kernels.jsontext.to_json`: figures that are not finite become null."""
    write_file(path, to_json(content).encode())


def write_csv(path: Path, rows: Rows) -> None:
    """Write one line for each image, under a heading."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["image", *next(iter(rows.values()))], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"image": image, **figures} for image, figures in rows.items())
    write_file(path, text.getvalue().encode())


def cut_sample(pair: Pair, outputs: Mapping[str, Tensor], top: int, left: int, size: int) -> Sample:
    """A square of HR pixels from LR | each of ``outputs`` (method -> (3, H, W) uint8) | HR."""
    images = {"LR (nearest)": nearest(pair), **outputs, "HR": to_uint8(pair.hr)}
    # A copy, so that the sample does not keep the whole images in memory.
    return Sample(
        pair.name, {title: image[:, top : top + size, left : left + size].clone() for title, image in images.items()}
    )


def draw_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Draw samples with the same headings one below the other, with the Y-PSNR of each tile under it."""
    titles = list(samples[0].tiles)
    figure = Figure(figsize=(2.3 * len(titles), 2.55 * len(samples) + 0.5), dpi=160)
    axes = figure.subplots(len(samples), len(titles), squeeze=False)
    for row, (name, tiles) in zip(axes, samples, strict=True):
        *shown, truth = tiles.values()
        psnr = [measure(tile, truth, border=0)["psnr_y"] for tile in shown]
        for axis, tile, value in zip(row, tiles.values(), [*psnr, None], strict=True):
            axis.imshow(tile.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            text = "ground truth" if value is None else f"{value:.2f} dB"
            weight = "bold" if value is not None and value == max(psnr) else "normal"
            axis.set_xlabel(text, fontsize=11, fontweight=weight, labelpad=4)
        label = name if len(name) <= _LABEL_LENGTH else f"…{name[1 - _LABEL_LENGTH :]}"
        row[0].set_ylabel(label, fontsize=12, parse_math=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=13, pad=7)
    figure.tight_layout(pad=0.6, w_pad=0.4, h_pad=0.9)
    save_figure(path, figure)


def draw_grid(
    path: Path,
    crops: Sequence[Crop],
    pairs: Sequence[Pair],
    results: Mapping[str, Mapping[str, Tensor]],
    titles: Sequence[str],
) -> None:
    """Draw crops of LR | each method named in ``titles`` | HR, with the crop's Y-PSNR under each tile."""
    by_name = {pair.name: pair for pair in pairs}
    samples = []
    for image, *place in crops:
        samples.append(cut_sample(by_name[image], {title: results[title][image] for title in titles}, *place))
    draw_samples(path, samples)


def read_curve(log: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one column of a CSVLogger's ``metrics.csv``; empty if it was never logged."""
    with log.open(newline="") as file:
        rows = [(int(row["step"]) + 1, float(row[key])) for row in csv.DictReader(file) if row.get(key)]
    return [step for step, _ in rows], [value for _, value in rows]


def pull_ratio(log: Path) -> float:
    """How hard DECLoss pulled at the output compared with L1: the ratio of their mean gradient norms.

    Steps at which one is not finite are left out: float16's loss scale begins with such. NaN if L1 never pulled.
    """
    dec, l1 = (dict(zip(*read_curve(log, f"train/{name}_pull"), strict=True)) for name in ("dec", "l1"))
    both = [(dec[step], l1[step]) for step in dec.keys() & l1 if math.isfinite(dec[step] + l1[step])]
    pulls = [math.fsum(pull) for pull in zip(*both, strict=True)]
    return pulls[0] / pulls[1] if pulls and pulls[1] else math.nan


def draw_curves(path: Path, logs: Mapping[str, tuple[Path, int]], bicubic_psnr: float) -> None:
    """Draw training L1, training DEC loss and held-out Y-PSNR over the steps.

    Args:
        path: the picture to write.
        logs: training -> its ``metrics.csv`` and the step at which it took off from the one before it.
        bicubic_psnr: mean Y-PSNR of bicubic on the held-out photographs, in dB; drawn if it is finite.
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
    if math.isfinite(bicubic_psnr):
        psnr.axhline(bicubic_psnr, color="black", linestyle="--", linewidth=1, label=BICUBIC)
        psnr.set_ylim(bottom=bicubic_psnr - 1.5)  # the first validations, far below, would flatten all that matters
    for axis in axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    save_figure(path, figure)


def smooth(values: Sequence[float]) -> list[float]:
    """Running mean over a twelfth of the curve, narrower at its ends; as many values as came in."""
    radius = max(1, len(values) // 24)
    return [float(np.mean(values[max(0, i - radius) : i + radius + 1])) for i in range(len(values))]


def save_figure(path: Path, figure: Figure) -> None:
    """Write ``figure`` as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())
