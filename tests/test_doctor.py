"""The doctor's figures against ones that were computed otherwise, by hand or from the dense equations."""

import importlib.util
import json
import math
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from torch import Tensor

from dec_kernels import reference
from dec_kernels.backends import torch as torch_backend
from dec_kernels.cli import main
from dec_kernels.doctor import arguments, backends, crops, examine, positives, read
from dec_kernels.spec import Spec
from tests.oracle import error, truth

SPEC = Spec(patch_size=4, threshold=30.0, distance="rmse")


@pytest.fixture(scope="module")
def photo() -> tuple[Tensor, Tensor]:
    """SR and HR, (2, 3, 24, 28), with a black corner in the first."""
    hr = torch.from_numpy(np.stack([getattr(data, name)()[40:64, 40:68] for name in ("astronaut", "coffee")]))
    hr = hr.permute(0, 3, 1, 2).float() / 255
    hr[0, :, :4, :8] = 0
    sr = F.interpolate(F.avg_pool2d(hr, 2), scale_factor=2.0)
    return sr, hr


def save(path: Path, image: Tensor) -> Path:
    """(3, H, W) in [0, 1] as an 8-bit image file."""
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> tuple[Path, Path]:
    """SR as PNG and HR as BMP, of two common names, and one alone on either side."""
    sides = tmp_path / "sr", tmp_path / "hr"
    for side, images, suffix in zip(sides, photo, ("png", "bmp"), strict=True):
        side.mkdir()
        for name, image in zip(("b", "a"), images, strict=True):
            save(side / f"{name}.{suffix}", image)
        save(side / f"only_{side.name}.png", images[0])
        (side / "notes.txt").write_text("no image")
    return sides


