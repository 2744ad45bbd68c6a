import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dec_kernels.images import UnreadableImageError, find_images, image_size, list_images, printable, some_of


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with a subfolder: three images."""
    for name in ("a.png", "b.png", "deeper/c.PNG"):
        save(tmp_path / "photographs" / name)
    return tmp_path / "photographs"


def test_finds_files_folders_and_shipped_photographs(photographs: Path) -> None:
    assert [path.name for path in find_images(str(photographs))] == ["a.png", "b.png", "c.PNG"]
    assert find_images(str(photographs / "a.png")) == [photographs / "a.png"]
    for name in ("astronaut", "motorcycle_left", "ihc", "rocket", "chelsea", "coffee"):
        (path,) = find_images(f"skimage:{name}")
        assert path.stem == name


def test_follows_links_and_passes_over_hidden_files(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    save(folder / "._x.png")
    save(folder / ".thumbnails" / "x.png")
    (folder / "linked").symlink_to(photographs)
    assert [path.name for path in find_images(str(folder))] == ["a.png", "b.png", "c.PNG"]


def test_names_what_it_cannot_find(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nobody'.*astronaut"):
        find_images("skimage:nobody")
    with pytest.raises(FileNotFoundError, match=r"'astronaut'.*skimage:NAME"):
        find_images("astronaut")
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(repr(str(tmp_path)))} holds no image: looked for \.bmp"):
        find_images(str(tmp_path))


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(str(folder))]


def test_a_file_counts_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    save(folder / "a.png")
    save(folder / "deeper" / "b.png")
    # Links to the folder itself, to one above and across: each multiplies what the others do.
    for name in ("0latest", "current", "deeper/up", "deeper/latest"):
        (folder / name).symlink_to(folder)
    (folder / "0a.png").symlink_to(folder / "a.png")
    (folder / "0deeper").symlink_to("deeper")
    assert found(folder) == ["a.png", "deeper/b.png"]
    (folder / "above").symlink_to(tmp_path)
    save(tmp_path / "c.png")
    assert found(folder) == ["a.png", "above/c.png", "deeper/b.png"]
    assert [path.name for path in find_images(str(folder / "current"))] == ["a.png", "c.png", "b.png"]


def test_what_only_links_lead_to_has_the_first_ones_name(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    save(elsewhere / "object.bin.png")
    folder.mkdir()
    for name in ("z.png", "b.png", "c.png"):
        (folder / name).symlink_to(elsewhere / "object.bin.png")
    assert found(folder) == ["b.png"]
    (folder / "a").symlink_to(elsewhere)
    assert found(folder) == ["a/object.bin.png"]


def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    assert found(tmp_path) == ["a.png", "b.png"]


def test_links_that_lead_nowhere_are_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    assert found(tmp_path) == ["gone.png", "round.png"]
    for path in find_images(str(tmp_path)):
        with pytest.raises(UnreadableImageError, match=path.name):
            image_size(path)


def test_counts_the_formats_that_are_not_read(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.jfif").write_bytes(b"")
    for name in ("x.avif", "deeper/y.GIF", "z.jp2", "._z.jp2", "notes.txt", "model.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listing = list_images(str(tmp_path))
    assert [path.name for path in listing.images] == ["a.png", "b.jfif"]
    assert [path.name for path in listing.passed_over] == ["y.GIF", "x.avif", "z.jp2"]
    assert some_of(listing.passed_over) == f"3 files, {tmp_path}/deeper/y.GIF first"
    assert some_of(listing.passed_over[:1]) == f"1 file, {tmp_path}/deeper/y.GIF"
    for path in listing.images:
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"3 files, .*y\.GIF"):
        find_images(str(tmp_path))


def test_any_name_that_a_file_system_takes(tmp_path: Path) -> None:
    names = [b"caf\xe9.png", b"x" * 249 + b".png", b"[a].png", b"new\nline.png", "日本.png".encode()]
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            Image.new("RGB", (3, 4)).save(file, "PNG")
    paths = find_images(str(tmp_path))
    assert sorted(os.fsencode(path.name) for path in paths) == sorted(names)
    assert all(image_size(path) == (4, 3) for path in paths)
    assert {printable(Path(path.name)) for path in paths} >= {r"caf\xe9.png", "日本.png"}


def test_neither_the_trainer_nor_scikit_image_is_needed(tmp_path: Path) -> None:
    hide = "import sys; sys.modules |= dict.fromkeys(('dec_kernels.trainer', 'lightning', 'skimage'))"
    use = f"from dec_kernels.images import find_images; print(len(find_images({str(save(tmp_path / 'x.png'))!r})))"
    result = subprocess.run([sys.executable, "-c", f"{hide}; {use}"], capture_output=True, text=True, check=False)
    assert result.stdout == "1\n", result.stderr


def test_a_name_that_begins_as_a_home_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no user of that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~old pictures").mkdir()
    (tmp_path / "~old pictures" / "a.png").touch()
    assert find_images("~old pictures") == [Path("~old pictures/a.png")]
    with pytest.raises(FileNotFoundError, match="'~older pictures'"):
        find_images("~older pictures")
