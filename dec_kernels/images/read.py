"""The pixels of an image file."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dec_kernels.images.header import ORIENTATION, opened

READER = 1
"""Another number wherever :func:`read_image` comes to give other pixels of the same file: what keeps pixels notices."""

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_SHORT = 3  # TIFF's number for the type


def read_image(path: Path) -> Tensor:
    """An image file as RGB.

    BMP, JPEG, PNG, TIFF and WebP are read, whatever the file's suffix is. Gray becomes three equal channels, a palette
    its colours. An alpha channel is dropped: the colours are those stored, blended with nothing. An ICC profile is not
    applied: the values are those stored, see :func:`~dec_kernels.images.icc_profile`. The orientation that EXIF says,
    or where it says none XMP, is applied. Of a file with several images the first is read.

    Returns:
        (3, H, W) uint8, or uint16 if the file has 16 bits a channel: a view of (H, W, 3) in memory.

    Raises:
        UnreadableImageError: the file cannot be read, all of it, or it has more pixels than
            :func:`~dec_kernels.images.max_pixels`.
    """
    with opened(path) as (image, header):
        pixels = _turned(_decoded_16(path) if header.bits == 16 else _decoded_8(image), header.orientation)
        if pixels.shape[:2] != header.size:
            raise ValueError(f"its header has {header.size} pixels (H x W), and {pixels.shape[:2]} came of it")
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _decoded_8(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, as stored."""
    if image.format == "TIFF":  # which Pillow would turn
        image.getexif()[ORIENTATION] = 1
    return np.array(image.convert("RGB"))


def _decoded_16(path: Path) -> np.ndarray:
    """(H, W, 3) uint16, as stored: by OpenCV, since Pillow drops the lower half of 16 bits."""
    content = bytearray(path.read_bytes())
    _set_upright(content)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _AS_STORED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it as 16 bits a channel")
    return pixels[..., ::-1]


def _set_upright(content: bytearray) -> None:
    """Sets the orientation of a TIFF's first image to 1, in place: OpenCV turns TIFFs whatever it is told."""
    order = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(bytes(content[:4]))
    if order is None:
        return
    big = b"+" in content[:4]
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, first)
    for entry in range(count):
        at = first + (8 + 20 * entry if big else 2 + 12 * entry)
        if struct.unpack_from(order + "H", content, at) == (ORIENTATION,):
            struct.pack_into(order + ("HQH" if big else "HIH"), content, at + 2, _SHORT, 1, 1)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned and mirrored as EXIF's orientation, 1 to 8, wants it."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = (slice(None, None, -1 if orientation in flipped else 1) for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return pixels[rows, columns]
