from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.evidence import photographs


def save(path: Path, width: int, height: int, contrast: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, contrast, (height // 8, width // 8, 3), dtype=np.uint8))
    coarse.resize((width, height), Image.Resampling.NEAREST).save(path)


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    save(folder / "interior_photos/images/textured.jpg", 97, 64, 255)
    save(folder / "interior_photos/images/smooth.jpg", 96, 64, 4)
    save(folder / "x/usr/share/backgrounds/other.jpg", 64, 96, 255)
    for name in photographs.HELDOUT:
        save(folder / f"y/usr/share/wallpapers/{name}/contents/images/64x48.jpg", 64, 48, 4)
    return folder


def test_the_command(unpacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Halves; leaves out smooth photographs to train on, and none to measure on."""
    out = tmp_path / "out"
    assert photographs.main([str(unpacked), str(out)]) == 0
    assert sorted(path.name for path in (out / "train").iterdir()) == ["other.png", "textured.png"]
    assert sorted(path.stem for path in (out / "heldout").iterdir()) == sorted(photographs.HELDOUT)
    assert Image.open(out / "train/textured.png").size == (48, 32)
    assert "2 photographs" in capsys.readouterr().out


@pytest.mark.parametrize(("size", "reduced"), [((4800, 2400), (1600, 800)), ((4800, 2399), (2400, 1199))])
def test_large_photographs_are_reduced_to_a_third(size: tuple[int, int], reduced: tuple[int, int]) -> None:
    assert photographs.reduced(Image.new("L", size)).size == reduced
    assert photographs.reduced(Image.new("L", size)).mode == "RGB"


@pytest.mark.parametrize("missing", ["interior_photos", "usr/share/backgrounds", "Kite"])
def test_a_package_that_is_missing(unpacked: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(unpacked.glob("**/*.jpg")):
        if missing in str(path):
            path.unlink()
    with pytest.raises(SystemExit) as end:
        photographs.main([str(unpacked), str(unpacked / "out")])
    assert end.value.code == 2
    assert missing in capsys.readouterr().err
