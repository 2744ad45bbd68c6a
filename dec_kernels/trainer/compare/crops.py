"""Which squares of the images are shown: those chosen by hand, and those where the methods differ most."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dec_kernels.trainer.compare.results import ComparisonError
from dec_kernels.trainer.samples import Crop
from dec_kernels.trainer.wording import did_you_mean


class Place(NamedTuple):
    """A square of an image, in HR pixels, and how much the methods differ there: see `most_different`."""

    difference: float
    top: int
    left: int
    size: int


def parse_crop(text: str) -> Crop:
    """The square that `IMAGE:top,left,size` names.

    Raises:
        ComparisonError: `text` has another form.
    """
    match = re.fullmatch(r"(.+):(\d+),(\d+),(\d+)", text, re.DOTALL)
    if match is None:
        raise ComparisonError(f"--crop must be IMAGE:top,left,size with whole numbers of HR pixels, got {text!r}")
    return Crop(match[1], int(match[2]), int(match[3]), int(match[4]))


def check_crops(crops: Iterable[Crop], sizes: Mapping[str, tuple[int, int]], smallest: int) -> None:
    """Checks that each of `crops` lies in its image.

    Args:
        sizes: image -> height and width.
        smallest: pixels that a side of a crop must have at least.

    Raises:
        ComparisonError: there is no such image, or the crop does not lie in it, or is too small.
    """
    for image, top, left, size in crops:
        if image not in sizes:
            raise ComparisonError(f"--crop: there is no image {image!r}.{did_you_mean(image, sizes)}")
        height, width = sizes[image]
        if size < smallest:
            raise ComparisonError(f"--crop: {image} needs a size of at least {smallest}, got {size}")
        if top + size > height or left + size > width:
            raise ComparisonError(
                f"--crop: rows {top} to {top + size} and columns {left} to {left + size} do not lie in {image}, "
                f"which has {height} x {width} pixels"
            )


def most_different(images: Sequence[Tensor], size: int, border: int, count: int) -> list[Place]:
    """The squares where `images` differ most, which do not overlap; the one with the largest difference first.

    The difference of a square is the mean of (a - b)^2 over its pixels, its three channels and all pairs of images. All
    sums are of whole numbers, so that they are exact. Of equal differences, the topmost counts, then the leftmost.

    Args:
        images: at least two, (3, H, W) uint8.
        size: height and width of a square; smaller where `border` leaves fewer pixels.
        border: pixels at each side of the images that no square covers.
        count: how many squares at most; fewer where no more fit.
    """
    total, squares = np.zeros((2, *images[0].shape), np.int64)
    for image in images:
        values = image.numpy().astype(np.int64)
        total += values
        squares += values**2
    # The sum of (a - b)^2 over all pairs of n numbers is n times the sum of squares less the square of the sum.
    per_pixel = (len(images) * squares - total**2).sum(axis=0)
    inner = per_pixel[border : per_pixel.shape[0] - border, border : per_pixel.shape[1] - border]
    size = min(size, *inner.shape)
    sums = np.pad(inner, [(1, 0), (1, 0)]).cumsum(axis=0).cumsum(axis=1)
    windows = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    pairs = len(images) * (len(images) - 1) // 2
    places: list[Place] = []
    while len(places) < count and windows.max() >= 0:
        top, left = (int(at) for at in np.unravel_index(windows.argmax(), windows.shape))
        difference = windows[top, left].item() / (pairs * 3 * size**2)
        places.append(Place(difference, top + border, left + border, size))
        windows[max(0, top - size + 1) : top + size, max(0, left - size + 1) : left + size] = -1  # they would overlap
    return places