class TestRead:
    def test_folders_are_matched_by_name_and_the_rest_is_named(
        self, folders: tuple[Path, Path], photo: tuple[Tensor, Tensor]
    ) -> None:
        source = read.find(*folders, max_val=1.0)
        assert [pair.name for pair in source.pairs] == ["a", "b"]
        assert len(source.notes) == 2
        assert "only_sr" in source.notes[0]
        assert "only_hr" in source.notes[1]
        for pair, index in zip(source.pairs, (1, 0), strict=True):
            sr, hr = pair.load()
            torch.testing.assert_close(hr, photo[1][index], rtol=0, atol=1e-7)
            torch.testing.assert_close(sr, photo[0][index], rtol=0, atol=0.51 / 255)

    def test_max_val_scales_image_files(self, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        path = save(tmp_path / "a.png", photo[1][0])
        for image in read.find(path, path, max_val=255.0).pairs[0].load():
            torch.testing.assert_close(image, 255 * photo[1][0])

    def test_16_bit_grey_keeps_its_scale(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[0, 257], [32768, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
        sr, _ = read.find(tmp_path / "a.png", tmp_path / "a.png", 1.0).pairs[0].load()
        expected = torch.tensor([[0, 1 / 255], [32768 / 65535, 1]]).expand(3, 2, 2)
        torch.testing.assert_close(sr, expected)

    def test_16_bit_colours_and_alpha_are_not_changed_in_silence(self, tmp_path: Path) -> None:
        deep, clear = tmp_path / "deep.png", tmp_path / "clear.png"
        deep.write_bytes(_png_of_16_bit_colours(2, 2, value=0x8001))
        Image.new("RGBA", (2, 2), (0, 51, 255, 7)).save(clear)
        source = read.find(deep, clear, 1.0)
        assert [note for note in source.notes if "clear.png" in note and "alpha" in note] == source.notes
        sr, hr = source.pairs[0].load()
        assert (sr == torch.tensor(0x8001 / 65535)).all()
        assert torch.allclose(hr[:, 0, 0], torch.tensor([0, 0.2, 1]))

    def test_images_are_read_as_for_a_training(self, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        """A square photograph on its side by EXIF, against the upright one."""
        image = photo[1][0][:, :, :24]
        exif = Image.Exif()
        exif[0x0112] = 6
        stored = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).rot90().numpy())
        stored.save(tmp_path / "hr.png", exif=exif)
        save(tmp_path / "sr.png", image)
        source = read.find(tmp_path / "sr.png", tmp_path / "hr.png", 1.0)
        sr, hr = source.pairs[0].load()
        assert torch.equal(sr, hr)
        assert source.notes == [f"1 file, {tmp_path / 'hr.png'}: turned as EXIF or XMP says."]

    def test_folders_are_listed_as_for_a_training(self, folders: tuple[Path, Path]) -> None:
        for side in folders:
            (side / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(80))
            (side / "here").symlink_to(side)
            (side / "other.avif").write_bytes(b"")
            (side / "deeper").mkdir()
            (side / "a.png" if side.name == "sr" else side / "a.bmp").rename(side / "deeper" / "a.png")
        source = read.find(*folders, 1.0)
        assert [pair.name for pair in source.pairs] == ["b", "a"]
        passed_over = [note for note in source.notes if "other.avif" in note]
        assert len(passed_over) == 2
        assert all(note.startswith("Passed over: 1 file, ") for note in passed_over)

    def test_profiles_are_said_and_so_is_that_they_differ(self, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        paths = tmp_path / "sr.png", tmp_path / "hr.png"
        for path, profile in zip(paths, (None, b"of nothing"), strict=True):
            save(path, photo[1][0])
            with Image.open(path) as image:
                image.load()
                image.save(path, icc_profile=profile)
        notes = read.find(*paths, 1.0).notes
        assert len(notes) == 2
        assert all(str(paths[1]) in note and "ICC profile" in note for note in notes)
        notes = read.find(paths[1], paths[1], 1.0).notes
        assert len(notes) == 1  # they do not differ

    def test_names_that_are_not_utf8_can_be_printed(self, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9.png")
        Image.new("RGBA", (8, 8)).save(path)
        source = read.find(path, path, 1.0)
        assert source.pairs[0].name == r"caf\xe9"
        assert r"caf\xe9.png: the alpha channel" in source.notes[0]
        "".join(source.notes).encode()

    @pytest.mark.parametrize("form", ["dict", "pair", "two files", "one image"])
    def test_saved_tensors(self, form: str, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        sr, hr = photo if form != "one image" else (photo[0][0], photo[1][0])
        paths: tuple[Path, Path | None] = tmp_path / "sr.pt", None
        if form == "two files":
            paths = tmp_path / "sr.pt", tmp_path / "hr.pt"
            torch.save(hr, tmp_path / "hr.pt")
        torch.save({"dict": {"sr": sr, "hr": hr}, "two files": sr}.get(form, (sr, hr)), tmp_path / "sr.pt")
        batch = crops.cut(read.find(*paths, max_val=1.0), None, None, 0, SPEC)
        assert torch.equal(batch.sr, sr.view(-1, 3, 24, 28))
        assert torch.equal(batch.hr, hr.view(-1, 3, 24, 28))

    def test_float16_is_examined_in_float32_and_says_so(self, tmp_path: Path, photo: tuple[Tensor, Tensor]) -> None:
        torch.save([image.half() for image in photo], tmp_path / "a.pt")
        source = read.find(tmp_path / "a.pt", None, 1.0)
        assert "float16" in source.notes[0]
        assert source.pairs[0].load()[0].dtype == torch.float32


class TestCrops:
    def source(self, *sizes: tuple[int, int]) -> read.Source:
        """HR pixels are all different, and SR is HR + 1000."""
        numbers = torch.arange(200_000.0)
        pairs = []
        for height, width in sizes:
            hr, numbers = numbers[: height * width].view(1, height, width), numbers[height * width :]
            pairs.append(read.Pair("pair", (height, width), lambda hr=hr: (hr + 1000, hr)))
        return read.Source(pairs, [], saved=False)

    def test_no_pixel_comes_twice_and_sr_and_hr_are_cut_alike(self) -> None:
        batch = crops.cut(self.source((50, 70), (33, 40)), (16, 20), 100, 3, SPEC)
        assert batch.hr.shape == (3 * 3 + 2 * 2, 1, 16, 20)
        assert batch.hr.unique().numel() == batch.hr.numel()
        assert torch.equal(batch.sr, batch.hr + 1000)
        assert ((batch.hr[..., 1:] - batch.hr[..., :-1]) == 1).all()

    def test_pairs_give_crops_in_turn(self) -> None:
        batch = crops.cut(self.source((16, 16), (64, 64), (64, 64)), (16, 16), 6, 0, SPEC)
        first, second = 16 * 16, 16 * 16 + 64 * 64
        owner = torch.bucketize(batch.hr[:, 0, 0, 0].contiguous(), torch.tensor([first, second]), right=True)
        assert owner.bincount().tolist() == [1, 3, 2]

    @pytest.mark.parametrize(
        ("sizes", "crop"), [([(90, 90)], 80), ([(90, 90)], 15), ([(16, 16)] * 3, 16)], ids=["shift", "cell", "pair"]
    )
    def test_the_seed_decides(self, sizes: list[tuple[int, int]], crop: int) -> None:
        def first_pixel(seed: int) -> float:
            return crops.cut(self.source(*sizes), (crop, crop), 1, seed, SPEC).hr[0, 0, 0, 0].item()

        assert first_pixel(1) == first_pixel(1)
        assert len({first_pixel(seed) for seed in range(8)}) > 1

    def test_what_was_changed_is_said(self) -> None:
        batch = crops.cut(self.source((50, 70), (22, 100)), (128, 64), 1, 0, SPEC)
        assert batch.facts["crop"] == (22, 64)
        drawn, smaller, leftover, odd_sr, odd_hr = batch.facts["notes"]
        assert "1 of 2 pairs" in drawn
        assert "22 x 64 instead of 128 x 64" in smaller
        assert "2 rows and 0 columns" in leftover
        assert "SR has values" in odd_sr
        assert "HR has values" in odd_hr
        assert batch.facts["patches"] == 5 * 16

    def test_a_window_holds_at_most_as_many_patches(self) -> None:
        images = torch.zeros(5, 3, 17, 33)
        for most, shape in ((200, (5, 3, 17, 33)), (70, (2, 3, 17, 33)), (31, (1, 3, 16, 28)), (1, (1, 3, 4, 4))):
            assert crops.window_of(images, images, 4, most)[0].shape == shape


class TestPositives:
    @pytest.mark.parametrize("per_image", [False, True])
    def test_counts_of_a_constructed_image(self, per_image: bool) -> None:
        """Flat grey patches: rmse is the difference of the greys, 0.0315 at 30 dB; l2 is 4 sqrt(3) times that."""
        greys = torch.tensor([[0.5, 0.53, 0.56, 0.1], [0.1, 0.5, 0.504, 0.9]])
        hr = greys[:, None, None, :].repeat_interleave(4, 3).expand(2, 3, 4, 16)
        found, counts = examine.neighbours(
            hr, Spec(4, 30.0, distance="rmse", scope="image" if per_image else "batch"), 0
        )
        # batch: 0.1 0.1 | 0.5 0.5 0.504 0.53 | 0.53 0.56 | 0.9; image: 0.5 0.53, 0.53 0.56, and 0.5 0.504
        expected = {"1": 3, "2": 4, "3-4": 1} if per_image else {"1": 1, "2": 3, "3-4": 3, "5-8": 1}
        assert found["histogram"] == expected
        assert found["rows"] == 8
        assert found["alone"]["rmse"] == expected["1"] / 8
        assert found["alone"]["l2"] == (6 / 8 if per_image else 3 / 8)
        assert [len(each) for each in counts.values()] == [len(examine.THRESHOLDS)] * 2

    @pytest.mark.parametrize("scope", ["batch", "image"])
    def test_counts_are_the_row_sums_of_the_mask(self, scope: str, photo: tuple[Tensor, Tensor]) -> None:
        _, hr = photo
        groups = positives.groups(hr, 4, scope == "image")
        p = reference.patch_rows(hr.double(), 4)
        p = p if scope == "image" else p.flatten(0, 1)[None]
        for db in (20.0, 30.0, 45.0):
            radius = Spec(4, db, distance="rmse").constants(48, "ieee").radius
            counts = positives.count(groups, [radius, 1e-9], 0)
            truth = reference.positives(p, radius).sum(-1)
            assert counts[0].sort().values.tolist() == truth.flatten().sort().values.tolist()

    def test_a_sample_of_rows_sees_all_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positives, "MOST_PAIRS", 300)
        counts = positives.count(positives.groups(torch.zeros(1, 1, 40, 40), 4, False), [0.1], 0)
        assert counts.tolist() == [[100, 100, 100]]

    def test_the_band_covers_every_tile_with_a_positive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positives, "TILE", 2)
        greys = torch.tensor([0.0, 0.01, 0.5, 0.51, 0.52, 0.9, 0.91])
        hr = greys[None, None, None].repeat_interleave(2, 3).expand(1, 1, 2, 14)
        groups = positives.groups(hr, 2, False)
        # Tiles of rows (0 0.01) (0.5 0.51) (0.52 0.9) (0.91): 1, 2, 1 + 1 + 1 and 2 tiles of columns reach them.
        assert positives.band_share(groups, 2 * 0.015) == (1 + 2 + 3 + 2) / 16
        assert positives.band_share(groups, 2 * 2.0) == 1

    def test_the_histogram_doubles_its_bins(self) -> None:
        assert examine.histogram(torch.tensor([1, 2, 2, 3, 5, 8, 9])) == {"1": 1, "2": 2, "3-4": 1, "5-8": 2, "9-16": 1}


class TestExamine:
    @pytest.mark.parametrize("temperature", ["outside", "inside"])
    def test_terms_are_those_of_the_dense_equations(self, temperature: str, photo: tuple[Tensor, Tensor]) -> None:
        spec = Spec(4, 30.0, distance="rmse", temperature=temperature)
        sr, hr = photo
        found = examine.terms(sr, hr, spec)
        q, p = (reference.patch_rows(images.double(), 4).flatten(0, 1) for images in photo)
        qpos, qneg = reference.similarity_sums(q, p, spec.constants(48, "ieee"))
        assert found["mean_log_qpos"] == pytest.approx(qpos.log().mean().item(), rel=1e-5)
        assert found["mean_log_qneg"] == pytest.approx(qneg.log().mean().item(), rel=1e-5)
        assert found["loss"] == pytest.approx(truth(sr, hr, spec).loss.item(), rel=1e-5)
        assert (found["rows"], found["rows_without_negatives"]) == (84, 0)
        assert (found["zero_patches_sr"], found["zero_patches_hr"]) == (2, 2)

    def test_rows_without_negatives(self, photo: tuple[Tensor, Tensor]) -> None:
        found = examine.terms(*photo, Spec(4, threshold=-100.0))
        assert found["rows_without_negatives"] == 84
        assert (found["loss"], found["mean_log_qpos"]) == (0, None)

    def test_the_suggested_weight_gives_the_share(self, photo: tuple[Tensor, Tensor]) -> None:
        sr, hr = photo
        found = examine.gradients(sr, hr, SPEC)
        weight = examine.weight(found, share=0.25, l1_weight=1e-2)["weight"]
        assert weight is not None
        dec = truth(sr, hr, Spec(4, 30.0, distance="rmse", loss_weight=weight)).gradient.norm()
        double = sr.double().requires_grad_()
        (1e-2 * F.l1_loss(double, hr.double())).backward()
        assert dec / double.grad.norm() == pytest.approx(0.25, rel=1e-5)

    def test_gradients_beside_l1_and_mse(self, photo: tuple[Tensor, Tensor]) -> None:
        sr, hr = photo
        found = examine.gradients(sr, hr, SPEC)
        gradient = truth(sr, hr, SPEC).gradient
        mse = 2 * (sr - hr).double().norm() / sr.numel()
        l1 = (sr - hr).sign().double() / sr.numel()
        assert found["dec_over_mse"] == pytest.approx((gradient.norm() / mse).item(), rel=1e-5)
        assert found["dec_over_l1"] == pytest.approx((gradient.norm() / l1.norm()).item(), rel=1e-5)
        dec_patches, l1_patches = (reference.patch_rows(g, 4).flatten(0, 1).norm(dim=1) for g in (gradient, l1))
        ratios = (dec_patches / l1_patches)[l1_patches > 0]
        assert found["dec_over_l1_median"] == pytest.approx(ratios.median().item(), rel=1e-5)
        assert found["strongest"] == pytest.approx((dec_patches.max() / gradient.norm()).square().item(), rel=1e-5)

    def test_identical_images_have_no_ratio_and_no_weight(self, photo: tuple[Tensor, Tensor]) -> None:
        found = examine.gradients(photo[1], photo[1], SPEC)
        assert (found["l1"], found["dec_over_l1"], found["dec_over_l1_median"]) == (0, None, None)
        assert examine.weight(found, 0.5, 1e-2)["weight"] is None

    def test_the_sweep_is_the_loss_at_each_threshold(self, photo: tuple[Tensor, Tensor]) -> None:
        sr, hr = photo
        _, counts = examine.neighbours(hr, SPEC, 0)
        found = examine.sweep(sr, hr, SPEC, counts)
        assert set(found["curves"]) == {"l2", "rmse"}
        for distance, curve in found["curves"].items():
            for index in (0, 5):
                threshold = found["thresholds"][index]
                at = examine.neighbours(hr, Spec(4, threshold, distance=distance), 0)[0]
                result = truth(sr, hr, Spec(4, threshold, distance=distance))
                ratio = result.gradient.norm() / ((sr != hr).sum() ** 0.5 / sr.numel())
                assert curve["alone"][index] == at["alone"][distance]
                assert curve["positives"][index] == at["mean"]
                assert curve["loss"][index] == pytest.approx(result.loss.item(), rel=1e-5)
                assert curve["gradient_ratio"][index] == pytest.approx(ratio.item(), rel=1e-5)
        assert found["curves"]["rmse"]["positives"] == sorted(found["curves"]["rmse"]["positives"], reverse=True)


class TestBackends:
    def test_errors_are_those_of_the_oracle(self, photo: tuple[Tensor, Tensor]) -> None:
        sr, hr = photo
        found = {check["backend"]: check for check in backends.checks(sr, hr, SPEC)}
        assert {"torch", "reference"} <= set(found)
        assert all(check["right"] for check in found.values())
        true = truth(sr, hr, SPEC)
        x = sr.clone().requires_grad_()
        examine.loss(x, hr, Spec(4, 30.0, distance="rmse", backend="torch")).backward()
        assert x.grad is not None
        assert found["torch"]["gradient_error"] == pytest.approx(error(x.grad, true.gradient), rel=1e-3)
        assert 0 < found["torch"]["loss_error"] < found["torch"]["loss_allowed"] < 1e-5

    @pytest.mark.parametrize(("precision", "least"), [("ieee", 1e-8), ("bf16", 1e-4)])
    def test_a_coarser_preset_is_right_within_its_own_error(
        self, precision: str, least: float, photo: tuple[Tensor, Tensor]
    ) -> None:
        spec = Spec(4, 30.0, distance="rmse", precision=precision)
        check = next(c for c in backends.checks(*photo, spec) if c["backend"] == "torch")
        assert check["right"]
        assert least < check["gradient_error"] < check["gradient_allowed"] < 0.5

    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_a_wrong_backend_is_found(
        self, direction: str, photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = getattr(torch_backend.BACKEND, direction)

        def wrong(*inputs):
            result = right(*inputs)
            return result * 1.001 if direction == "backward" else torch.stack([result[0] * 1.001, result[1]])

        monkeypatch.setattr(torch_backend.BACKEND, direction, wrong)
        verdicts = {check["backend"]: check["right"] for check in backends.checks(*photo, SPEC)}
        assert verdicts["torch"] is False
        assert verdicts["reference"] is True

    def test_costs_say_why_a_backend_was_not_timed(
        self, photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def found() -> dict[str, backends.Cost]:
            return {cost["backend"]: cost for cost in backends.costs(*photo, SPEC)}

        monkeypatch.setenv("TRITON_INTERPRET", "1")
        costs = found()
        assert costs["triton"]["seconds"] is None
        expected = "interpreted" if importlib.util.find_spec("triton") else "not installed"
        assert expected in (costs["triton"]["reason"] or "")
        for name in ("torch", "reference"):
            assert costs[name]["reason"] is None
            assert 1e-5 < (costs[name]["seconds"] or 0) < 10
        monkeypatch.setattr(backends, "MOST_DENSE", 83)
        monkeypatch.setenv("TRITON_INTERPRET", "0")
        costs = found()
        assert "dense" in (costs["reference"]["reason"] or "")
        assert "CUDA" in (costs["triton"]["reason"] or "")


class TestCommand:
    """From the command line to the files; the interpreter of Triton is off, as it is for users."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRITON_INTERPRET", "0")
        monkeypatch.chdir(tmp_path)

    def test_tables_json_and_plot_show_the_same_facts(
        self, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["doctor", *map(str, folders), "--patch-size", "4", "--distance", "rmse", "--json", "facts.json"]
        assert main(given) == 0
        shown = capsys.readouterr().out
        facts = json.loads(Path("facts.json").read_text())
        pairs = read.find(*folders, max_val=1.0).pairs
        sr, hr = (torch.stack(side) for side in zip(*(pair.load() for pair in pairs), strict=True))
        assert facts["terms"]["loss"] == pytest.approx(truth(sr, hr, Spec(4, distance="rmse")).loss.item(), rel=1e-5)
        assert facts["input"]["crop"] == [24, 28]
        assert f"{facts['terms']['loss']:.6g}" in shown
        assert f"{facts['weight']['weight']:.4g}" in shown
        assert all(cost["backend"] in shown for cost in facts["backends"])
        assert f"{facts['positives']['alone']['rmse']:.1%} of the rows" in facts["advice"][0]
        assert "24 x 28 instead of 128 x 128" in " ".join(shown.split())
        assert "dec_doctor.png" in shown
        with Image.open("dec_doctor.png") as image:
            assert image.format == "PNG"
            pixels = np.asarray(image.convert("RGB")).astype(int)
        for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):  # a line of each distance in each of the four panels
            found = (abs(pixels - colour).sum(-1) < 20).reshape(2, pixels.shape[0] // 2, 2, -1).sum((1, 3))
            assert (found > 500).all()

    def test_json_to_stdout_is_json_alone(
        self, photo: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(photo, "batch.pt")
        assert main(["doctor", "batch.pt", "--patch-size", "12", "--json", "-", "--plot", "p.png"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["plot"] == "p.png"
        assert facts["input"]["patches"] == 8

    def test_a_wrong_backend_is_the_exit_status(
        self, photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(photo, "batch.pt")
        right = torch_backend.BACKEND.backward
        monkeypatch.setattr(torch_backend.BACKEND, "backward", lambda *inputs: 1.01 * right(*inputs))
        assert main(["doctor", "batch.pt", "--patch-size", "12"]) == 1
        assert "WRONG" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("given", "wanted"),
        [
            (["nowhere.png", "a.png"], ["nowhere.png"]),
            (["a.png"], ["HR is missing", "a.png"]),
            (["a.png", "empty"], ["a.png", "empty", "two files or two folders"]),
            (["empty", "one"], ["'empty' holds no image"]),
            (["one", "other"], ["no image in one", "x.png", "y.png"]),
            (["a.png", "small.png"], ["a.png with 24 x 28", "small.png with 4 x 4"]),
            (["text.png", "a.png"], ["cannot read text.png as an image"]),
            (["float.tiff", "float.tiff"], ["float.tiff", "floating-point"]),
            (["huge.png", "huge.png"], ["huge.png", "14000 x 14000", "DEC_KERNELS_MAX_PIXELS=196000000"]),
            (["small.png", "small.png"], ["patch_size=8", "0"]),
            (["small.png", "small.png", "--patch-size", "4"], ["patch_size=4", "leaves 1"]),
            (["a.png", "a.png", "--max-val", "1e16"], ["max_val", "1e+15", "got 1e+16"]),
            (["a.png", "a.png", "--t-pos", "0"], ["t_pos", "greater than 0", "got 0"]),
            (["a.png", "a.png", "--plot", "no/such.png"], ["no folder no"]),
            (["a.png", "a.png", "--json", "no/such.json"], ["no folder no"]),
            (["text.pt"], ["text.pt", "saved tensors"]),
            (["void.pt"], ["void.pt", "saved tensors"]),
            (["halved.pt"], ["halved.pt", "saved tensors"]),
            (["one.pt"], ["one.pt", "Tensor"]),
            (["keys.pt"], ["'sr' and 'hr'", "'lq'"]),
            (["bytes.pt"], ["SR", "floating-point", "uint8"]),
            (["float8.pt"], ["SR", "floating-point", "float8_e5m2"]),
            (["sparse.pt"], ["HR", "dense", "sparse_coo"]),
            (["meta.pt"], ["SR", "values", "meta"]),
            (["nan.pt"], ["HR", "NaN"]),
            (["large.pt"], ["HR", "up to 1e+200", "1e+15"]),
            (["shapes.pt"], ["(1, 3, 8, 8)", "(1, 3, 8, 9)"]),
        ],
    )
    def test_unusable_input_is_named_with_status_2(
        self, given: list[str], wanted: list[str], photo: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.write_bad_input(photo[1][0])
        assert main(["doctor", *given]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("dec-kernels doctor: error: ")
        assert all(part in err for part in wanted), err

    def test_an_environment_that_names_a_backend_which_cannot_run(
        self, photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(photo, "batch.pt")
        monkeypatch.setenv("DEC_KERNELS_BACKEND", "triton")
        assert main(["doctor", "batch.pt", "--device", "cpu"]) == 2
        assert "error: DEC_KERNELS_BACKEND is set, and backend='triton' cannot run" in capsys.readouterr().err

    def write_bad_input(self, image: Tensor) -> None:
        for folder in ("empty", "one", "other"):
            Path(folder).mkdir()
        for path in ("a.png", "one/x.png", "other/y.png"):
            save(Path(path), image)
        save(Path("small.png"), image[:, :4, :4])
        Path("text.png").write_text("no image")
        Path("text.pt").write_text("no tensor")
        Image.new("F", (8, 8)).save("float.tiff")
        Path("huge.png").write_bytes(_png_of_16_bit_colours(1, 1, 0, announced=14_000))
        x = torch.zeros(1, 3, 8, 8)
        torch.save(x, "one.pt")
        torch.save(torch.zeros(30_000), "halved.pt")
        Path("halved.pt").write_bytes(Path("halved.pt").read_bytes()[:60_000])  # where PyTorch has an OSError
        Path("void.pt").touch()
        torch.save({"lq": x, "hr": x}, "keys.pt")
        torch.save((x.byte(), x.byte()), "bytes.pt")
        torch.save((x.to(torch.float8_e5m2), x), "float8.pt")
        torch.save((x, x.to_sparse()), "sparse.pt")
        torch.save((x.to("meta"), x), "meta.pt")
        torch.save((x, x * math.nan), "nan.pt")
        torch.save((x, x.double() + 1e200), "large.pt")
        torch.save((x, torch.zeros(1, 3, 8, 9)), "shapes.pt")

    @pytest.mark.parametrize(
        "option", ["--crop=0", "--crop=3x", "--crops=0", "--share=-1", "--l1-weight=inf", "--device=abacus"]
    )
    def test_an_option_out_of_range_is_a_usage_error(self, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["doctor", "a.png", "b.png", option])
        name, _, value = option.partition("=")
        error_line = capsys.readouterr().err.splitlines()[-1]
        assert name in error_line
        assert repr(value) in error_line

    def test_whole_images_must_have_one_size(self, folders: tuple[Path, Path], photo: tuple[Tensor, Tensor]) -> None:
        for folder in folders:
            save(next(folder.glob("a.*")), photo[0][0, :, :20])
        with pytest.raises(ValueError, match="20 x 28, 24 x 28"):
            crops.cut(read.find(*folders, max_val=1.0), arguments.WHOLE, None, 0, SPEC)

    @pytest.mark.parametrize("missing", ["rich", "matplotlib", "cv2"])
    def test_a_missing_extra_is_named(self, missing: str) -> None:
        command = f"import sys; sys.modules[{missing!r}] = None; from dec_kernels.cli import main; "
        command += "sys.exit(main(['doctor', 'a.png', 'a.png']))"
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(f"dec-kernels doctor: error: {missing} is missing")
        assert 'pip install "dec-kernels[doctor]"' in done.stderr


def _png_of_16_bit_colours(height: int, width: int, value: int, announced: int | None = None) -> bytes:
    """Pillow reads such files and does not write them. `announced` is the side that the header claims."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = (announced or width).to_bytes(4) + (announced or height).to_bytes(4) + bytes([16, 2, 0, 0, 0])
    line = b"\0" + value.to_bytes(2) * 3 * width
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(line * height)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
