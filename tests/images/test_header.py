import errno
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from dec_kernels.images import (
    MAX_PIXELS,
    UnreadableImageError,
    has_alpha,
    icc_profile,
    image_size,
    max_pixels,
    read_header,
    read_image,
)
from dec_kernels.images.header import opened


def png(path: Path, height: int, width: int, bits: int = 8, chunks: tuple[tuple[bytes, bytes], ...] = ()) -> Path:
    """A gray PNG whose pixels are damaged, followed by `chunks`."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", b"no pixels"), *chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(content)
    return path


def test_pixels_are_not_decoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    path = png(tmp_path / "x.png", 20, 30, bits=16, chunks=((b"eXIf", body),))
    assert read_header(path) == ((20, 30), 6, 16, False, None)
    assert image_size(path) == (30, 20)
    with pytest.raises(UnreadableImageError, match=r"x\.png"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", [b"damaged", b"II*\0\x08\0\0\0", b""])
def test_damaged_exif_leaves_the_image_as_it_is_stored(tmp_path: Path, suffix: str, exif: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (30, 20)).save(path, exif=b"Exif\0\0" + exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's
        assert image_size(path) == read_image(path).shape[1:] == (20, 30)


@pytest.mark.parametrize(
    ("type", "count", "value", "size"),
    [("H", 1, 6, (30, 20)), ("I", 1, 8, (30, 20)), ("2I", 1, (6, 1), (30, 20)), ("s", 2, "6", (20, 30))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientations_of_other_types(
    tmp_path: Path, type: str, count: int, value: object, size: tuple[int, int], dtype: type
) -> None:
    path = tmp_path / "x.tif"
    tag = (0x0112, type, count, value, True)
    tifffile.imwrite(path, np.zeros((20, 30, 3), dtype), photometric="rgb", metadata=None, extratags=[tag])
    assert image_size(path) == read_image(path).shape[1:] == size


def test_says_alpha_and_profile(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4)).save(tmp_path / "alpha.png")
    Image.new("P", (4, 4)).save(tmp_path / "palette.png", transparency=0)
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert [has_alpha(tmp_path / f"{name}.png") for name in ("alpha", "palette", "plain")] == [True, True, False]
    for suffix in ("jpg", "png", "tif", "webp"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"x.{suffix}", icc_profile=b"some profile")
        assert icc_profile(tmp_path / f"x.{suffix}") == b"some profile"
    assert icc_profile(tmp_path / "plain.png") is None


def test_the_limit_on_pixels_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MAX_PIXELS, raising=False)
    large, before = png(tmp_path / "large.png", 14_000, 14_000), Image.MAX_IMAGE_PIXELS
    with pytest.raises(
        UnreadableImageError,
        match=r"large\.png.*14000 x 14000.*178956970.*DEC_KERNELS_MAX_PIXELS=196000000 ",
    ):
        image_size(large)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow has some from a half of its limit on
        assert image_size(png(tmp_path / "x.png", 10_000, 10_000)) == (10_000, 10_000)
        monkeypatch.setenv(MAX_PIXELS, "196000000")
        assert image_size(large) == (14_000, 14_000)
    monkeypatch.setenv(MAX_PIXELS, "99")
    with pytest.raises(UnreadableImageError, match=r"x\.png.*10 x 10.*99.*DEC_KERNELS_MAX_PIXELS=100 "):
        read_image(png(tmp_path / "x.png", 10, 10))
    assert before == Image.MAX_IMAGE_PIXELS


def test_16_bits_have_the_limit_of_opencv_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_PIXELS, str(2**40))
    assert image_size(png(tmp_path / "x.png", 2**15, 2**15 + 1, bits=8)) == (2**15, 2**15 + 1)
    assert image_size(png(tmp_path / "x.png", 2**15, 2**15, bits=16)) == (2**15, 2**15)
    with pytest.raises(UnreadableImageError, match=r"x\.png.*32768 x 32769.*1073741824"):
        image_size(png(tmp_path / "x.png", 2**15, 2**15 + 1, bits=16))


@pytest.mark.parametrize("value", ["", "0", "-1", "1e9", "many", "²"])
def test_a_limit_that_is_no_number_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(MAX_PIXELS, value)
    for call in (max_pixels, lambda: image_size(png(tmp_path / "x.png", 4, 4))):
        with pytest.raises(ValueError, match=f"DEC_KERNELS_MAX_PIXELS .*got '{value}'") as error:
            call()
        assert type(error.value) is ValueError


def test_pillows_limit_returns_when_the_last_thread_is_done(tmp_path: Path) -> None:
    path, before = png(tmp_path / "x.png", 4, 4), Image.MAX_IMAGE_PIXELS
    first_is_in, first_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with opened(path):
            first_is_in.set()
            first_may_go.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(10)
    image_size(path)
    assert Image.MAX_IMAGE_PIXELS is None  # the first is not done
    first_may_go.set()
    thread.join()
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(UnreadableImageError):
        image_size(tmp_path / "nowhere.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_names_the_reason(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "gif.png", "GIF")
    os.mkfifo(tmp_path / "pipe.png")  # would be waited for
    (tmp_path / "folder.png").mkdir()
    tifffile.imwrite(tmp_path / "signed.tif", np.zeros((4, 4), np.int16))
    tifffile.imwrite(tmp_path / "signed8.tif", np.zeros((4, 4), np.int8))
    cv2.imwrite(str(tmp_path / "float.tif"), np.zeros((4, 4, 3), np.float32))
    for name, reason in (
        ("gif.png", "BMP, JPEG, PNG, TIFF, WEBP"),
        ("pipe.png", "not a file"),
        ("folder.png", "not a file"),
        ("nowhere.png", os.strerror(errno.ENOENT)),
        ("signed.tif", "unsigned"),
        ("signed8.tif", "unsigned"),
        ("float.tif", "Pillow"),
    ):
        for function in (image_size, read_image):
            with pytest.raises(UnreadableImageError) as error:
                function(tmp_path / name)
            assert str(error.value).startswith(f"cannot read {tmp_path / name} as an image: ")
            assert reason in str(error.value)
