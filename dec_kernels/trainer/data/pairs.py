"""Photographs at both resolutions, whole or a crop at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dec_kernels.images import UnreadableImageError, other_than_srgb, read_header
from dec_kernels.resize import downscale
from dec_kernels.trainer.data.cache import Reader
from dec_kernels.trainer.data.degradation.base import Degradation, image_stream
from dec_kernels.trainer.data.sources import Photo

_BLOCK = 8  # pixels of a side of a block of JPEG


class Pair(NamedTuple):
    """A photograph at both resolutions: hr (3, scale * h, scale * w) and lr (3, h, w), each uint8 or uint16."""

    name: str
    hr: Tensor
    lr: Tensor

    @property
    def scale(self) -> int:
        return self.hr.shape[-1] // self.lr.shape[-1]


def make_pair(name: str, image: Tensor, scale: int) -> Pair:
    """Crops (3, H, W) uint8 or uint16 at the bottom and right to multiples of `scale`, and makes its LR image.

    Raises:
        ValueError: a side of `image` has fewer than `scale` pixels.
    """
    height, width = (size // scale for size in image.shape[-2:])
    if not (height and width):
        raise ValueError(f"{name} has {image.shape[-2]} x {image.shape[-1]} pixels: too small for scale {scale}")
    hr = image[:, : height * scale, : width * scale]
    return Pair(name, hr, downscale(hr, scale))


class Facts(NamedTuple):
    """What the headers of a photograph's files say.

    Attributes:
        size: height and width of the low-resolution image.
        profiles: file -> name of its ICC profile, where it has one other than sRGB.
    """

    size: tuple[int, int]
    profiles: dict[Path, str]


def inspect(photo: Photo, scale: int, smallest: int) -> Facts:
    """What the headers of a photograph's files say.

    Args:
        smallest: pixels that each side of the high-resolution image must have at least.

    Raises:
        ValueError: a file cannot be read, is too small, or the sizes of the two are not those of a pair.
    """
    headers = {path: read_header(path) for path in (photo.hr, photo.lr) if path is not None}
    height, width = headers[photo.hr].size
    if min(height, width) < smallest:
        raise ValueError(f"{photo.hr} has {height} x {width} pixels, too few: {smallest} x {smallest} are needed")
    size = height // scale, width // scale
    if photo.lr is not None and (found := headers[photo.lr].size) != size:
        message = (
            f"{photo.lr} has {found[0]} x {found[1]} pixels: scale {scale} makes {size[0]} x {size[1]} "
            f"of the {height} x {width} of {photo.hr}"
        )
        if found == (height, width):
            message += ". Both have one size, as in RealSR's versions 1 and 2: its version 3 has the smaller images"
        raise ValueError(message)
    names = {path: other_than_srgb(header.profile) for path, header in headers.items()}
    return Facts(size, {path: name for path, name in names.items() if name is not None})


class ImagePairs(Sequence[Pair]):
    """Photographs that are read when they are asked for.

    A low-resolution image that has no file is made from the high-resolution one: by `downscale`, so that the crop of
    a pair is exactly the pair's crop, or by `degradation`. High-resolution images are cropped at the bottom and right
    to multiples of `scale`.

    Args:
        photos: the files.
        sizes: height and width of each low-resolution image.
        scale: high-resolution size / low-resolution size.
        read: how files are read.
        degradation: how low-resolution images are made; None for MATLAB's bicubic.
        seed: of the degradation of whole images. That of an image is a function of the seed and the image's name.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        sizes: Sequence[tuple[int, int]],
        scale: int,
        read: Reader,
        degradation: Degradation | None = None,
        seed: int = 0,
    ) -> None:
        self.photos = photos
        self.sizes = sizes
        self.scale = scale
        self.read = read
        self.degradation = degradation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Pair:  # type: ignore[override]
        name = self.photos[index].name
        hr, lr = self.crop(index, 0, 0, *self.sizes[index], image_stream(self.seed, name))
        return Pair(name, hr, lr)

    def crop(
        self, index: int, top: int, left: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """A crop of a photograph at both resolutions: hr and lr. Its place and size are given in LR pixels.

        Args:
            rng: the random numbers of the degradation, if there is one.

        Raises:
            UnreadableImageError: a file cannot be read, all of it, or has another size than it had; the message names
                it.
        """
        photo, scale = self.photos[index], self.scale
        image = self._read(photo.hr, index, scale)
        hr = image[:, top * scale : (top + height) * scale, left * scale : (left + width) * scale]
        if photo.lr is not None:
            return hr, self._read(photo.lr, index, 1)[:, top : top + height, left : left + width]
        if self.degradation is None:
            return hr, downscale(image, scale, range(top, top + height), range(left, left + width))
        margin = -(-self.degradation.context // scale)
        rows, columns = (
            _around(start, start + length, margin, size)
            for start, length, size in zip((top, left), (height, width), self.sizes[index], strict=True)
        )
        around = image[:, rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        above, before = top - rows.start, left - columns.start
        return hr, self._degrade(around, rng)[:, above : above + height, before : before + width]

    def _degrade(self, hr: Tensor, rng: np.random.Generator) -> Tensor:
        assert self.degradation is not None
        lr = self.degradation(hr, self.scale, rng)
        wanted = (3, hr.shape[-2] // self.scale, hr.shape[-1] // self.scale)
        if tuple(lr.shape) != wanted or lr.dtype != hr.dtype:
            raise ValueError(
                f"the degradation {type(self.degradation).__name__} made {tuple(lr.shape)} {lr.dtype} of "
                f"{tuple(hr.shape)} {hr.dtype} at scale {self.scale}: wanted is {wanted} {hr.dtype}"
            )
        return lr

    def _read(self, path: Path, index: int, scale: int) -> Tensor:
        image = self.read(path)
        found, (height, width) = tuple(image.shape[-2:]), self.sizes[index]
        if (found[0] // scale, found[1] // scale) != (height, width):
            raise UnreadableImageError(
                f"{path} has {found[0]} x {found[1]} pixels now, and had "
                f"{height * scale} x {width * scale} (multiples of the scale) when the files were listed"
            )
        return image


def _around(start: int, stop: int, margin: int, size: int) -> range:
    """From `start` to `stop` and `margin` more at each side, of 0 to `size`.

    With a margin, it begins at a multiple of 8, where a block of the whole image's JPEG would: so JPEG's blocks lie
    anywhere in a crop.
    """
    if not margin:
        return range(start, stop)
    return range(max(0, start - margin) // _BLOCK * _BLOCK, min(size, stop + margin))
