"""Writes the files that the doctor's tests read."""

import zlib
from pathlib import Path

from PIL import Image
from torch import Tensor


def save(path: Path, image: Tensor) -> Path:
    """(3, H, W) in [0, 1] as an 8-bit image file."""
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    return path


def png_of_16_bit_colours(height: int, width: int, value: int, announced: int | None = None) -> bytes:
    """A PNG that Pillow can read but not write. `announced` is the side that its header claims."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = (announced or width).to_bytes(4) + (announced or height).to_bytes(4) + bytes([16, 2, 0, 0, 0])
    line = b"\0" + value.to_bytes(2) * 3 * width
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(line * height)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
