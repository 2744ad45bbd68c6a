import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dec_kernels.trainer.data import UnreadableImageError, find_images, find_photos, image_size, read_image

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (10, 14, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (10, 14, 3), dtype=np.uint16)


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.shape == (3, *image_size(path))
    return image.permute(1, 2, 0).numpy()


def save(path: Path, size: tuple[int, int] = (16, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


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
            with pytest.raises(UnreadableImageError, match=rf"cannot read .*{name}\.\w+ as an image: .+"):
                function(next(tmp_path.glob(f"{name}.*"), tmp_path / f"{name}.png"))


def test_refuses_truncated_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), DEEP)
    tifffile.imwrite(tmp_path / "deep.tif", DEEP, metadata=None)
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("x.png", "x.jpg", "x.bmp"):
        noise.save(tmp_path / name)
    for path in sorted(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[:-200])
        size = image_size(path)
        assert size in ((64, 64), (10, 14))
        with pytest.raises(UnreadableImageError, match=f"cannot read .*{path.name} as an image"):
            read_image(path)


def test_finds_files_folders_and_shipped_photographs(photographs: Path) -> None:
    assert [path.name for path in find_images(str(photographs))] == ["a.png", "b.png", "c.PNG"]
    assert find_images(str(photographs / "a.png")) == [photographs / "a.png"]
    for name in ("astronaut", "motorcycle_left", "ihc", "rocket", "chelsea", "coffee"):
        (path,) = find_images(f"skimage:{name}")
        assert path.stem == name


def test_follows_links_and_passes_over_hidden_files(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(photographs)
    save(tmp_path / "._x.png")
    save(tmp_path / ".thumbnails" / "x.png")
    assert [path.name for path in find_images(str(tmp_path))] == ["a.png", "b.png", "c.PNG"]


def test_names_what_it_cannot_find(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ships no image 'nobody'; it ships .*astronaut"):
        find_images("skimage:nobody")
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'astronaut'.*skimage:NAME"):
        find_images("astronaut")
    with pytest.raises(FileNotFoundError, match=r"holds no image; looked for \.bmp"):
        find_images(str(tmp_path))


def test_names_photographs_by_their_place(photographs: Path, tmp_path: Path) -> None:
    def names(*sources: str) -> list[str]:
        return [photo.name for photo in find_photos(sources, "val", 4)[0]]

    save(tmp_path / "sets" / "Set5" / "baby.v2.png")
    save(tmp_path / "sets" / "Set14" / "HR" / "baby.png")
    five, fourteen = str(tmp_path / "sets" / "Set5"), str(tmp_path / "sets" / "Set14")
    assert names(str(photographs)) == ["a", "b", "deeper/c"]
    assert names(five, fourteen) == ["Set5/baby.v2", "Set14/baby"]
    assert names(five, "skimage:chelsea", str(photographs / "a.png")) == ["baby.v2", "chelsea", "a"]


@pytest.mark.parametrize(
    ("split", "hr", "lr"),
    [
        ("train", "DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"),
        ("val", "DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_bicubic/X4/0801x4.png"),
        ("test", "DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_bicubic/X4/0801x4.png"),
        ("train", "Flickr2K_HR/000001.png", "Flickr2K_LR_bicubic/X4/000001x4.png"),
        ("train", "HR/baby.png", "LR_bicubic/X4/babyx4.png"),
        ("val", "GTmod12/baby.png", "LRbicx4/baby.bmp"),
    ],
)
def test_knows_the_layouts_of_datasets(tmp_path: Path, split: str, hr: str, lr: str) -> None:
    for name in ("DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png") if "DIV2K" in hr else (hr,):
        save(tmp_path / name)
    ((photo,), problems) = find_photos([str(tmp_path)], split, 4)
    assert photo == (Path(hr).stem, tmp_path / hr, None)
    save(tmp_path / lr)
    assert find_photos([str(tmp_path)], split, 4) == ([photo._replace(lr=tmp_path / lr)], problems)
    assert find_photos([str(tmp_path)], split, 2) == ([photo], [])
    assert find_photos([str((tmp_path / hr).parent)], split, 4) == ([photo], [])


def test_refuses_parts_that_a_dataset_has_not(tmp_path: Path) -> None:
    save(tmp_path / "Flickr2K" / "Flickr2K_HR" / "000001.png")
    save(tmp_path / "DIV2K" / "DIV2K_valid_HR" / "0801.png")
    for name, split in (("Flickr2K", "val"), ("DIV2K", "train")):
        with pytest.raises(FileNotFoundError, match=rf"data\.{split}: .*{name}' has no part .* it has {name}_.*HR$"):
            find_photos([str(tmp_path / name)], split, 4)


@pytest.mark.parametrize("lr", ["Flickr2K/Flickr2K_LR_bicubic/X4", "LR", "Set5/LRbicx4"])
def test_refuses_low_resolution_images_among_the_others(tmp_path: Path, lr: str) -> None:
    save(tmp_path / "HRs" / "x.png")
    save(tmp_path / lr / "x.png")
    with pytest.raises(ValueError, match=r"high-resolution images, but .*x\.png seems to have a low resolution"):
        find_photos([str(tmp_path)], "train", 4)


def test_pairs_by_name(tmp_path: Path) -> None:
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for name in ("same.png", "a/suffix.png", "alone.png", "two.png", "a/elsewhere.png"):
        save(hr / name)
    for name in ("same.jpg", "a/suffixx4.png", "two.png", "twox4.png", "b/elsewhere.png", "alonex2.png"):
        save(lr / name)
    photos, problems = find_photos([{"hr": str(hr), "lr": str(lr)}], "train", 4)
    assert photos == [
        ("a/suffix", hr / "a" / "suffix.png", lr / "a" / "suffixx4.png"),
        ("same", hr / "same.png", lr / "same.jpg"),
    ]
    assert [problem.split(" low-resolution partner")[0] for problem in problems] == [
        f"{hr / 'a' / 'elsewhere.png'} has no",
        f"{hr / 'alone.png'} has no",
        f"{hr / 'two.png'} has several",
    ]
    photos, _ = find_photos([{"hr": str(hr), "lr": str(lr)}], "train", 2)
    assert photos[0] == ("alone", hr / "alone.png", lr / "alonex2.png")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        find_photos([{"hr": str(hr), "lr": str(tmp_path / "nowhere")}], "train", 4)


def test_pixels_are_a_view_of_what_was_decoded(photographs: Path) -> None:
    image = read_image(photographs / "a.png")
    assert image.dtype == torch.uint8
    assert image.permute(1, 2, 0).is_contiguous()
