import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dec_kernels.images import UnreadableImageError, image_size, read_image

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (10, 14, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (10, 14, 3), dtype=np.uint16)


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.shape == (3, *image_size(path))
    return image.permute(1, 2, 0).numpy()


def with_exif(path: Path, orientation: int) -> None:
    """Puts an orientation into a PNG that has none, in front of its pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    content = path.read_bytes()
    end_of_header = 8 + 25
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:end_of_header] + chunk + content[end_of_header:])


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.TIFF", "x.webp"])
def test_reads_8_bits(tmp_path: Path, name: str) -> None:
    Image.fromarray(COLORS).save(tmp_path / name, **({"lossless": True} if name == "x.webp" else {}))
    assert np.array_equal(pixels(tmp_path / name), COLORS)


def test_reads_jpeg(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 16 * 24 * 3).reshape(16, 24, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "x.jpg", quality=100, subsampling=0)
    assert np.abs(pixels(tmp_path / "x.jpg").astype(int) - smooth).max() <= 3


def test_turns_gray_palette_and_alpha_into_rgb(tmp_path: Path) -> None:
    gray, alpha = COLORS[..., 0], COLORS[..., 1]
    for mode, stored in (("L", gray), ("LA", np.dstack([gray, alpha])), ("RGBA", np.dstack([COLORS, alpha]))):
        Image.fromarray(stored, mode).save(tmp_path / f"{mode}.png")
        wanted = COLORS if mode == "RGBA" else np.dstack([gray] * 3)
        assert np.array_equal(pixels(tmp_path / f"{mode}.png"), wanted)
    few = COLORS // 128 * 128
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    palette.save(tmp_path / "P.png", transparency=0)
    assert np.array_equal(pixels(tmp_path / "P.png"), few)
    Image.fromarray(gray > 127).save(tmp_path / "1.png")
    assert np.array_equal(pixels(tmp_path / "1.png"), np.dstack([(gray > 127) * np.uint8(255)] * 3))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_keeps_16_bits(tmp_path: Path, suffix: str) -> None:
    gray, path = DEEP[..., 0], tmp_path / f"x.{suffix}"
    for stored, wanted in ((DEEP, DEEP), (gray, np.dstack([gray] * 3)), (np.dstack([DEEP, gray]), DEEP)):
        if suffix == "tif":
            photometric = "rgb" if stored.ndim == 3 else "minisblack"
            tifffile.imwrite(path, stored, photometric=photometric)
        else:
            cv2.imwrite(str(path), stored if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]])
        assert pixels(path).dtype == np.uint16
        assert np.array_equal(pixels(path), wanted)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, COLORS),
        (2, COLORS[:, ::-1]),
        (3, COLORS[::-1, ::-1]),
        (5, COLORS.transpose(1, 0, 2)),
        (6, np.rot90(COLORS, -1)),
        (8, np.rot90(COLORS)),
    ],
)
def test_applies_exif_orientation(tmp_path: Path, orientation: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.png", "x.webp", "x.tif"):
        Image.fromarray(COLORS).save(tmp_path / name, exif=exif, **({"lossless": True} if name == "x.webp" else {}))
        assert np.array_equal(pixels(tmp_path / name), turned)
    cv2.imwrite(str(tmp_path / "deep.png"), COLORS[..., ::-1].astype(np.uint16) * 257)
    with_exif(tmp_path / "deep.png", orientation)
    assert np.array_equal(pixels(tmp_path / "deep.png"), turned.astype(np.uint16) * 257)


def test_names_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    Image.fromarray(COLORS).save(tmp_path / "other.gif")
    (tmp_path / "other.gif").rename(tmp_path / "gif.png")
    tifffile.imwrite(tmp_path / "float.tif", COLORS.astype(np.float32), photometric="rgb")
    tifffile.imwrite(tmp_path / "int32.tif", COLORS[..., 0].astype(np.int32))
    tifffile.imwrite(tmp_path / "planes.tif", DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "white0.tif", DEEP[..., 0], photometric="miniswhite")
    Image.fromarray(COLORS, "LAB").save(tmp_path / "lab.tif")
    tifffile.imwrite(tmp_path / "int16.tif", DEEP[..., 0].astype(np.int16))
    for name in ("broken", "gif", "float", "int32", "int16", "planes", "white0", "lab", "none"):
        for function in (image_size, read_image) if name != "int16" else (read_image,):
            with pytest.raises(UnreadableImageError, match=rf"{name}\.\w+"):
                function(next(tmp_path.glob(f"{name}.*"), tmp_path / f"{name}.png"))


def test_an_image_that_is_too_large_for_the_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(image: Image.Image, mode: str) -> None:
        raise MemoryError

    Image.fromarray(COLORS).save(tmp_path / "x.png")
    monkeypatch.setattr(Image.Image, "convert", without_memory)
    with pytest.raises(UnreadableImageError, match=r"x\.png.*memory"):
        read_image(tmp_path / "x.png")


def test_refuses_truncated_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), DEEP)
    tifffile.imwrite(tmp_path / "deep.tif", DEEP, metadata=None)
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("x.png", "x.jpg", "x.bmp"):
        noise.save(tmp_path / name)
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[:-200])
        if path.suffix == ".png":  # of which it is known without decoding them
            with pytest.raises(UnreadableImageError, match=path.name):
                image_size(path)
        else:
            assert image_size(path) in ((64, 64), (10, 14))
        with pytest.raises(UnreadableImageError, match=path.name):
            read_image(path)


def test_pixels_are_a_view_of_what_was_decoded(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert image.permute(1, 2, 0).is_contiguous()


def test_reads_bmp_of_16_bits_a_pixel(tmp_path: Path) -> None:
    """Five or six bits a channel, which Pillow names as PNGs of 16 bits a channel are named."""
    values = [COLORS[..., channel].astype(np.uint16) >> (8 - bits) for channel, bits in enumerate((5, 6, 5))]
    stored = (values[0] << 11 | values[1] << 5 | values[2])[::-1].astype("<u2").tobytes()
    height, width = COLORS.shape[:2]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(stored), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    start = struct.pack("<2sIHHI", b"BM", 66 + len(stored), 0, 0, 66)
    (tmp_path / "x.bmp").write_bytes(start + header + masks + stored)
    wanted = np.stack([v * 255 // (2**bits - 1) for v, bits in zip(values, (5, 6, 5), strict=True)], axis=-1)
    assert pixels(tmp_path / "x.bmp").dtype == np.uint8
    assert np.array_equal(pixels(tmp_path / "x.bmp"), wanted)


def test_the_first_of_several_images(tmp_path: Path) -> None:
    other = Image.fromarray(COLORS[::-1])
    for name, options in (("x.png", {}), ("x.webp", {"lossless": True}), ("x.tif", {})):
        Image.fromarray(COLORS).save(tmp_path / name, save_all=True, append_images=[other], **options)
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 2
        assert np.array_equal(pixels(tmp_path / name), COLORS)


def test_a_suffix_may_lie(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "x.webp", "PNG")
    cv2.imwrite(str(tmp_path / "deep.png"), DEEP[..., ::-1])
    (tmp_path / "deep.png").rename(tmp_path / "deep.jpg")
    assert np.array_equal(pixels(tmp_path / "x.webp"), COLORS)
    assert np.array_equal(pixels(tmp_path / "deep.jpg"), DEEP)


@pytest.mark.parametrize("name", ["x.png", "deep.png"])
def test_pixels_of_another_size_than_the_header_says_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / name), DEEP if "deep" in name else COLORS)
    other = COLORS.swapaxes(0, 1)
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: other)
    monkeypatch.setattr(cv2, "imdecode", lambda content, flags: other.astype(np.uint16))
    with pytest.raises(UnreadableImageError, match=rf"{name}.*\(10, 14\).*\(14, 10\)"):
        read_image(tmp_path / name)
