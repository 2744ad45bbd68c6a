import csv
import errno
import os
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch._utils import ExceptionWrapper

from dec_kernels.images import UnreadableImageError
from dec_kernels.trainer.cli import TrainerCLI, explain, main
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


_AT_SCALE_2 = ("--model.tile=9", "--data.crop_size=34")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--model.learning_rat=1", ["Did you mean 'model.learning_rate'?"]),
        ("--trainer.max_epoch=3", ["Did you mean 'trainer.max_epochs'?"]),  # no abbreviations either
        ("--model.dec.init_args.threshhold=34", ["Did you mean 'threshold'?"]),
        ("--model.nonfinite=skpi", ["model.nonfinite", "Did you mean 'skip'?"]),
        ("--model.learning_rate=fast", ['Parser key "model.learning_rate"', "fast"]),
        ("--model.learning_rate=-1", ["model.learning_rate", "-1"]),
        ("--model.dec.init_args.patch_size=0", ["patch_size", "0"]),
        ("--model.weights=nowhere.pth", ["nowhere.pth"]),
        ("--data.crop_size=33", ["crop_size", "33", "scale 4"]),
        ("--data.crop_size=64", ["3 of 3", "data.train"]),
        ("--data.crop_size=34", ["model.generator", "17 x 17", "data.crop_size 34"]),
        ("--data.train=[nowhere]", ["nowhere"]),
        ("--data.train=photos [x]", ["Got value: photos [x]", "[NAME, NAME]"]),
        ("--data.train=[2024]", ["data.train", "[NAME, NAME]"]),
        ("--data.train=[{hr: a, lq: b}]", ["data.train", "{hr: FOLDER, lr: FOLDER}"]),
        ("--model.tile=9", ["tile", "multiple", "9"]),
        ("--model.perceptual=dec_kernels.trainer.losses.PerceptualLoss", ["vgg19-dcbb9e9d.pth", "model.perceptual"]),
        ("--checkpoint_every=0", ["checkpoint_every", "0"]),
        ("--trainer.max_epochs=-1", ["trainer.max_epochs"]),
        ("--trainer.accelerator=gpu", ["gpu"]),
        ("--trainer.overfit_batches=1", ["trainer.overfit_batches"]),
        ("--model.generator=torch.nn.Identity", ["scale", "Identity"]),
        ("--model.generator.init_args.num_in_ch=1", ["RRDBNet makes 3 of 1"]),
        ("--model.generator.init_args.num_out_ch=1", ["RRDBNet makes 1 of 3"]),
        ("--out={file}", ["tiny.yaml must be a folder"]),
        ("--out={file}/deeper", ["tiny.yaml is a file"]),
        ("--model.weights={folder}", ["model.weights", "{folder}"]),
        ("--model.weights={file}", ["tiny.yaml is damaged"]),
        ("--resume={file}", ["{file} is damaged"]),
        ("--resume={folder}", ["resume", "{folder}"]),
        ("--resume=nowhere.ckpt", ["resume", "'nowhere.ckpt'"]),
        ("--data.cache_dir={file}", ["data.cache_dir {file}"]),
        ("--config={folder}/empty.yaml", ["empty.yaml", "nothing"]),
        ("--config={folder}/list.yaml", ["list.yaml", "a list"]),
        ("--config={folder}/bytes.yaml", ["bytes.yaml", "UTF-8"]),
        ("--config={folder}/broken.yaml", ["broken.yaml", "while parsing"]),
    ],
)
def test_bad_settings_end_in_a_sentence(
    tiny_config: Path,
    tmp_path: Path,
    argument: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    for name, content in (("empty", b""), ("list", b"- a"), ("bytes", bytes(range(256))), ("broken", b"a: [")):
        (tmp_path / f"{name}.yaml").write_bytes(content)
    for word, path in (("{file}", tiny_config), ("{folder}", tmp_path)):
        argument, words = argument.replace(word, str(path)), [each.replace(word, str(path)) for each in words]
    arguments = ["--data.scale=2", argument] if argument in _AT_SCALE_2 else [argument]
    if "cache_dir" in argument:
        arguments.append("--data.cache=disk")
    assert main(["fit", "--config", str(tiny_config), "--out", str(tmp_path), *arguments]) in (1, 2)
    printed = capsys.readouterr().err
    assert all(each in printed for each in words), printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", ["demo_stage1", "paper_stage1"])
@pytest.mark.parametrize("spelling", ["--config {}", "--config={}", "-c {}"])
def test_shipped_configs_are_found_by_name(name: str, spelling: str) -> None:
    cli = TrainerCLI(spelling.format(name).split(), run=False)
    assert isinstance(cli.model.generator, RRDBNet)


def test_other_names_say_which_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"'demo_stage9'.*paper_stage1.*Did you mean 'demo_st"):
        TrainerCLI(["fit", "--config", "demo_stage9"])


