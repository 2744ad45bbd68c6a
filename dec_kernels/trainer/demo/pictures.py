"""What the demo draws of its trainings: crops of the held-out photographs, and curves over the steps."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn

from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.pixels import to_float
from dec_kernels.trainer.samples import BICUBIC, Crop, cut_sample, draw_samples, save_figure

_BRIGHTEST = 99.0
_COLORS = ("#4c566a", "#5e81ac", "#d08770")


def draw_grid(
    path: Path,
    crops: Sequence[Crop],
    pairs: Sequence[Pair],
    results: Mapping[str, Mapping[str, Tensor]],
    titles: Sequence[str],
    maps: Mapping[str, Mapping[str, Tensor]],
    lpips: Callable[[Tensor, Tensor], Tensor] | None,
) -> None:
    """Draws crops of LR | each method named in `titles` | HR | `maps`, with the crop's figures under each tile."""
    by_name = {pair.name: pair for pair in pairs}
    samples = []
    for image, top, left, size in crops:
        shown = {title: results[title][image] for title in titles}
        beside = {title: of_each[image] for title, of_each in maps.items()}
        samples.append(cut_sample(by_name[image], shown, top, left, size, beside))
    draw_samples(path, samples, lpips)


def pull_maps(dec: nn.Module, images: Mapping[str, Tensor], pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Where DECLoss would change images: the norm of its gradient at each pixel, as a color, black for none.

    White is the `_BRIGHTEST` percentile of all images.

    Args:
        dec: the loss of a batch (B, 3, H, W) and its ground truth.
        images: name -> (3, H, W) uint8.
        pairs: with the ground truth of each, by name.

    Returns:
        name -> (3, H, W) uint8.
    """
    norms = {}
    for pair in pairs:
        sr = to_float(images[pair.name])[None].requires_grad_()
        (gradient,) = torch.autograd.grad(dec(sr, to_float(pair.hr)[None]), sr)
        norms[pair.name] = gradient[0].norm(dim=0).numpy()
    white = np.percentile(np.concatenate([norm.ravel() for norm in norms.values()]), _BRIGHTEST)
    colored = {name: colormaps["magma"](norm / (white or 1.0), bytes=True)[..., :3] for name, norm in norms.items()}
    return {name: torch.from_numpy(image).permute(2, 0, 1) for name, image in colored.items()}


def read_curve(log: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one column of a CSVLogger's `metrics.csv`; empty if it was never logged."""
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
    """Draws training L1, training DEC loss and held-out Y-PSNR over the steps.

    Args:
        path: the picture to write.
        logs: training -> its `metrics.csv` and the step at which it took off from the one before it.
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
