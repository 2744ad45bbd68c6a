"""Decodes the pixels of image files."""

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
"""The version of `read_image`: it changes whenever the pixels of some file change, so that caches become invalid."""

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_SHORT = 3  # TIFF's number for the type uint16


def read_image(path: Path) -> Tensor:
    """Reads an image file as RGB.

    BMP, JPEG, PNG, TIFF and WebP are read; the suffix does not matter. Gray becomes three equal channels, and a palette
    becomes its colours. An alpha channel is dropped, and the stored colours stay as they are. An ICC profile is not
    applied either; `dec_kernels.images.icc_profile` returns it. The orientation of EXIF is applied, or that of XMP if
    EXIF has none. If a file holds several images, the first is read.

    Returns:
        (3, H, W) uint8, or uint16 if the file has 16 bits per channel: a view of contiguous (H, W, 3).

    Raises:
        UnreadableImageError: the file cannot be read completely, or has more pixels than
            `dec_kernels.images.max_pixels` allows.
    """
    with opened(path) as (image, header):
        pixels = _turned(_decoded_16(path) if header.bits == 16 else _decoded_8(image), header.orientation)
        if pixels.shape[:2] != header.size:
            raise ValueError(f"its header says {header.size} pixels (H, W), but {pixels.shape[:2]} were decoded")
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _decoded_8(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, as stored."""
    if image.format == "TIFF":  # Pillow would apply the orientation
        image.getexif()[ORIENTATION] = 1
    return np.array(image.convert("RGB"))


def _decoded_16(path: Path) -> np.ndarray:
    """(H, W, 3) uint16, as stored; by OpenCV, because Pillow drops the lower 8 of 16 bits."""
    content = bytearray(path.read_bytes())
    _set_upright(content)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _AS_STORED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it as 16 bits per channel")
    return pixels[..., ::-1]


def _set_upright(content: bytearray) -> None:
    """Sets the orientation of a TIFF's first image to 1, in place: OpenCV always applies the orientation of a TIFF."""
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
    """Rotated and mirrored by EXIF's orientation, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = (slice(None, None, -1 if orientation in flipped else 1) for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return pixels[rows, columns]
