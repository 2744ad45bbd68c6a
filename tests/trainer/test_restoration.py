"""Denoising from end to end, at scale 1: training, measuring, restoring files, going on."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from benchmarks import restoration
from benchmarks.compare import RESULTS
from dec_kernels.trainer.cli import main
from dec_kernels.trainer.module import SuperResolution

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


def figures(path: Path) -> dict[str, dict[str, float]]:
    with path.open(newline="") as file:
        return {row.pop("image"): {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)}


def psnr(path: Path, name: str) -> float:
    with Image.open(path) as image:
        found = np.array(image).astype(float)
    return float(10 * np.log10(255**2 / np.square(found - getattr(data, name)()).mean()))


def test_the_small_denoiser_beats_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`denoise_small`, cut to 40 steps. Its input has 20.2 dB, by sigma, and a little more by clipping."""
    run, noisy, clean = tmp_path / "run", tmp_path / "noisy", tmp_path / "clean"
    short = ("--data.batches_per_epoch=40", "--trainer.val_check_interval=40", "--model.warmup_steps=5")
    assert main(["fit", "--config", "denoise_small", "--out", str(run), *short, *QUIET]) == 0
    capsys.readouterr()
    assert main(["test", "--config", str(run / "config.yaml"), QUIET[0]]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Input", "HINet", "every pixel measured"))
    rows = figures(run / "test" / "images.csv")
    for name in ("chelsea", "coffee"):
        assert rows[name]["psnr_rgb"] > 20.3 + 3

    # The same network on files, of which no training has seen the noise.
    noisy.mkdir()
    rng = np.random.default_rng(0)
    photograph = data.chelsea()
    degraded = (photograph + rng.normal(0, 25, photograph.shape)).round().clip(0, 255).astype(np.uint8)
    Image.fromarray(degraded).save(noisy / "chelsea.png")
    weights = str(run / "checkpoints" / "last.ckpt")
    assert main(["predict", "--weights", weights, "--input", str(noisy), "--output", str(clean), "--tile=0"]) == 0
    assert 20.1 < psnr(noisy / "chelsea.png", "chelsea") < 20.5
    assert psnr(clean / "chelsea.png", "chelsea") == pytest.approx(rows["chelsea"]["psnr_rgb"], abs=0.3)


def test_goes_on_bit_for_bit(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (
        *("--model.generator.init_args.wf=2", "--data.crop_size=16", f"--data.train=[{photographs}]"),
        *(f"--data.val=[{photographs}/a.png]", "--data.degradation.init_args.sigma=[5, 50]", "--checkpoint_every=2"),
        *("--data.batches_per_epoch=6", "--trainer.val_check_interval=3", *QUIET),
    )
    assert main(["fit", "--config", "denoise_small", "--out", str(tmp_path / "whole"), *small]) == 0
    step = SuperResolution.training_step

    def stopped(self: SuperResolution, *args: Any) -> Any:
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *args)

    command = ["fit", "--config", "denoise_small", "--out", str(tmp_path / "parts"), *small]
    monkeypatch.setattr(SuperResolution, "training_step", stopped)
    assert main(command) == 130
    monkeypatch.undo()
    assert main([*command, "--resume", "auto"]) == 0
    found, wanted = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("parts", "whole")
    )
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    validation = Path("validation", "0000006.csv")
    assert (tmp_path / "parts" / validation).read_text() == (tmp_path / "whole" / validation).read_text()


def test_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command after two steps of the smallest networks."""
    clean = np.random.default_rng(0).integers(60, 200, (112, 120, 3), dtype=np.uint8)
    Image.fromarray(clean).save(tmp_path / "x.png")
    small = (
        *("--config", "denoise_small", "--model.generator.init_args.wf=2", "--data.crop_size=16"),
        *(f"--data.train=[{tmp_path}/x.png]", f"--data.val=[{tmp_path}/x.png]", "--data.batches_per_epoch=2"),
        *("--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false"),
    )
    dec = ("--model.dec=dec_kernels.DECLoss", "--model.dec.patch_size=8", "--model.dec_weight=3")
    runs = [str(tmp_path / name) for name in ("plain", "dec")]
    assert main(["fit", *small, "--out", runs[0]]) == 0
    assert main(["fit", *small, *dec, "--out", runs[1]]) == 0
    monkeypatch.setattr(restoration, "TILE", 64)
    monkeypatch.setattr("sys.argv", ["restoration", *runs, "--out", str(tmp_path / "results")])
    restoration.main()
    results = json.loads((tmp_path / "results" / "restoration.json").read_text())
    assert list(results["figures"]) == [
        "Input",
        "HINet",
        "HINet, tiles",
        "HINet + 3 DECLoss",
        "HINet + 3 DECLoss, tiles",
    ]
    assert results["figures"]["Input"]["mean"]["psnr_rgb"] == pytest.approx(20.17, abs=0.15)
    psnr = {method: rows["x"]["psnr_rgb"] for method, rows in results["figures"].items()}
    assert len(set(psnr.values())) == 5
    assert results["pull_of_dec"]["HINet + 3 DECLoss"] > 0
    assert (tmp_path / "results" / "restoration.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_page_says_of_the_recorded_figures() -> None:
    recorded = json.loads((RESULTS / "restoration.json").read_text())["figures"]
    plain, light, heavy = (recorded[name]["mean"] for name in ("HINet", "HINet + 3 DECLoss", "HINet + 30 DECLoss"))
    for name in ("psnr_y", "psnr_rgb"):
        assert light[name] == pytest.approx(plain[name], abs=0.025)
    for name in ("ssim_y", "ssim_rgb"):
        assert light[name] > plain[name]
    assert light["lpips"] < plain["lpips"] < heavy["lpips"]
    assert heavy["psnr_rgb"] == pytest.approx(plain["psnr_rgb"] - 1, abs=0.05)
    for method in ("HINet", "HINet + 3 DECLoss", "HINet + 30 DECLoss"):
        assert recorded[f"{method}, tiles"]["mean"]["psnr_rgb"] > recorded[method]["mean"]["psnr_rgb"]
    for name in ("chelsea", "coffee"):
        assert recorded["HINet"][name]["psnr_rgb"] > recorded["Input"][name]["psnr_rgb"] + 7
        assert recorded["HINet"][name]["lpips"] < recorded["Input"][name]["lpips"]
