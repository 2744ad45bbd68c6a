import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from dec_kernels.console import INTERRUPTED
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.demo.report import MASK
from dec_kernels.trainer.demo.run import main
from dec_kernels.trainer.demo.stages import PRETRAIN, QUICK_STEPS, STAGES, WITH_DEC, WITHOUT_DEC
from dec_kernels.trainer.models import read_weights
from tests.pretrained import ALEXNET, save

PICTURES = {"samples.png", "curves.png"}


def run(*args: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dec_kernels.trainer.demo", *args]
    without_weights = os.environ | {"TORCH_HOME": "/nonexistent"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=without_weights)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick run of the demo: its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "run"
    process = run("--quick", "--out", str(out))
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    return out, printed


def test_writes_everything(quick: tuple[Path, str]) -> None:
    out, _ = quick
    assert {path.name for path in out.iterdir()} == PICTURES | {"metrics.json"} | {stage.folder for stage in STAGES}
    for stage in STAGES:
        files = {
            str(path.relative_to(out / stage.folder)) for path in (out / stage.folder).rglob("*") if path.is_file()
        }
        kept = {"checkpoints/last.ckpt", "checkpoints/best.ckpt", "config.yaml", "generator.pth", "metrics.csv"}
        assert kept | {"summary.json", f"validation/{QUICK_STEPS:07d}.csv"} <= files


def test_figures(quick: tuple[Path, str]) -> None:
    out, printed = quick
    content = json.loads((out / "metrics.json").read_text())
    assert content["interrupted"] is False
    assert content["steps"] == {stage.name: QUICK_STEPS for stage in STAGES}
    assert content["dec_pull"] > 0
    figures = content["figures"]
    assert (
        list(figures) == list(content["sharpness"]) == ["Bicubic", PRETRAIN.name, WITHOUT_DEC.name, MASK, WITH_DEC.name]
    )
    assert figures["Bicubic"]["chelsea"]["psnr_y"] == pytest.approx(31.48, abs=0.01)
    assert figures["Bicubic"]["coffee"]["psnr_y"] == pytest.approx(27.29, abs=0.01)
    assert 0 <= content["unsharp_amount"] <= 4
    assert "lpips" not in figures["Bicubic"]["mean"]
    for method, found in content["sharpness"].items():
        assert 0 < found["gradient_energy"] < 1, method
        assert 0.5 < found["over_smoothing"] < 1.5, method
    texts = ("31.48", "27.29", "PSNR RGB", "SSIM Y", "gradient energy", "over-smoothing", "it/s", str(out))
    for text in (*texts, "alexnet-owt-7be5be79.pth", "/nonexistent/hub/checkpoints"):
        assert text in printed
    assert "Warning" not in printed


def test_only_the_weight_of_dec_differs(quick: tuple[Path, str]) -> None:
    out, _ = quick
    configs = [yaml.safe_load((out / stage.folder / "config.yaml").read_text()) for stage in (WITHOUT_DEC, WITH_DEC)]
    assert configs[0]["model"].pop("dec_weight") == 0
    assert configs[1]["model"].pop("dec_weight") > 0
    assert [Path(config.pop("out")).name for config in configs] == [WITHOUT_DEC.folder, WITH_DEC.folder]
    assert configs[0] == configs[1]
    assert configs[0]["model"]["weights"] == str(out / PRETRAIN.folder / "generator.pth")


def test_stages_differ_in_their_weights(quick: tuple[Path, str]) -> None:
    out, _ = quick
    pretrained, without, with_dec = (
        read_weights(out / stage.folder / "generator.pth")["conv_last.weight"] for stage in STAGES
    )
    assert not torch.equal(pretrained, without)
    assert not torch.equal(without, with_dec)


def test_both_stages_train_one_network() -> None:
    first, second = (TrainerCLI(stage.args, run=False) for stage in (PRETRAIN, WITH_DEC))
    shapes = [{k: v.shape for k, v in cli.model.generator.state_dict().items()} for cli in (first, second)]
    assert shapes[0] == shapes[1]
    assert first.datamodule.sources == second.datamodule.sources
    assert first.datamodule.seed != second.datamodule.seed


def test_ctrl_c_keeps_what_was_made(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = run("--out", str(out), "--lpips", str(save(tmp_path / "alexnet.pth", ALEXNET)))
    log = out / PRETRAIN.folder / "metrics.csv"
    deadline = time.monotonic() + 200
    while not log.exists():  # written at the tenth step
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    started = time.monotonic()
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, printed
    assert time.monotonic() - started < 60
    assert "Stopped by Ctrl+C" in printed
    assert "Traceback" not in printed
    assert {path.name for path in out.iterdir()} == PICTURES | {"metrics.json", PRETRAIN.folder}
    content = json.loads((out / "metrics.json").read_text())
    assert content["interrupted"] is True
    assert 0 < content["steps"][PRETRAIN.name] < 2000
    assert list(content["figures"]) == list(content["sharpness"]) == ["Bicubic", PRETRAIN.name]
    assert content["figures"][PRETRAIN.name]["coffee"]["lpips"] > 0
    assert "LPIPS" in printed
    assert "alexnet" not in printed
    assert log.stat().st_size > 0
    assert (out / PRETRAIN.folder / "checkpoints" / "last.ckpt").is_file()
    read_weights(out / PRETRAIN.folder / "generator.pth")


def test_refuses_to_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "--out", str(tmp_path)])
    assert f"{tmp_path} exists already" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_refuses_weights_of_lpips_before_it_trains(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "alexnet.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main(["--quick", "--out", str(tmp_path / "run"), "--lpips", str(file)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "--lpips: " in error
    assert str(file) in error
    assert not (tmp_path / "run").exists()
