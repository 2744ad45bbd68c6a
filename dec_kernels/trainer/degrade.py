"""`dec-train degrade`: a sheet of crops of photographs, each beside several degraded examples.

    dec-train degrade --input photographs --output sheet.png
    dec-train degrade --input photographs --output sheet.png --degradation BSRGAN --scale 2
    dec-train degrade --input photographs --output sheet.png --degradation.jpeg_range "[10, 30]"

It shows what a training with such a `data.degradation` sees, and what was done to each example.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dec_kernels.console import command_line
from dec_kernels.images import UnreadableImageError, list_images, read_header, some_of
from dec_kernels.trainer.data import Degradation, ImagePairs, Pair, Photo
from dec_kernels.trainer.data.cache import MemoryCache
from dec_kernels.trainer.data.degradation.base import sample_stream
from dec_kernels.trainer.data.degradation.steps import StepwiseDegradation
from dec_kernels.trainer.parser import SuggestingParser, shortened
from dec_kernels.trainer.pixels import to_uint8
from dec_kernels.trainer.ranges import NonNegativeInt, PositiveInt, Scale, check_arguments
from dec_kernels.trainer.samples import repeat_pixels, save_figure

_TILE = 2.6  # inches
_LINE = 0.125  # inches of a line of text


class Example(NamedTuple):
    """A degraded crop: (3, H, W) uint8 with a square for each low-resolution pixel, and the steps in words."""

    image: Tensor
    steps: list[str]


class Row(NamedTuple):
    """A crop as it is, (3, H, W) uint8, and degraded."""

    name: str
    hr: Tensor
    examples: list[Example]


def degrade(
    input: str,
    output: str | Path,
    degradation: Degradation,
    scale: Scale = 4,
    crop_size: PositiveInt = 256,
    examples: PositiveInt = 5,
    images: PositiveInt = 4,
    seed: NonNegativeInt = 0,
) -> None:
    """Draws the middle of photographs beside several degradations of it, and what was done to each.

    Args:
        input: image file, `skimage:NAME` for a photograph that scikit-image ships, or folder, which is searched at any
            depth.
        output: PNG file to write.
        degradation: what makes the examples, as in a config's `data.degradation`: a class's name, or its path.
        scale: high-resolution size / low-resolution size, 1 to 11.
        crop_size: height and width of a crop in pixels; a multiple of `scale`. A smaller photograph is taken whole.
        examples: how many of each crop.
        images: how many photographs at most, evenly spread over those that there are.
        seed: of the degradations, at least 0. Each example has a stream of its own, as a training's samples have.

    Raises:
        FileNotFoundError: there is no such file or folder, or it holds no image.
        OSError: `output` cannot be written.
        UnreadableImageError: a file cannot be read.
        ValueError: a number is out of its range, or a photograph is smaller than `scale`.
    """
    check_arguments(degrade, locals())
    if crop_size % scale:
        raise ValueError(f"crop_size must be a multiple of scale {scale}, got {crop_size}")
    listing = list_images(input)
    if listing.passed_over:
        _say(f"passed over {some_of(listing.passed_over)}")
    count = min(images, len(listing.images))
    chosen = [listing.images[i * len(listing.images) // count] for i in range(count)]
    pairs = open_pairs(chosen, degradation, scale)
    rows = [
        degraded(pairs, index, crop_size // scale, seed, range(index * examples, (index + 1) * examples))
        for index in range(len(pairs))
    ]
    draw(Path(output), rows)


def open_pairs(paths: Sequence[Path], degradation: Degradation, scale: int) -> ImagePairs:
    """Photographs whose low-resolution images `degradation` makes.

    Raises:
        ValueError: a file is no image, or has a side of fewer than `scale` pixels.
    """
    sizes = []
    for path in paths:
        height, width = read_header(path).size
        if min(height, width) < scale:
            raise ValueError(f"{path} has {height} x {width} pixels: too small for scale {scale}")
        sizes.append((height // scale, width // scale))
    photos = [Photo(path.stem, path, None) for path in paths]
    return ImagePairs(photos, sizes, scale, MemoryCache(), degradation)


def degraded(pairs: ImagePairs, index: int, size: int, seed: int, numbers: Sequence[int]) -> Row:
    """The middle `size` x `size` low-resolution pixels of a photograph, degraded as the samples of these numbers."""
    height, width = (min(size, side) for side in pairs.sizes[index])
    top, left = ((whole - part) // 2 for whole, part in zip(pairs.sizes[index], (height, width), strict=True))
    name, found = pairs.photos[index].name, []
    for k in numbers:
        hr, lr = pairs.crop(index, top, left, height, width, sample_stream(seed, k))
        steps: list[str] = []
        if isinstance(pairs.degradation, StepwiseDegradation):
            steps = [str(step) for step in pairs.degradation.draw(pairs.scale, sample_stream(seed, k))]
        found.append(Example(repeat_pixels(Pair(name, hr, lr)), steps))
    return Row(name, to_uint8(hr), found)


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draws rows with the same number of examples, one below the other."""
    lines = max(len(example.steps) for row in rows for example in row.examples)
    columns = 1 + len(rows[0].examples)
    figure = Figure(figsize=(_TILE * columns, (_TILE + _LINE * (lines + 2)) * len(rows)), dpi=120)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for cells, row in zip(axes, rows, strict=True):
        _show(cells[0], row.hr, row.name)
        for axis, example in zip(cells[1:], row.examples, strict=True):
            _show(axis, example.image, "\n".join(example.steps))
    figure.tight_layout(pad=0.3, w_pad=0.3, h_pad=0.6)
    save_figure(path, figure)


def _show(axis: Axes, image: Tensor, text: str) -> None:
    axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_anchor("N")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_xlabel(text, fontsize=7, parse_math=False, loc="left", labelpad=2)


def _say(message: str) -> None:
    print(f"dec-train degrade: {message}", file=sys.stderr)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `dec-train degrade`: 0 if the sheet is written, 2 if it cannot be."""
    parser = SuggestingParser(
        prog="dec-train degrade", description="Draw crops of photographs beside degraded examples of them."
    )
    parser.add_function_arguments(degrade, as_group=False, skip={"degradation"})
    parser.add_subclass_arguments(
        Degradation,
        "degradation",
        as_group=False,
        required=False,
        default={"class_path": "dec_kernels.trainer.data.degradation.RealESRGAN"},
        help="what makes the examples, as in a config's `data.degradation`: a class's name, or its path.",
    )
    settings = parser.parse_args(argv)
    try:
        degrade(**vars(parser.instantiate_classes(settings)))
    except BrokenPipeError:
        raise
    except (OSError, UnreadableImageError, ValueError) as error:
        _say(shortened(str(error)))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
