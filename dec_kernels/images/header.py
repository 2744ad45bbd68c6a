"""Reads what is known of an image file before its pixels are decoded; the pixels then agree with it."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = "DEC_KERNELS_MAX_PIXELS"
"""The environment variable with the largest number of pixels that an image may have."""

_DEFAULT_MAX_PIXELS = 178_956_970  # from here on Pillow treats a file as an attack
_OPENCVS_LIMIT = 2**30  # pixels
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # that Pillow converts to RGB without loss
ORIENTATION = 0x0112  # EXIF's tag
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 256, 257, 258, 262, 284, 339  # TIFF's tags
_BLACK_IS_0_OR_RGB = (1, 2)
_UNSIGNED = (1, 4)  # 4 is "undefined"
_PNG_TEXTS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks that may hold an orientation


class UnreadableImageError(ValueError):
    """A file cannot be read as an image; the message names the file and the reason."""


class Header(NamedTuple):
    """What is known of an image file before its pixels are decoded.

    Attributes:
        stored: (H, W) of the pixels as stored.
        orientation: EXIF's number, 1 to 8, for how the stored pixels are to be rotated and mirrored.
        bits: per channel, 8 or 16; fewer than 8 count as 8.
        alpha: whether the file has an alpha channel or a transparent colour.
        profile: the ICC profile; None if the file has none.
    """

    stored: tuple[int, int]
    orientation: int
    bits: int
    alpha: bool
    profile: bytes | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image after the orientation is applied."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of the image that `dec_kernels.images.read_image` returns, without decoding it.

    Raises:
        UnreadableImageError: see `read_header`.
    """
    return read_header(path).size


def icc_profile(path: Path) -> bytes | None:
    """The ICC profile of an image file; None if it has none.

    Raises:
        UnreadableImageError: see `read_header`.
    """
    return read_header(path).profile


def has_alpha(path: Path) -> bool:
    """Whether an image file has an alpha channel or a transparent colour.

    Raises:
        UnreadableImageError: see `read_header`.
    """
    return read_header(path).alpha


def max_pixels() -> int:
    """The largest number of pixels that an image may have.

    It is the environment variable `DEC_KERNELS_MAX_PIXELS`, or 178,956,970 if that is not set.

    Raises:
        ValueError: the variable is not a positive integer.
    """
    text = os.environ.get(MAX_PIXELS, str(_DEFAULT_MAX_PIXELS))
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError(f"{MAX_PIXELS} in the environment must be a positive integer, got {text!r}")
    return int(text)


def read_header(path: Path) -> Header:
    """Reads the header of an image file.

    Raises:
        UnreadableImageError: the file is not an image that can be read, or it has too many pixels.
        ValueError: see `max_pixels`.
    """
    with opened(path) as (_, header):
        return header


@contextmanager
def opened(path: Path) -> Iterator[tuple[Image.Image, Header]]:
    """Opens an image file, not decoded, with its header; turns any exception in the block into UnreadableImageError."""
    limit = max_pixels()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for ever
            raise ValueError("it is not a file")
        # Pillow maps a file that it opens itself into memory, with a wrong size if its orientation swaps the sides.
        with _PILLOWS_LIMIT_OFF, path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            header = _header(image, path)
            height, width = header.size
            if height * width > limit:
                raise ValueError(
                    f"it has {height} x {width} pixels, but the limit is {limit}: "
                    f"{MAX_PIXELS}={height * width} in the environment allows it"
                )
            if header.bits == 16 and height * width > _OPENCVS_LIMIT:
                raise ValueError(
                    f"it has {height} x {width} pixels of 16 bits per channel, but OpenCV, which reads these, allows "
                    f"at most {_OPENCVS_LIMIT}"
                )
            yield image, header
    except Exception as error:  # decoders of broken files raise nearly anything
        raise UnreadableImageError(f"cannot read {path} as an image: {_reason(error)}") from error


def _header(image: Image.Image, path: Path) -> Header:
    stored = image.size[::-1]
    if image.format == "TIFF":  # Pillow has applied the orientation to this size already
        stored = tuple(image.tag_v2[tag] for tag in (_HEIGHT, _WIDTH))  # type: ignore[attr-defined]
    return Header(
        stored=stored,
        orientation=_orientation(image, path),
        bits=_bits(image),
        alpha=image.has_transparency_data,
        profile=image.info.get("icc_profile"),
    )


def _orientation(image: Image.Image, path: Path) -> int:
    """That of EXIF, or of XMP if EXIF has none; 1, as stored, if it is damaged or not 1 to 8."""
    texts = _png_texts(path) if image.format == "PNG" else b""
    try:
        exif = _png_exif(texts) if texts else image.getexif()
    except Exception:
        return 1
    found = exif.get(ORIENTATION)
    return next((orientation for orientation in range(1, 9) if orientation == found), 1)


def _png_texts(path: Path) -> bytes:
    """A PNG without pixels: the header and the chunks that may hold an orientation, wherever they are in the file."""
    kept = []
    with path.open("rb", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        signature = file.read(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                break
            start = file.tell()
            if start + length + 4 > end:
                raise ValueError(f"it is cut off or damaged: the chunk at byte {start - 8} is longer than the file")
            if kind in (b"IHDR", *_PNG_TEXTS):
                kept.append((kind, file.read(length)))
            file.seek(start + length + 4)
    return signature + b"".join(_chunk(*each) for each in [*kept, (b"IDAT", b"")])


def _png_exif(texts: bytes) -> Image.Exif:
    # Given the file itself, Pillow would decode the pixels to reach the chunks after them.
    with Image.open(BytesIO(texts), formats=("PNG",)) as image:
        return Image.Image.getexif(image)  # PngImageFile.getexif would look for pixels


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bits(image: Image.Image) -> int:
    """Bits per channel, 8 or 16; fewer than 8 count as 8. Raises ValueError for pixels that cannot be read as RGB."""
    bits = 8
    if image.format == "PNG" and ";16" in str(image.tile):  # type: ignore[attr-defined]
        bits = 16
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = max(8, *np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 1)))
        if not np.isin(tags.get(_SAMPLE_FORMAT, 1), _UNSIGNED).all():
            raise ValueError("a TIFF must have unsigned integers, not signed integers or floating-point numbers")
        if bits == 16 and (tags.get(_PHOTOMETRIC) not in _BLACK_IS_0_OR_RGB or tags.get(_PLANAR, 1) != 1):
            raise ValueError(
                "a TIFF of 16 bits per channel must be gray (0 is black) or RGB, with interleaved channels"
            )
    if bits not in (8, 16):
        raise ValueError(f"it has {bits} bits per channel, not 8 or 16")
    if bits == 8 and image.mode not in _MODES:
        raise ValueError(f"its pixels have Pillow's mode {image.mode!r}, not one of {', '.join(_MODES)}")
    return bits


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is not one of {', '.join(_FORMATS)}, Pillow does not read this kind of it, or its header is damaged"
    if isinstance(error, MemoryError):
        return "there is not enough memory for its pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


class _Off:
    """Turns off Pillow's own limit on pixels, a global variable, while at least one thread is in the block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._limit


_PILLOWS_LIMIT_OFF = _Off()
