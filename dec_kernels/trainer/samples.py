"""Sample grids: the same place of an image in LR, by each method, and in HR."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.pixels import to_float, to_uint8
from dec_kernels.trainer.resize import imresize

BICUBIC = "Bicubic"
INPUT = "Input"  # at scale 1

_LABEL_LENGTH = 20  # characters of an image's name beside its row


class Sample(NamedTuple):
    """A row of the sample grid: one place of an image in several versions."""

    name: str
    tiles: dict[str, Tensor]  # heading -> (3, H, W) uint8, the ground truth last


def baseline(pair: Pair) -> tuple[str, Tensor]:
    """What a network has to beat, by name, as (3, scale * h, scale * w) uint8: MATLAB's bicubic, at scale 1 its input
    as it is."""
    return (INPUT, to_uint8(pair.lr)) if pair.scale == 1 else (BICUBIC, bicubic(pair))


def bicubic(pair: Pair) -> Tensor:
    """The low-resolution image upscaled by MATLAB's bicubic: (3, scale * h, scale * w) uint8."""
    return to_uint8(imresize(to_float(pair.lr), pair.scale))


def repeat_pixels(pair: Pair) -> Tensor:
    """The low-resolution image with each pixel as a square: (3, scale * h, scale * w) uint8."""
    return F.interpolate(to_uint8(pair.lr)[None], size=pair.hr.shape[-2:], mode="nearest")[0]


def cut_sample(pair: Pair, outputs: Mapping[str, Tensor], top: int, left: int, size: int) -> Sample:
    """A square of HR pixels from LR | each of `outputs` (method -> (3, H, W) uint8) | HR.

    At scale 1, these are the input and the target; an output that is the input by name is not shown twice.
    """
    start, end = (INPUT, "Target") if pair.scale == 1 else ("LR (nearest)", "HR")
    images = {start: repeat_pixels(pair), **outputs, end: to_uint8(pair.hr)}
    # A copy, so that the sample does not keep the whole images in memory.
    return Sample(
        pair.name, {title: image[:, top : top + size, left : left + size].clone() for title, image in images.items()}
    )


def draw_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Draws samples with the same headings one below the other, with the Y-PSNR of each tile under it."""
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


def save_figure(path: Path, figure: Figure) -> None:
    """Writes `figure` as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())
