import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dec_kernels.trainer.compare.results import ComparisonError, Entry, data_sets, find_results, named_folders
from tests.trainer.compare.conftest import save

GRAY = np.full((40, 44, 3), 128, np.uint8)


def find(tmp_path: Path, hr: list[str], results: list[str], smallest: int = 19) -> tuple[list[Entry], list[str]]:
    for folder, names in (("hr", hr), ("sr", results)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            save(tmp_path / folder / name, GRAY)
    return find_results({"set": tmp_path / "hr"}, {"m": tmp_path / "sr"}, False, 4, smallest)


@pytest.mark.parametrize(
    ("hr", "results", "unused"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"], 0),
        (["a.png", "deep/a.png"], ["a.bmp", "deep/a.jpg"], 0),
        (["a.png", "b.png"], ["ax4.png", "bx4.png"], 0),
        (["a.png", "b.png"], ["a_ESRGAN.png", "b_ESRGAN.png"], 0),
        (["0801.png", "0802.png"], ["0801x4-SR.v2.png", "0802x4-SR.v2.png"], 0),
        (["a.png", "b.png"], ["a.png", "b.png", "a_LR.png", "b_LR.png"], 2),  # the plain names come first
        (["a.png", "b.png"], ["a.png", "b.png", "ax4.png", "bx4.png"], 2),
        (["a.png"], ["a.png", "a-LR.png"], 1),  # also where they do not come first in the alphabet
        (["a.png"], ["ax4.png", "ax4-y.png"], 1),
        (["a.png", "b.png"], ["a_x.png", "b_x.png", "a_y.png", "c_x.png"], 2),  # only one way names all images
        (["img_1.png", "img_1_2.png"], ["img_1.png", "img_1_2.png"], 0),  # each is a name, and not another's suffix
        (["img_1.png", "img_1_2.png"], ["img_1_2.png", "img_1_2_2.png"], 0),
    ],
)
def test_results_belong_to_images_by_name(tmp_path: Path, hr: list[str], results: list[str], unused: int) -> None:
    entries, notes = find(tmp_path, hr, results)
    assert [entry.name for entry in entries] == [name.removesuffix(".png") for name in hr]
    found = [str(entry.results["m"].relative_to(tmp_path / "sr")) for entry in entries]
    assert found == results[: len(hr)]
    assert [bool(re.search(f"not used of .*{unused} file", note)) for note in notes] == [True] * bool(unused)


@pytest.mark.parametrize(
    ("hr", "results", "words"),
    [
        (["a.png", "b.png"], ["a_x.png"], ["m: set", "1 of 2", "b", "a_x"]),
        (["a.png", "b.png"], ["a.png", "b_x.png"], ["1 of 2", "named as"]),  # named in two ways
        (["a.png"], ["ax2.png"], ["1 of 1 images: a"]),
        (["a.png"], ["ab.png"], ["1 of 1 images: a"]),
        (["a.png"], ["a_x.png", "a_y.png"], ["several results", "a_x", "a_y"]),
        (["a.png"], ["a.png", "a.jpg"], ["several results", "a.jpg", "a.png"]),
        (["a.png", "a.jpg"], ["a.png"], ["same name", "a.jpg", "a.png"]),
        (["mean.png"], ["mean.png"], ["mean.png", "'mean'"]),
    ],
)
def test_missing_and_ambiguous_results(tmp_path: Path, hr: list[str], results: list[str], words: list[str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the words follow
        find(tmp_path, hr, results)
    assert all(word in str(error.value) for word in words), error.value


def test_every_file_is_looked_at_before_the_comparison(tmp_path: Path) -> None:
    entries, _ = find(tmp_path, ["a.png", "b.png", "c.png", "d.png"], ["a.png", "b.png", "c.png", "d.png"])
    assert {entry.size for entry in entries} == {(40, 44)}
    (tmp_path / "sr" / "a.png").write_bytes(b"text")
    save(tmp_path / "sr" / "b.png", GRAY[:36])
    save(tmp_path / "hr" / "c.png", GRAY[:18])
    (tmp_path / "hr" / "d.png").write_bytes(b"text")
    with pytest.raises(ComparisonError) as error:
        find(tmp_path, [], [])
    for words in (
        f"cannot read {tmp_path}/sr/a.png",
        f"{tmp_path}/sr/b.png has 36 x 44 pixels",
        f"{tmp_path}/hr/c.png has 18 x 44 pixels",
        f"{tmp_path}/sr/c.png has 40 x 44 pixels, but must have",
        f"cannot read {tmp_path}/hr/d.png",
    ):
        assert words in str(error.value)


def test_images_are_cropped_to_multiples_of_the_scale(tmp_path: Path) -> None:
    save(tmp_path / "hr" / "a.png", GRAY[:38, :43])
    for size in ((38, 43), (36, 40)):
        save(tmp_path / "sr" / "a.png", GRAY[: size[0], : size[1]])
        assert find(tmp_path, [], [])[0][0].size == (36, 40)
    save(tmp_path / "sr" / "a.png", GRAY[:36, :43])
    with pytest.raises(ComparisonError, match=r"36 x 43 pixels, .*38 x 43 of .*, or 36 x 40 for scale 4"):
        find(tmp_path, [], [])


def test_what_is_not_compared_is_said(tmp_path: Path) -> None:
    find(tmp_path, ["a.png"], ["a.png", "other.png"])
    (tmp_path / "sr" / "a.gif").write_bytes(b"")
    (tmp_path / "hr" / "b.gif").write_bytes(b"")
    Image.fromarray(np.full((40, 44, 4), 9, np.uint8)).save(tmp_path / "sr" / "a.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(GRAY).save(tmp_path / "hr" / "a.png", icc_profile=profile)
    _, notes = find(tmp_path, [], [])
    for words in ("b.gif", "2 files, .*other.png", "alpha channel: 1 file, .*sr/a.png", "ICC profile.*hr/a.png"):
        assert any(re.search(words, note) for note in notes), (words, notes)


def test_names_of_folders(tmp_path: Path) -> None:
    for name in ("x", "y", "a=b"):
        (tmp_path / name).mkdir()
    x, y, odd = (str(tmp_path / name) for name in ("x", "y", "a=b"))
    assert named_folders([f"A={x}", f"[B]={odd}"], "a method") == {"A": Path(x), "[B]": Path(odd)}
    assert data_sets([x]) == ({"x": Path(x)}, False)
    assert data_sets([odd]) == ({"a=b": Path(odd)}, False)  # a path, since a separator comes before the equals sign
    assert data_sets([f"A={x}"]) == ({"A": Path(x)}, True)
    assert data_sets([f"A={x}", f"B={odd}"]) == ({"A": Path(x), "B": Path(odd)}, True)
    for texts, words in (
        ([f"A={x}", f"A={y}"], "'A' twice"),
        ([x], "NAME=DIR"),
        (["A="], "NAME=DIR"),
        ([f"={x}"], "NAME=DIR"),
        (["A=nowhere"], "'nowhere'"),
        ([f"HR={x}"], "'HR'"),
    ):
        with pytest.raises(ComparisonError, match=words):
            named_folders(texts, "a method")
    for texts, words in (([x, y], "SET=DIR"), (["nowhere"], "'nowhere'"), ([f"A={x}", f"A={y}"], "'A' twice")):
        with pytest.raises(ComparisonError, match=words):
            data_sets(texts)
