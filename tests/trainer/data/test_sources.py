from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dec_kernels.trainer.data import find_photos

RNG = np.random.default_rng(0)


def save(path: Path, size: tuple[int, int] = (16, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


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
    ((photo,), *rest) = find_photos([str(tmp_path)], split, 4)
    assert photo == (Path(hr).stem, tmp_path / hr, None)
    save(tmp_path / lr)
    assert find_photos([str(tmp_path)], split, 4) == ([photo._replace(lr=tmp_path / lr)], *rest)
    assert find_photos([str(tmp_path)], split, 2) == ([photo], [], [])
    assert find_photos([str((tmp_path / hr).parent)], split, 4) == ([photo], [], [])


@pytest.mark.parametrize(
    ("split", "hr", "lr"),
    [
        ("train", "train/gt_crops/0001_SRGB_010_s001.PNG", "train/input_crops/0001_SRGB_010_s001.PNG"),
        ("test", "val/gt_crops/0001.png", "val/input_crops/0001.png"),
        ("train", "train/sharp_crops/a_s001.png", "train/blur_crops/a_s001.png"),
        ("train", "train/target/a-000047.png", "train/input/a-000047.png"),
        ("val", "test/target/a-000047.png", "test/input/a-000047.png"),
    ],
)
def test_knows_the_layouts_of_restoration(tmp_path: Path, split: str, hr: str, lr: str) -> None:
    photo = Path(hr).stem, save(tmp_path / hr), save(tmp_path / lr)
    assert find_photos([str(tmp_path)], split, 1) == ([photo], [], [])


@pytest.mark.parametrize(
    ("split", "root", "hr", "lr"),
    [
        ("train", "Data", "0001_001_S6/0001_GT_SRGB_010.PNG", "0001_001_S6/0001_NOISY_SRGB_010.PNG"),
        ("train", "train", "GOPR0372/sharp/000047.png", "GOPR0372/blur/000047.png"),
        ("test", "test", "GOPR0384/sharp/000001.png", "GOPR0384/blur/000001.png"),
    ],
)
def test_knows_datasets_with_both_images_side_by_side(tmp_path: Path, split: str, root: str, hr: str, lr: str) -> None:
    files = [tmp_path / root / name for name in (hr, lr)]
    other = tmp_path / root / hr.replace("0001_", "0002_").replace("GOPR", "GOPX")
    alone = tmp_path / root / hr.replace("010", "011").replace("00.png", "02.png").replace("47", "48")
    for path in (*files, other, tmp_path / root / lr.replace("0001_", "0002_").replace("GOPR", "GOPX")):
        save(path)
    save(tmp_path / root / lr.replace("/blur/", "/blur_gamma/"))  # GoPro's other blur, for nobody
    photos, problems, _ = find_photos([str(tmp_path)], split, 1)
    assert len(photos) == 2
    assert (str(Path(hr).with_suffix("")), *files) in photos
    assert problems == []
    if alone != files[0]:
        save(alone)
        photos, (problem,), _ = find_photos([str(tmp_path)], split, 1)
        assert len(photos) == 2
        assert str(alone) in problem


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_knows_realsr(tmp_path: Path, split: str, scale: int) -> None:
    """A camera's folder or that of both, and of each the images for the scale."""
    for camera in ("Canon", "Nikon"):
        for part in ("Train", "Test"):
            for each in (2, 3, 4):
                for kind in ("HR", f"LR{each}"):
                    save(tmp_path / camera / part / str(each) / f"{camera}_001_{kind}.png")
    part = f"{'Train' if split == 'train' else 'Test'}/{scale}"
    nikon = tmp_path / "Nikon" / part
    files = nikon / "Nikon_001_HR.png", nikon / f"Nikon_001_LR{scale}.png"
    assert find_photos([str(tmp_path / "Nikon")], split, scale) == ([("Nikon_001_HR", *files)], [], [])
    both = find_photos([str(tmp_path)], split, scale)
    assert [photo.name for photo in both.photos] == [f"Canon/{part}/Canon_001_HR", f"Nikon/{part}/Nikon_001_HR"]
    assert both.photos[1][1:] == files
    assert both.problems == []
    files[1].rename(tmp_path / "elsewhere.png")
    assert len(find_photos([str(tmp_path / "Nikon")], split, scale).problems) == 1


def test_refuses_realsr_for_a_scale_that_it_has_not(tmp_path: Path) -> None:
    for kind in ("HR", "LR4"):
        save(tmp_path / "Nikon" / "Test" / "4" / f"Nikon_001_{kind}.png")
    for source in (tmp_path / "Nikon", tmp_path, tmp_path / "Nikon" / "Test" / "4"):
        with pytest.raises(ValueError, match=r"Nikon_001_LR4\.png.*low resolution"):
            find_photos([str(source)], "test", 8)


@pytest.mark.parametrize("scale", [2, 4])
def test_knows_drealsr(tmp_path: Path, scale: int) -> None:
    for each in (2, 3, 4):
        for kind, suffix in (("HR", each), ("LR", 1)):
            save(tmp_path / f"Test_x{each}" / f"test_{kind}" / f"sony_10_x{suffix}.png")
    folder = tmp_path / f"Test_x{scale}"
    files = folder / "test_HR" / f"sony_10_x{scale}.png", folder / "test_LR" / "sony_10_x1.png"
    assert find_photos([str(tmp_path)], "test", scale).photos == [(f"test_HR/sony_10_x{scale}", *files)]
    with pytest.raises(FileNotFoundError, match=rf"data\.train.*Test_x{scale}"):
        find_photos([str(tmp_path)], "train", scale)
    with pytest.raises(ValueError, match="low resolution"):
        find_photos([str(tmp_path)], "test", 8)


def test_takes_the_layout_that_has_the_part(tmp_path: Path) -> None:
    """SIDD as it is published for the training, beside crops to validate on."""
    noisy, clean = (save(tmp_path / "Data" / "a" / f"1_{kind}_SRGB_1.PNG") for kind in ("NOISY", "GT"))
    for kind in ("gt", "input"):
        save(tmp_path / "val" / f"{kind}_crops" / "1.png")
    assert find_photos([str(tmp_path)], "train", 1).photos == [("a/1_GT_SRGB_1", clean, noisy)]
    assert [photo.name for photo in find_photos([str(tmp_path)], "val", 1).photos] == ["1"]
    save(tmp_path / "train" / "gt_crops" / "1_s001.png")
    assert [photo.name for photo in find_photos([str(tmp_path)], "train", 1).photos] == ["1_s001"]


def test_refuses_parts_that_a_dataset_has_not(tmp_path: Path) -> None:
    save(tmp_path / "Flickr2K" / "Flickr2K_HR" / "000001.png")
    save(tmp_path / "DIV2K" / "DIV2K_valid_HR" / "0801.png")
    for name, split in (("Flickr2K", "val"), ("DIV2K", "train")):
        with pytest.raises(FileNotFoundError, match=rf"data\.{split}: .*{name}'.*{name}_.*HR$"):
            find_photos([str(tmp_path / name)], split, 4)


@pytest.mark.parametrize("lr", ["Flickr2K/Flickr2K_LR_bicubic/X4", "LR", "Set5/LRbicx4"])
def test_refuses_low_resolution_images_among_the_others(tmp_path: Path, lr: str) -> None:
    save(tmp_path / "HRs" / "x.png")
    save(tmp_path / lr / "x.png")
    with pytest.raises(ValueError, match=r"x\.png.*low resolution"):
        find_photos([str(tmp_path)], "train", 4)


def test_pairs_by_name(tmp_path: Path) -> None:
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for name in ("same.png", "a/suffix.png", "alone.png", "two.png", "a/elsewhere.png"):
        save(hr / name)
    for name in ("same.jpg", "a/suffixx4.png", "two.png", "twox4.png", "b/elsewhere.png", "alonex2.png"):
        save(lr / name)
    photos, problems, _ = find_photos([{"hr": str(hr), "lr": str(lr)}], "train", 4)
    assert photos == [
        ("a/suffix", hr / "a" / "suffix.png", lr / "a" / "suffixx4.png"),
        ("same", hr / "same.png", lr / "same.jpg"),
    ]
    assert [problem.split(" low-resolution partner")[0] for problem in problems] == [
        f"{hr / 'a' / 'elsewhere.png'} has no",
        f"{hr / 'alone.png'} has no",
        f"{hr / 'two.png'} has several",
    ]
    photos, *_ = find_photos([{"hr": str(hr), "lr": str(lr)}], "train", 2)
    assert photos[0] == ("alone", hr / "alone.png", lr / "alonex2.png")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        find_photos([{"hr": str(hr), "lr": str(tmp_path / "nowhere")}], "train", 4)
