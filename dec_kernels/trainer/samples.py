"""Sample grids: the same place of an image in LR, by each method, and in HR."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from dec_kernels.resize import imresize
from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.metrics import METRICS, measure
from dec_kernels.trainer.pixels import to_float, to_uint8

BICUBIC = "Bicubic"
INPUT = "Input"  # at scale 1

_LABEL_LENGTH = 20  # characters of the name of an image or method
_CENTRED: dict[str, Any] = {"ha": "center", "va": "top"}


class Crop(NamedTuple):
    """A square of an image that the sample grid shows: HR pixels."""

    image: str
    top: int
    left: int
    size: int


class Sample(NamedTuple):
    """A row of the sample grid: one place of an image in several versions.

    Attributes:
        name: of the image.
        tiles: heading -> (3, H, W) uint8, the ground truth last.
        maps: heading -> (3, H, W) uint8, what is shown of that place beside its versions.
    """

    name: str
    tiles: dict[str, Tensor]
    maps: Mapping[str, Tensor] = MappingProxyType({})


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


def cut_sample(
    pair: Pair, outputs: Mapping[str, Tensor], top: int, left: int, size: int, maps: Mapping[str, Tensor] | None = None
) -> Sample:
    """A square of HR pixels from LR | each of `outputs` (method -> (3, H, W) uint8) | HR, and from `maps`, alike.

    At scale 1, these are the input and the target; an output that is the input by name is not shown twice.
    """

    def cut(images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # A copy, so that the sample does not keep the whole images in memory.
        return {title: image[:, top : top + size, left : left + size].clone() for title, image in images.items()}

    start, end = (INPUT, "Target") if pair.scale == 1 else ("LR (nearest)", "HR")
    images = {start: repeat_pixels(pair), **outputs, end: to_uint8(pair.hr)}
    return Sample(pair.name, cut(images), cut(maps or {}))


def draw_samples(
    path: Path, samples: Sequence[Sample], lpips: Callable[[Tensor, Tensor], Tensor] | None = None
) -> None:
    """Draws samples with the same headings one below the other, with the Y-PSNR of each tile under it; maps come last.

    Args:
        path: the PNG to write.
        samples: at least one.
        lpips: as in `measure`; with it, the LPIPS of each tile stands beside its PSNR.
    """
    titles = [*samples[0].tiles, *samples[0].maps]
    captions = {"psnr_y": "{} dB"} | ({} if lpips is None else {"lpips": "LPIPS {}"})
    height = 2.35 + 0.2 * len(captions)
    figure = Figure(figsize=(2.3 * len(titles), height * len(samples) + 0.5), dpi=160)
    axes = figure.subplots(len(samples), len(titles), squeeze=False)
    for row, (name, tiles, maps) in zip(axes, samples, strict=True):
        *shown, truth = tiles.values()
        figures = [measure(tile, truth, border=0, lpips=lpips) for tile in shown]
        best = {metric: METRICS[metric].best(tile[metric] for tile in figures) for metric in captions}
        for axis, tile in zip(row, [*tiles.values(), *maps.values()], strict=True):
            axis.imshow(tile.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        row[len(shown)].set_xlabel("ground truth", fontsize=11, labelpad=4)
        for axis, found in zip(row, figures, strict=False):
            for line, (metric, caption) in enumerate(captions.items()):
                text = caption.format(METRICS[metric].text(found[metric]))
                weight = "bold" if found[metric] == best[metric] else "normal"
                if line == 0:
                    axis.set_xlabel(text, fontsize=11, fontweight=weight, labelpad=4)
                else:
                    axis.text(0.5, -0.14, text, fontsize=11, fontweight=weight, transform=axis.transAxes, **_CENTRED)
        row[0].set_ylabel(_shortened(name), fontsize=12, parse_math=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(_shortened(title), fontsize=13, pad=7, parse_math=False)
    figure.tight_layout(pad=0.6, w_pad=0.4, h_pad=0.9)
    save_figure(path, figure)


def _shortened(name: str) -> str:
    return name if len(name) <= _LABEL_LENGTH else f"…{name[1 - _LABEL_LENGTH :]}"


def save_figure(path: Path, figure: Figure) -> None:
    """Writes `figure` as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())
