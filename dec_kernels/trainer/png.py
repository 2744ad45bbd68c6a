"""Writing PNG files row by row: the libraries that encode PNG want the whole image in memory, and then its file too."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2
_SUB = 1  # the filter of every row: each byte less that of the pixel at its left
_ROWS = 64  # filtered and compressed at a time


def write_png(
    file: BinaryIO, bands: Iterable[Tensor], height: int, width: int, dtype: torch.dtype, profile: bytes | None = None
) -> None:
    """Writes an RGB image of which a few rows at a time are at hand.

    Compression is OpenCV's by default, which is fast: what a Sub filter leaves, by runs and Huffman codes.

    Args:
        bands: (3, rows, width) of `dtype`, from top to bottom; the rows of all are `height`.
        dtype: uint8 or uint16, for 8 or 16 bits a channel.
        profile: an ICC profile for RGB, to embed.
    """
    bits = torch.iinfo(dtype).bits
    file.write(_SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _RGB, 0, 0, 0))
    if profile is not None:
        _write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    deflate = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    for band in bands:
        for rows in band.permute(1, 2, 0).split(_ROWS):
            if data := deflate.compress(_filtered(rows.numpy())):
                _write_chunk(file, b"IDAT", data)
    _write_chunk(file, b"IDAT", deflate.flush())
    _write_chunk(file, b"IEND", b"")


def _filtered(rows: np.ndarray) -> memoryview:
    """(rows, width, 3) to PNG's bytes: big-endian, each row behind the number of its filter."""
    big_endian = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder(">"))
    plain = big_endian.reshape(len(rows), -1).view(np.uint8)
    pixel = 3 * rows.itemsize
    filtered = np.empty((len(rows), 1 + plain.shape[1]), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + pixel] = plain[:, :pixel]
    np.subtract(plain[:, pixel:], plain[:, :-pixel], out=filtered[:, 1 + pixel :])
    return filtered.data


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
