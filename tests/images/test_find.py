from pathlib import Path

import pytest
from PIL import Image

from dec_kernels.images import find_images


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
    with pytest.raises(FileNotFoundError, match=r"ships no image 'nobody'; it ships .*astronaut"):
        find_images("skimage:nobody")
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'astronaut'.*skimage:NAME"):
        find_images("astronaut")
    with pytest.raises(FileNotFoundError, match=r"holds no image; looked for \.bmp"):
        find_images(str(tmp_path))
