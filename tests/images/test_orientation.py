"""Size and pixels agree, with the orientation that any kind of file asks for: cuts across header.py and read.py."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from dec_kernels.images import image_size, read_header, read_image

ORIENTATION = 0x0112
# Blocks of one colour survive JPEG; no two corners are alike.
COLORS = np.kron(np.random.default_rng(0).integers(0, 256, (2, 3, 1), dtype=np.uint8), np.ones((16, 16, 3), np.uint8))
DEEP = COLORS.astype(np.uint16) * 257

TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: np.rot90(image, 2),
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image),
}


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % orientation


def with_chunk(path: Path, kind: bytes, content: bytes, behind: bool) -> None:
    """Puts a chunk into a PNG, in front of its pixels or behind them."""
    file = path.read_bytes()
    at = file.rindex(b"IEND") - 4 if behind else 8 + 25
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(file[:at] + chunk + file[at:])


def png(deep: bool, behind: bool, what: str) -> Callable[[Path, int], None]:
    def write(path: Path, orientation: int) -> None:
        cv2.imwrite(str(path), DEEP if deep else COLORS)
        body = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
        content = {
            "eXIf": body,
            "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation),
            "zTXt": b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(body), body.hex().encode())),
        }[what]
        with_chunk(path, what.encode(), content, behind)

    return write


def pillow(mode: str = "RGB", metadata: str = "exif", **options: object) -> Callable[[Path, int], None]:
    def write(path: Path, orientation: int) -> None:
        found = {"exif": exif(orientation)} if metadata == "exif" else {"xmp": xmp(orientation)}
        Image.fromarray(COLORS).convert(mode).save(path, **found, **options)

    return write


def tiff(
    shape: str, byteorder: str, by_xmp: bool = False, big: bool = False, stored: np.ndarray = DEEP
) -> Callable[[Path, int], None]:
    def write(path: Path, orientation: int) -> None:
        image = stored if shape == "rgb" else stored[..., 0]
        tag = (700, "B", len(xmp(orientation)), xmp(orientation)) if by_xmp else (ORIENTATION, "H", 1, orientation)
        tifffile.imwrite(
            path,
            image,
            photometric="rgb" if shape == "rgb" else "minisblack",
            byteorder=byteorder,  # type: ignore[arg-type]
            bigtiff=big,
            metadata=None,
            extratags=[(*tag, True)],
        )

    return write


KINDS: dict[str, Callable[[Path, int], None]] = {
    **{
        f"{what} {'behind' if behind else 'before'} {'16' if deep else '8'}.png": png(deep, behind, what)
        for what in ("eXIf", "iTXt", "zTXt")
        for behind in (False, True)
        for deep in (False, True)
    },
    "exif.jpg": pillow(quality=100, subsampling=0),
    "cmyk.jpg": pillow("CMYK", quality=100),
    "xmp.jpg": pillow(metadata="xmp", quality=100, subsampling=0),
    "several.mpo.jpg": pillow(
        format="MPO", quality=100, subsampling=0, save_all=True, append_images=[Image.new("L", (9, 9))]
    ),
    "exif.webp": pillow(lossless=True),
    "xmp.webp": pillow(metadata="xmp", lossless=True),
    **{f"raw {mode}.tif": pillow(mode) for mode in ("RGB", "L", "RGBA", "CMYK")},
    "xmp.tif": tiff("rgb", "<", by_xmp=True, stored=COLORS),
    "packed.tif": pillow(compression="tiff_lzw"),
    "gray 16.tif": tiff("gray", "<"),
    "gray 16, last byte first.tif": tiff("gray", ">"),
    "rgb 16.tif": tiff("rgb", ">"),
    "rgb 16, big.tif": tiff("rgb", "<", big=True),
    "xmp 16.tif": tiff("rgb", "<", by_xmp=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_of_every_kind(tmp_path: Path, kind: str) -> None:
    for orientation, turned in TURNED.items():
        KINDS[kind](tmp_path / kind, orientation)
        image = read_image(tmp_path / kind)
        assert image.shape == (3, *image_size(tmp_path / kind))
        wanted = turned(DEEP if "16" in kind else COLORS)
        found = image.permute(1, 2, 0).numpy()
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= (3 if "jpg" in kind else 0), orientation


@pytest.mark.parametrize("value", [0, 9])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "packed.tif"])  # libtiff will not write it
def test_no_orientation_leaves_the_image_as_it_is_stored(tmp_path: Path, kind: str, value: int) -> None:
    KINDS[kind](tmp_path / kind, value)
    assert image_size(tmp_path / kind) == read_image(tmp_path / kind).shape[1:] == (32, 48)
    assert read_header(tmp_path / kind).orientation == 1
