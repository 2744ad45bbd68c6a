import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dec_kernels.images import read_image
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.compare import run as module
from dec_kernels.trainer.compare.run import compare, main
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.pixels import to_uint8
from tests.trainer.compare.conftest import save


class Distance(torch.nn.Module):
    """Stands in for LPIPS, whose weights are large: the mean absolute difference."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean(dim=(1, 2, 3))


def read(path: Path) -> Tensor:
    image = read_image(path)
    height, width = (side - side % 4 for side in image.shape[-2:])
    return image[:, :height, :width]


def test_figures_of_each_method_and_data_set(
    study_data: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*arguments, "--out", str(out), "--crop_size", "16"]) == 0
    wanted = {}
    for name in ("One/a", "One/deep/b", "Two/a"):
        for method, file in (("Fine", f"fine/{name}.png"), ("Coarse", f"coarse/{name}x4_coarse.png")):
            figures = measure(read(study_data / file), read(study_data / "hr" / f"{name}.png"), border=4)
            wanted[name.partition("/")[0], method, name.partition("/")[2]] = figures
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = ["psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"]
    found = {(row["data_set"], row["method"], row["image"]): {key: float(row[key]) for key in metrics} for row in rows}
    assert found == wanted

    with (out / "table.csv").open(newline="") as file:
        means = {(row["data_set"], row["method"]): row for row in csv.DictReader(file)}
    assert {key: row["images"] for key, row in means.items()} == {
        ("One", "Fine"): "2",
        ("One", "Coarse"): "2",
        ("Two", "Fine"): "1",
        ("Two", "Coarse"): "1",
    }
    both = [wanted["One", "Fine", image]["psnr_y"] for image in ("a", "deep/b")]
    assert float(means["One", "Fine"]["psnr_y"]) == pytest.approx(sum(both) / 2)

    content = json.loads((out / "comparison.json").read_text())
    assert content["border"] == content["scale"] == 4
    assert content["data_sets"]["Two"]["methods"]["Coarse"]["images"]["a"] == wanted["Two", "Coarse", "a"]
    assert content["data_sets"]["One"]["methods"]["Fine"]["mean"]["psnr_y"] == pytest.approx(sum(both) / 2)
    # Of three images, each one's best square before the second of any.
    assert sorted(crop["image"] for crop in content["crops"][:3]) == ["One/a", "One/deep/b", "Two/a"]
    assert [len(content["crops"]), content["crops"][3]["size"]] == [4, 16]
    with Image.open(out / "crops.png") as image:
        assert image.size == (int(3 * 2.3 * 160), int((4 * 2.55 + 0.5) * 160))
    printed = " ".join(capsys.readouterr().out.split())
    assert all(text in printed for text in ("One (2 images)", "Two (1 image)", "Coarse", f"{sum(both) / 2:.2f}"))


def test_one_data_set_needs_no_name(study_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hr", str(study_data / "hr" / "Two"), f"[/b]={study_data / 'fine' / 'Two'}"]) == 0
    printed = capsys.readouterr().out
    assert "Two (1 image)" in printed
    assert "[/b]" in printed


def test_lpips(study_data: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LPIPS", Distance)
    monkeypatch.setattr(module, "SMALLEST", 20)
    settings = {"hr": [f"Two={study_data / 'hr' / 'Two'}"], "methods": arguments[-2:], "out": tmp_path, "crop_size": 24}
    summaries, shown, *_ = compare(**settings, lpips="weights.pth")  # type: ignore[arg-type]
    sr, hr = read(study_data / "fine" / "Two" / "a.png"), read(study_data / "hr" / "Two" / "a.png")
    figures = summaries["Two"].figures["Fine"]["a"]
    assert figures["lpips"] == pytest.approx((sr.float() - hr.float()).abs().mean().item() / 255)
    assert "lpips" in (tmp_path / "table.csv").read_text().splitlines()[0]
    with Image.open(tmp_path / "crops.png") as image:
        with_lpips = image.size
    compare(**settings)  # type: ignore[arg-type]
    with Image.open(tmp_path / "crops.png") as image:
        assert image.size[1] < with_lpips[1]  # which has a line more under each tile
    assert shown[0].difference is not None
    with pytest.raises(ValueError, match="crop_size must be at least 20, got 19"):
        compare(**settings | {"crop_size": 19}, lpips="weights.pth")  # type: ignore[arg-type]


def test_crops_by_hand_come_first(study_data: Path, arguments: list[str], tmp_path: Path) -> None:
    crops = ["--crop", "Two/a:3,5,20", "--crop", "One/deep/b:0,40,16"]
    for count, expected in (([], 2), (["--crops", "3"], 5)):
        assert main([*arguments, "--out", str(tmp_path), *crops, *count, "--crop_size", "12"]) == 0
        content = json.loads((tmp_path / "comparison.json").read_text())
        assert content["crops"][:2] == [
            {"image": "Two/a", "top": 3, "left": 5, "size": 20, "difference": None},
            {"image": "One/deep/b", "top": 0, "left": 40, "size": 16, "difference": None},
        ]
        assert len(content["crops"]) == expected
    shown = compare(arguments[1:4:2], arguments[4:], crop=["Two/a:3,5,20"], out=tmp_path).shown
    for method, tile in shown[0].sample.tiles.items():
        folder, tail = {"HR": ("hr", ""), "Fine": ("fine", ""), "Coarse": ("coarse", "x4_coarse")}[method]
        assert torch.equal(tile, read(study_data / folder / "Two" / f"a{tail}.png")[:, 3:23, 5:25])


def test_one_method_is_shown_where_it_differs_from_the_ground_truth(tmp_path: Path) -> None:
    hr = np.full((60, 60, 3), 100, np.uint8)
    sr = hr.copy()
    sr[33:45, 20:32] += 50
    save(tmp_path / "hr" / "x.png", hr)
    save(tmp_path / "sr" / "x.png", sr)
    shown = compare([str(tmp_path / "hr")], [f"sr={tmp_path / 'sr'}"], crops=1, crop_size=12, out=tmp_path / "o").shown
    assert tuple(shown[0].crop) == ("x", 33, 20, 12)
    assert shown[0].difference == 50.0**2


def test_at_scale_1_every_pixel_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hr = np.full((30, 31, 3), 100, np.uint8)
    noisy = hr.copy()
    noisy[0, 0] = 110  # in the corner
    save(tmp_path / "hr" / "x.png", hr)
    save(tmp_path / "sr" / "x.png", noisy)
    summary = compare([str(tmp_path / "hr")], [f"sr={tmp_path / 'sr'}"], scale=1).summaries["hr"]
    assert summary.figures["sr"]["x"]["psnr_rgb"] == pytest.approx(10 * np.log10(255**2 / (10**2 / (30 * 31))))
    assert main(["--hr", str(tmp_path / "hr"), f"sr={tmp_path / 'sr'}", "--scale", "1"]) == 0
    assert "every pixel" in capsys.readouterr().out


def test_every_image_is_shown_before_one_is_shown_twice(tmp_path: Path) -> None:
    gray = np.full((60, 60, 3), 100, np.uint8)
    for image, change in (("strong", 50), ("weak", 1)):
        save(tmp_path / "hr" / f"{image}.png", gray)
        save(tmp_path / "sr" / f"{image}.png", gray + np.uint8(change))
    arguments = [str(tmp_path / "hr")], [f"sr={tmp_path / 'sr'}"]
    shown = compare(*arguments, crops=3, crop_size=12, out=tmp_path / "out").shown
    assert [each.crop.image for each in shown] == ["strong", "weak", "strong"]


def test_exact_images_and_16_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        (tmp_path / "hr").mkdir(exist_ok=True)
        fine = rng.integers(0, 65536, (24, 24, 3), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "hr" / f"{name}.png"), fine)
    eight = np.round(cv2.imread(str(tmp_path / "hr" / "x.png"), cv2.IMREAD_UNCHANGED) / 257).astype(np.uint8)
    save(tmp_path / "sr" / "x.png", eight[..., ::-1])
    save(tmp_path / "sr" / "y.png", eight)
    out = tmp_path / "out"
    assert main(["--hr", str(tmp_path / "hr"), f"sr={tmp_path / 'sr'}", "--out", str(out), "--crop_size", "12"]) == 0
    assert re.search("hr: sr: the mean leaves out exact images: PSNR Y of 1", " ".join(capsys.readouterr().out.split()))
    found = json.loads((out / "comparison.json").read_text())["data_sets"]["hr"]["methods"]["sr"]
    assert found["images"]["x"]["psnr_y"] is None
    assert found["images"]["y"]["psnr_y"] == found["mean"]["psnr_y"]
    assert "inf" in (out / "images.csv").read_text()


def test_mistakes_end_in_a_sentence(
    study_data: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "page.key.json").write_text("")
    sets = arguments[:4]
    mistakes: list[tuple[list[str], list[str]]] = [
        ([*arguments, "Fine"], ["a method", "NAME=DIR", "'Fine'"]),
        ([*arguments, "--scale", "0"], ["scale", "0"]),
        ([*arguments, "--scale", "5"], ["Coarse: One", "2 of 2"]),
        ([*arguments, "--crop", "One/a"], ["--crop", "IMAGE:top,left,size", "'One/a'"]),
        ([*arguments, "--crop", "One/a:0,0,20"], ["--crop", "--out"]),
        ([*arguments, "--out", str(tmp_path), "--crop", "One/x:0,0,20"], ["--crop", "'One/x'"]),
        ([*arguments, "--crops", "-1"], ["crops", "-1"]),
        ([*arguments, "--crop_size", "10"], ["crop_size", "11", "10"]),
        ([*arguments, "--crop-size", "20"], ["Did you mean 'crop_size'?"]),
        ([*arguments, "--lpips", "nowhere.pth"], ["nowhere.pth"]),
        ([*arguments, "--out", str(tmp_path / "file")], ["--out", "is a file"]),
        ([*arguments, "--blind", str(tmp_path / "page.html")], ["page.key.json exists"]),
        ([*arguments, "--blind", str(tmp_path / "b.html"), "--crops", "0"], ["--blind", "0"]),
        ([*sets, arguments[4], "--blind", str(tmp_path / "b.html")], ["--blind", "two methods", "1"]),
        ([*sets, f"HR={study_data / 'fine'}"], ["'HR'"]),
        ([*arguments, "--hr", str(study_data)], ["--hr", "SET=DIR"]),
        (arguments[4:], ["hr"]),
    ]
    for given, words in mistakes:
        assert dec_train(["compare", *given]) == 2, given
        error = capsys.readouterr().err
        assert error.startswith("dec-train compare: ")
        assert all(word in error for word in words), error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "page.key.json"]


def test_a_damaged_file_is_named(study_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (study_data / "fine" / "Two" / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])  # behind its header
    assert main(["--hr", str(study_data / "hr" / "Two"), f"m={tmp_path}", "--out", str(tmp_path / "out")]) == 2
    assert f"cannot read {tmp_path / 'a.png'} as an image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_image_of_all_methods_is_in_memory_at_a_time(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = most = 0

    class Counted:
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Holder(np.ndarray):
        counted: Counted

    def counted(image: Tensor) -> Tensor:
        nonlocal alive, most
        pixels = to_uint8(image).numpy()
        kept = Holder(pixels.shape, pixels.dtype, buffer=bytearray(pixels.tobytes()))
        kept.counted = Counted()
        alive += 1
        most = max(most, alive)
        return torch.from_numpy(kept)

    monkeypatch.setattr(module, "to_uint8", counted)
    compare(arguments[1:4:2], arguments[4:], out=tmp_path, crop_size=12)
    assert most <= 2 * 3  # of three images; the one before is let go while the next is read
    assert alive == 0
