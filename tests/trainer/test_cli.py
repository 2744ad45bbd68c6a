import csv
from pathlib import Path

import pytest
import torch
import yaml

from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.models import RRDBNet, load_weights


def test_fits_validates_and_tests(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TrainerCLI(["fit", "--config", str(tiny_config)])
    run = tiny_config.parent / "run"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    checkpoint = run / "checkpoints" / "last.ckpt"
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert {"train/l1", "train/dec", "train/loss", "train/l1_pull", "train/dec_pull", "val/psnr_y"} <= set(rows[0])
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["batches_per_epoch"] == 2
    load_weights(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2), checkpoint)

    for command, metric in (("validate", "val/psnr_y"), ("test", "test/psnr_y")):
        cli = TrainerCLI([command, "--config", str(tiny_config), "--ckpt_path", str(checkpoint)])
        assert 0 < cli.trainer.callback_metrics[metric] < 100
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Bicubic", "PSNR Y", "SSIM RGB"))


@pytest.mark.parametrize("argument", ["--model.lerning_rate=1", "--data.cropsize=32", "--trainer.steps=3"])
def test_unknown_arguments_are_errors(tiny_config: Path, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        TrainerCLI(["fit", "--config", str(tiny_config), argument])
    assert error.value.code == 2
    assert argument in capsys.readouterr().err


def test_unknown_keys_in_a_file_are_errors(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(tiny_config.read_text().replace("learning_rate", "lerning_rate"))
    with pytest.raises(SystemExit):
        TrainerCLI(["fit", "--config", str(path)])
    assert "lerning_rate" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo_stage1", "paper_stage1"])
@pytest.mark.parametrize("spelling", ["--config {}", "--config={}", "-c {}"])
def test_shipped_configs_are_found_by_name(name: str, spelling: str) -> None:
    cli = TrainerCLI(spelling.format(name).split(), run=False)
    assert isinstance(cli.model.generator, RRDBNet)


def test_other_names_say_which_there_are() -> None:
    with pytest.raises(SystemExit, match=r"no config 'demo_stage9'.*demo_stage1, demo_stage2"):
        TrainerCLI(["fit", "--config", "demo_stage9"])


def test_one_scale_for_data_and_network(tiny_config: Path) -> None:
    cli = TrainerCLI(["--config", str(tiny_config), "--data.scale", "2"], run=False)
    assert cli.model(torch.rand(1, 3, 8, 8)).shape[-1] == 16
