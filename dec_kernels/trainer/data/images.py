"""Image files in: which files a source names, and their pixels."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SKIMAGE = "skimage:"

_SKIMAGE_FOLDER = Path(skimage.__file__).parent / "data"
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # what Pillow turns into RGB unharmed
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on, the photograph lies on its side
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR = 258, 262, 284  # TIFF's tags
_BLACK_IS_0_OR_RGB = (1, 2)


class UnreadableImageError(ValueError):
    """A file is not an image that can be read; the message names it."""


def find_images(source: str) -> list[Path]:
    """The image files that ``source`` names, sorted: a file, those of a folder at any depth, or ``skimage:NAME``.

    Links to folders are followed. Files and folders whose name begins with a dot are passed over.

    Raises:
        FileNotFoundError: there is no such file, folder or shipped photograph, or the folder holds no image.
    """
    if source.startswith(SKIMAGE):
        name = source.removeprefix(SKIMAGE)
        found = [path for path in _images_in(_SKIMAGE_FOLDER) if path.stem == name]
        if not found:
            shipped = ", ".join(path.stem for path in _images_in(_SKIMAGE_FOLDER))
            raise FileNotFoundError(f"scikit-image ships no image {name!r}; it ships {shipped}")
        return found
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no file or folder {source!r} (a photograph of scikit-image is written {SKIMAGE}NAME)")
    found = _images_in(path)
    if not found:
        raise FileNotFoundError(f"folder {source!r} holds no image; looked for {', '.join(SUFFIXES)}")
    return found


def _images_in(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the image that :func:`read_image` returns, from the file's header alone.

    Raises:
        UnreadableImageError: this is no image of a kind that can be read.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _bits(image)
            # Pillow turns a TIFF's size itself, has no such info of it, and would search all of a PNG that has none.
            turned = "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
            return image.size if turned else image.size[::-1]
    except Exception as error:  # decoders of broken files raise nearly anything
        raise UnreadableImageError(f"cannot read {path} as an image: {error}") from error


def read_image(path: Path) -> Tensor:
    """An image file as RGB.

    Gray becomes three equal channels, a palette its colours. An alpha channel is dropped: the colours are those stored,
    blended with nothing. EXIF's orientation is applied. Of a file with several images the first is read.

    Returns:
        (3, H, W) uint8, or uint16 if the file has 16 bits a channel: a view of (H, W, 3) in memory.

    Raises:
        UnreadableImageError: the file cannot be read, all of it.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # Pillow would silently drop the lower half of 16 bits; OpenCV tells less of what is wrong with a file.
            pixels = (
                _read_16_bits(path) if _bits(image) == 16 else np.array(ImageOps.exif_transpose(image).convert("RGB"))
            )
    except Exception as error:
        raise UnreadableImageError(f"cannot read {path} as an image: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _bits(image: Image.Image) -> int:
    """8 or 16 bits a channel, 8 standing for fewer too; ValueError for what cannot be read as RGB of either."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = max(np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 1)))
        if bits == 16 and (tags.get(_PHOTOMETRIC) not in _BLACK_IS_0_OR_RGB or tags.get(_PLANAR, 1) != 1):
            raise ValueError("a TIFF of 16 bits must be gray (0 is black) or RGB, with interleaved channels")
    else:
        bits = 16 if ";16" in str(image.tile) else 8  # type: ignore[attr-defined]
    if bits > 8 and bits != 16:
        raise ValueError(f"it has {bits} bits a channel, not 8 or 16")
    if bits <= 8 and image.mode not in _MODES:
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}, not one of {', '.join(_MODES)}")
    return max(8, bits)


def _read_16_bits(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it as 16 bits a channel")
    return np.ascontiguousarray(pixels[..., ::-1])
