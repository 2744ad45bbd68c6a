"""All that there is to know of an image file before its pixels are decoded. What is said here holds for the pixels."""

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
"""The environment variable that says how many pixels an image may have."""

_DEFAULT_MAX_PIXELS = 178_956_970  # from here on Pillow takes a file for an attack
_OPENCVS_LIMIT = 2**30  # pixels
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # what Pillow turns into RGB unharmed
ORIENTATION = 0x0112  # EXIF's tag
_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 256, 257, 258, 262, 284, 339  # TIFF's tags
_BLACK_IS_0_OR_RGB = (1, 2)
_UNSIGNED = (1, 4)  # 4 is "undefined"
_PNG_TEXTS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # the chunks that may hold an orientation


class UnreadableImageError(ValueError):
    """A file is not an image that can be read; the message names it."""


class Header(NamedTuple):
    """What is known of an image file before its pixels.

    Attributes:
        stored: height and width as the file has them.
        orientation: EXIF's number, 1 to 8, for how the stored pixels are to be turned.
        bits: 8 or 16 a channel, 8 standing for fewer too.
        alpha: whether there is an alpha channel, or a colour that stands for transparency.
        profile: the ICC profile, if the file has one.
    """

    stored: tuple[int, int]
    orientation: int
    bits: int
    alpha: bool
    profile: bytes | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image when it is turned."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of the image that :func:`~dec_kernels.images.read_image` returns, without decoding it.

    Raises:
        UnreadableImageError: see :func:`read_header`.
    """
    return read_header(path).size


def icc_profile(path: Path) -> bytes | None:
    """The ICC profile that an image file holds, None if it has none: it says what the stored colours mean.

    Raises:
        UnreadableImageError: see :func:`read_header`.
    """
    return read_header(path).profile


def has_alpha(path: Path) -> bool:
    """Whether an image file has an alpha channel, or a colour that stands for transparency.

    Raises:
        UnreadableImageError: see :func:`read_header`.
    """
    return read_header(path).alpha


def max_pixels() -> int:
    """How many pixels an image may have: ``DEC_KERNELS_MAX_PIXELS`` in the environment, or else 178,956,970.

    Raises:
        ValueError: the variable is no whole number above 0.
    """
    text = os.environ.get(MAX_PIXELS, str(_DEFAULT_MAX_PIXELS))
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError(f"{MAX_PIXELS} in the environment must be a whole number above 0, got {text!r}")
    return int(text)


def read_header(path: Path) -> Header:
    """What is known of an image file before its pixels.

    Raises:
        UnreadableImageError: this is no image of a kind that can be read, or it has too many pixels.
        ValueError: see :func:`max_pixels`.
    """
    with opened(path) as (_, header):
        return header


@contextmanager
def opened(path: Path) -> Iterator[tuple[Image.Image, Header]]:
    """An image file, open but not decoded, and its header. Whatever fails in here becomes UnreadableImageError."""
    limit = max_pixels()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a named pipe would wait for ever
            raise ValueError("it is no file")
        # An open file: one that Pillow opens itself it maps into memory, with a wrong size if it is to be turned.
        with _PILLOWS_LIMIT_OFF, path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            header = _header(image, path)
            height, width = header.size
            if height * width > limit:
                raise ValueError(
                    f"it has {height} x {width} pixels, and the limit is {limit}: "
                    f"{MAX_PIXELS}={height * width} in the environment allows it"
                )
            if header.bits == 16 and height * width > _OPENCVS_LIMIT:
                raise ValueError(
                    f"it has {height} x {width} pixels, and OpenCV, which reads 16 bits a channel, takes "
                    f"{_OPENCVS_LIMIT} at most"
                )
            yield image, header
    except Exception as error:  # decoders of broken files raise nearly anything
        raise UnreadableImageError(f"cannot read {path} as an image: {_reason(error)}") from error


def _header(image: Image.Image, path: Path) -> Header:
    stored = image.size[::-1]
    if image.format == "TIFF":  # of which Pillow has turned the size already, going by one of the tags
        stored = tuple(image.tag_v2[tag] for tag in (_HEIGHT, _WIDTH))  # type: ignore[attr-defined]
    return Header(
        stored=stored,
        orientation=_orientation(image, path),
        bits=_bits(image),
        alpha=image.has_transparency_data,
        profile=image.info.get("icc_profile"),
    )


def _orientation(image: Image.Image, path: Path) -> int:
    """EXIF's, or else XMP's. Where that is damaged, or none of its eight numbers, the image stays as it is stored."""
    texts = _png_texts(path) if image.format == "PNG" else b""
    try:
        exif = _png_exif(texts) if texts else image.getexif()
    except Exception:
        return 1
    found = exif.get(ORIENTATION)
    return next((orientation for orientation in range(1, 9) if orientation == found), 1)


def _png_texts(path: Path) -> bytes:
    """A PNG without pixels, of the chunks that may hold an orientation, wherever in the file they stand."""
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
                raise ValueError(f"it is cut off, or damaged: a chunk at byte {start - 8} is longer than the file")
            if kind in (b"IHDR", *_PNG_TEXTS):
                kept.append((kind, file.read(length)))
            file.seek(start + length + 4)
    return signature + b"".join(_chunk(*each) for each in [*kept, (b"IDAT", b"")])


def _png_exif(texts: bytes) -> Image.Exif:
    # Of the file itself, Pillow would decode the pixels to get at what stands behind them.
    with Image.open(BytesIO(texts), formats=("PNG",)) as image:
        return Image.Image.getexif(image)  # PngImageFile's own would look for pixels


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bits(image: Image.Image) -> int:
    """8 or 16 bits a channel, 8 standing for fewer too; ValueError for what cannot be read as RGB of either."""
    bits = 8
    if image.format == "PNG" and ";16" in str(image.tile):  # type: ignore[attr-defined]
        bits = 16
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = max(8, *np.atleast_1d(tags.get(_BITS_PER_SAMPLE, 1)))
        if not np.isin(tags.get(_SAMPLE_FORMAT, 1), _UNSIGNED).all():
            raise ValueError("a TIFF must have unsigned whole numbers, not signed ones or floating-point numbers")
        if bits == 16 and (tags.get(_PHOTOMETRIC) not in _BLACK_IS_0_OR_RGB or tags.get(_PLANAR, 1) != 1):
            raise ValueError("a TIFF of 16 bits must be gray (0 is black) or RGB, with interleaved channels")
    if bits not in (8, 16):
        raise ValueError(f"it has {bits} bits a channel, not 8 or 16")
    if bits == 8 and image.mode not in _MODES:
        raise ValueError(f"its pixels are of Pillow's mode {image.mode!r}, not one of {', '.join(_MODES)}")
    return bits


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(_FORMATS)}, or of a kind that Pillow does not read, or its header is damaged"
    if isinstance(error, MemoryError):
        return "there is too little memory for its pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


class _Off:
    """Pillow's own limit on pixels is a global variable. It is off while a thread is in here."""

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