def test_other_commands_say_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predct", "--weights", "w.pth"]) == 1
    error = capsys.readouterr().err
    assert all(word in error for word in ("'predct'", "fit", "validate", "sweep", "Did you mean 'predict'?"))


def test_one_scale_for_data_and_network(tiny_config: Path) -> None:
    cli = TrainerCLI(["--config", str(tiny_config), "--data.scale", "2"], run=False)
    assert cli.model(torch.rand(1, 3, 8, 8)).shape[-1] == 16
    assert type(cli.model.generator.scale) is int  # and no type of the parser's, which YAML cannot hold


def test_images_of_any_name_are_evaluated_on(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsencode(tmp_path / "a [b], c")
    for name in (b"caf\xe9", b"[x]", b"[/b]", b"x" * 249, b"$\\frac$"):
        path = folder + b"/" + name + b".png"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            Image.effect_noise((64, 48), 50).convert("RGB").save(file, "PNG")
    run = tmp_path / "run [1]"
    sources = f'["{tmp_path}/a [b], c"]'
    settings = ["--config", str(tiny_config), "--out", str(run), "--data.val", sources, "--data.test", sources]
    assert main(["fit", *settings]) == 0
    assert main(["test", *settings]) == 0
    printed = capsys.readouterr().out
    names = ["$\\frac$", "[/b]", "[x]", "caf\\xe9", "x" * 249, "mean"]
    for table in (next((run / "validation").glob("*.csv")), run / "test" / "images.csv"):
        with table.open() as file:
            assert [row["image"] for row in csv.DictReader(file)] == names
    for name in names:
        assert name[:20] in printed
    assert (run / "test" / "samples.png").exists()


def test_a_folder_that_may_not_be_read_ends_in_a_sentence(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "secret"))

    monkeypatch.setattr("dec_kernels.images.find._files", refuse)
    assert main(["fit", "--config", str(tiny_config), "--out", str(tmp_path)]) == 1
    assert "secret'" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_no_folder(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 300
    for value in (f"[{long}]", f"[{{hr: {long}, lr: {long}}}]"):
        assert main(["fit", "--config", str(tiny_config), "--out", str(tmp_path), f"--data.train={value}"]) == 1
        assert f"'{long}'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.\nMore of it")])
def test_running_out_of_memory_is_explained(error: Exception) -> None:
    sentence = explain(error)
    assert sentence is not None
    assert "set model.tile" in sentence
    assert sentence.endswith(("(MemoryError)", "(CUDA out of memory.)"))


def test_the_error_of_a_worker_is_told_without_its_traceback() -> None:
    error = UnreadableImageError("cannot read two\nlines.png as an image: it is cut off")
    try:
        raise error
    except UnreadableImageError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UnreadableImageError, match="Original Traceback") as caught:
        wrapped.reraise()
    assert explain(caught.value) == explain(error) == str(error)
