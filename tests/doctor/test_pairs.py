import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dec_kernels.doctor import crops, pairs
from dec_kernels.spec import Spec
from tests.doctor.files import png_of_16_bit_colours, save


def test_folders_are_matched_by_name_and_the_rest_is_named(
    folders: tuple[Path, Path], photo: tuple[Tensor, Tensor]
) -> None:
    source = pairs.find(*folders, max_val=1.0)
    assert [pair.name for pair in source.pairs] == ["a", "b"]
    assert len(source.notes) == 2
    assert "only_sr" in source.notes[0]
    assert "only_hr" in source.notes[1]
    for pair, index in zip(source.pairs, (1, 0), strict=True):
        sr, hr = pair.load()
        torch.testing.assert_close(hr, photo[1][index], rtol=0, atol=1e-7)
        torch.testing.assert_close(sr, photo[0][index], rtol=0, atol=0.51 / 255)


def test_max_val_scales_image_files(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    path = save(tmp_path / "a.png", photo[1][0])
    for image in pairs.find(path, path, max_val=255.0).pairs[0].load():
        torch.testing.assert_close(image, 255 * photo[1][0])


def test_16_bit_gray_keeps_its_scale(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257], [32768, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    sr, _ = pairs.find(tmp_path / "a.png", tmp_path / "a.png", 1.0).pairs[0].load()
    expected = torch.tensor([[0, 1 / 255], [32768 / 65535, 1]]).expand(3, 2, 2)
    torch.testing.assert_close(sr, expected)


def test_16_bit_colours_and_alpha_are_not_changed_in_silence(tmp_path: Path) -> None:
    deep, clear = tmp_path / "deep.png", tmp_path / "clear.png"
    deep.write_bytes(png_of_16_bit_colours(2, 2, value=0x8001))
    Image.new("RGBA", (2, 2), (0, 51, 255, 7)).save(clear)
    source = pairs.find(deep, clear, 1.0)
    assert [note for note in source.notes if "clear.png" in note and "alpha" in note] == source.notes
    sr, hr = source.pairs[0].load()
    assert (sr == torch.tensor(0x8001 / 65535)).all()
    assert torch.allclose(hr[:, 0, 0], torch.tensor([0, 0.2, 1]))


def test_images_are_read_as_for_a_training(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    """A square photograph on its side by EXIF, against the upright one."""
    image = photo[1][0][:, :, :24]
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).rot90().numpy())
    stored.save(tmp_path / "hr.png", exif=exif)
    save(tmp_path / "sr.png", image)
    source = pairs.find(tmp_path / "sr.png", tmp_path / "hr.png", 1.0)
    sr, hr = source.pairs[0].load()
    assert torch.equal(sr, hr)
    (note,) = source.notes
    assert str(tmp_path / "hr.png") in note
    assert "EXIF" in note


def test_folders_are_listed_as_for_a_training(folders: tuple[Path, Path]) -> None:
    for side in folders:
        (side / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(80))
        (side / "here").symlink_to(side)
        (side / "other.avif").write_bytes(b"")
        (side / "deeper").mkdir()
        (side / "a.png" if side.name == "sr" else side / "a.bmp").rename(side / "deeper" / "a.png")
    source = pairs.find(*folders, 1.0)
    assert [pair.name for pair in source.pairs] == ["b", "a"]
    passed_over = [note for note in source.notes if "other.avif" in note]
    assert len(passed_over) == 2


def test_profiles_are_said_and_so_is_that_they_differ(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    paths = tmp_path / "sr.png", tmp_path / "hr.png"
    for path, profile in zip(paths, (None, b"of nothing"), strict=True):
        save(path, photo[1][0])
        with Image.open(path) as image:
            image.load()
            image.save(path, icc_profile=profile)
    notes = pairs.find(*paths, 1.0).notes
    assert len(notes) == 2
    assert all(str(paths[1]) in note and "ICC profile" in note for note in notes)
    notes = pairs.find(paths[1], paths[1], 1.0).notes
    assert len(notes) == 1  # they do not differ


def test_names_that_are_not_utf8_can_be_printed(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGBA", (8, 8)).save(path)
    source = pairs.find(path, path, 1.0)
    assert source.pairs[0].name == r"caf\xe9"
    assert r"caf\xe9.png" in source.notes[0]
    "".join(source.notes).encode()


@pytest.mark.parametrize("form", ["dict", "pair", "two files", "one image"])
def test_saved_tensors(form: str, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    sr, hr = photo if form != "one image" else (photo[0][0], photo[1][0])
    paths: tuple[Path, Path | None] = tmp_path / "sr.pt", None
    if form == "two files":
        paths = tmp_path / "sr.pt", tmp_path / "hr.pt"
        torch.save(hr, tmp_path / "hr.pt")
    torch.save({"dict": {"sr": sr, "hr": hr}, "two files": sr}.get(form, (sr, hr)), tmp_path / "sr.pt")
    batch = crops.cut(pairs.find(*paths, max_val=1.0), None, None, 0, Spec(patch_size=4))
    assert torch.equal(batch.sr, sr.view(-1, 3, 24, 28))
    assert torch.equal(batch.hr, hr.view(-1, 3, 24, 28))


def test_float16_is_examined_in_float32_and_says_so(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
    torch.save([image.half() for image in photo], tmp_path / "a.pt")
    source = pairs.find(tmp_path / "a.pt", None, 1.0)
    assert "float16" in source.notes[0]
    assert source.pairs[0].load()[0].dtype == torch.float32
