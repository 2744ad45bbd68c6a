from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dec_kernels.images import read_image
from dec_kernels.trainer import degrade
from dec_kernels.trainer.cli import main
from dec_kernels.trainer.data import ImagePairs
from dec_kernels.trainer.data.degradation import BSRGAN, Degradation, RealESRGAN
from dec_kernels.trainer.data.degradation.base import sample_stream


def pairs(folder: Path, degradation: Degradation, scale: int = 4) -> ImagePairs:
    return degrade.open_pairs(sorted(folder.glob("*.png")), degradation, scale)


@pytest.mark.parametrize("degradation", [RealESRGAN(), BSRGAN()])
def test_shows_the_middle_as_a_training_sees_it(photographs: Path, degradation: Degradation) -> None:
    of = pairs(photographs, degradation)
    row = degrade.degraded(of, 0, 8, 5, range(3, 6))
    assert row.name == "a"
    image = read_image(photographs / "a.png")
    assert torch.equal(row.hr, image[:, 8:40, 16:48])  # of 48 x 64 pixels, 12 x 16 low-resolution ones
    for k, example in zip(range(3, 6), row.examples, strict=True):
        hr, lr = of.crop(0, 2, 4, 8, 8, sample_stream(5, k))
        assert torch.equal(hr, row.hr)
        assert torch.equal(example.image, lr.repeat_interleave(4, 1).repeat_interleave(4, 2))
        assert example.steps == [str(step) for step in degradation.draw(4, sample_stream(5, k))]  # type: ignore[attr-defined]


def test_small_photographs_are_taken_whole(photographs: Path) -> None:
    row = degrade.degraded(pairs(photographs, RealESRGAN()), 1, 100, 0, [0])
    assert row.hr.shape == row.examples[0].image.shape == (3, 40, 40)


class Nearest(Degradation):
    """A degradation without steps."""

    def __call__(self, hr: torch.Tensor, scale: int, rng: np.random.Generator) -> torch.Tensor:
        return hr[:, ::scale, ::scale]


def test_degradations_without_steps_are_shown_too(photographs: Path, tmp_path: Path) -> None:
    degrade.degrade(str(photographs), tmp_path / "sheet.png", Nearest(), crop_size=32, examples=1, images=1)
    assert Image.open(tmp_path / "sheet.png").size[0] > 0


def test_the_command_writes_a_sheet(photographs: Path, tmp_path: Path) -> None:
    def sheet(*args: str) -> bytes:
        path = tmp_path / "sheet.png"
        assert main(["degrade", "--input", str(photographs), "--output", str(path), "--crop_size", "32", *args]) == 0
        return path.read_bytes()

    plain = sheet("--examples", "1", "--images", "2")
    width, height = Image.open(tmp_path / "sheet.png").size
    assert sheet("--examples", "1", "--images", "2") == plain
    assert sheet("--examples", "1", "--images", "2", "--seed", "1") != plain
    assert sheet("--examples", "1", "--images", "2", "--degradation", "BSRGAN") != plain
    assert sheet("--examples", "1", "--images", "2", "--degradation.jpeg_range", "[5, 5]") != plain
    sheet("--examples", "2", "--images", "1")
    wider, lower = Image.open(tmp_path / "sheet.png").size
    assert wider == 3 * width // 2
    assert lower < height


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--scale", "3"], "crop_size must be a multiple of scale 3, got 256"),
        (["--input", "nowhere"], "'nowhere'"),
        (["--degradation", "BSRGAN", "--degradation.jpeg_prob", "2"], "jpeg_prob"),
        (["--degradation.jpeg_range", "[95, 30]"], "jpeg_range must be two numbers in ascending order"),
        (["--degradation", "Bicubic"], "Bicubic"),
        (["--examples", "0"], "examples"),
    ],
)
def test_errors_say_what_is_wrong(
    args: list[str], words: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sheet.png"
    assert main(["degrade", "--input", str(photographs), "--output", str(path), *args]) == 2
    assert words in capsys.readouterr().err
    assert not path.exists()


def test_photographs_smaller_than_a_pixel_of_the_result_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (9, 3)).save(tmp_path / "thin.png")
    with pytest.raises(ValueError, match=r"thin\.png has 3 x 9 pixels.*scale 4"):
        degrade.degrade(str(tmp_path), tmp_path / "sheet.png", RealESRGAN())
