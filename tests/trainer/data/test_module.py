"""The data module, with the caches (`data/cache.py`) as it fills them."""

import os
import re
import warnings
from argparse import ArgumentError
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image, ImageCms
from torch import Tensor, nn

from dec_kernels.resize import downscale
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.data import RandomCrops, SRDataModule, TrainingBatch, UnreadableImageError, read_image
from dec_kernels.trainer.data.cache import CacheError, DiskCache
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.pixels import to_float

RNG = np.random.default_rng(0)


def save(path: Path, height: int = 40, width: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def damage(path: Path) -> Path:
    """Of which the header does not tell."""
    content = path.read_bytes()
    path.write_bytes(content[:-500] + bytes(400) + content[-100:])
    return path


def test_gives_crops_and_whole_images(photographs: Path) -> None:
    data = SRDataModule(
        [str(photographs)], [str(photographs / "a.png")], crop_size=32, batch_size=3, batches_per_epoch=2
    )
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [batch["lr"].shape for batch in batches] == [(3, 3, 8, 8)] * 2
    crops = RandomCrops(data.pairs["train"], 32, seed=0)
    assert torch.equal(torch.cat([batch["hr"] for batch in batches]), torch.stack([crops[k]["hr"] for k in range(6)]))
    (whole,) = data.val_dataloader()
    assert whole.keys() == {"lr", "hr", "name"}
    assert whole["name"] == ["a"]
    image = read_image(photographs / "a.png")
    assert torch.equal(whole["hr"], to_float(image)[None])
    assert torch.equal(whole["lr"], to_float(downscale(image, 4))[None])
    val = data.pairs["val"]
    data.setup("validate")
    assert data.pairs["val"] is val  # not read again
    with pytest.raises(ValueError, match=r"data\.test"):
        data.setup("test")


def test_low_resolution_images_of_the_others_size_are_refused(tmp_path: Path) -> None:
    """As in the first versions of RealSR."""
    for kind in ("HR", "LR4"):
        save(tmp_path / "Nikon" / "Test" / "4" / f"Nikon_001_{kind}.png", 40, 48)
    with pytest.raises(ValueError, match=r"Nikon_001_LR4\.png has 40 x 48 .*RealSR.*version 3"):
        SRDataModule([], [], [str(tmp_path / "Nikon")]).setup("test")


def test_uses_low_resolution_files(tmp_path: Path) -> None:
    hr, lr = save(tmp_path / "hr" / "x.png", 42, 48), save(tmp_path / "lr" / "xx4.png", 10, 12)
    folders = {"hr": str(hr.parent), "lr": str(lr.parent)}
    data = SRDataModule([folders], [folders], crop_size=32)
    data.setup("fit")
    (pair,) = data.pairs["val"]
    assert torch.equal(pair.hr, read_image(hr)[:, :40])
    assert torch.equal(pair.lr, read_image(lr))
    sample = RandomCrops(data.pairs["train"], 32, seed=0)[0]["lr"]
    windows = to_float(pair.lr).unfold(1, 8, 1).unfold(2, 8, 1)
    assert any((window.sum() - sample.sum()).abs() < 1e-3 for window in windows.permute(1, 2, 0, 3, 4).flatten(0, 1))


def test_at_scale_1_something_has_to_degrade_the_images(tmp_path: Path, photographs: Path) -> None:
    clean, noisy = save(tmp_path / "clean" / "x.png", 11, 32), save(tmp_path / "noisy" / "x.png", 11, 32)
    folders = {"hr": str(clean.parent), "lr": str(noisy.parent)}
    data = SRDataModule([], [folders], scale=1)
    data.setup("validate")  # SSIM's 11 pixels, for no border is left out
    (pair,) = data.pairs["val"]
    assert torch.equal(pair.hr, read_image(clean))
    assert torch.equal(pair.lr, read_image(noisy))
    alone = SRDataModule([], [folders, str(photographs)], scale=1)
    with pytest.raises(ValueError, match=r"data\.val: at data\.scale 1.*a\.png.*data\.degradation"):
        alone.setup("validate")


class SaveAtStart(Callback):
    """Writes a checkpoint when a batch has begun, as after a failure in its midst."""

    def __init__(self, batch: int, path: Path) -> None:
        self.batch = batch
        self.path = path

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx == self.batch:
            trainer.save_checkpoint(self.path)


class Recorder(LightningModule):
    """Notes the batches that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        self.seen.append(batch["hr"])
        return self.weight * batch["hr"].mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data: SRDataModule, *callbacks: Callback, resume: Path | None = None, **settings: Any) -> list[Tensor]:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    module = Recorder()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, data, ckpt_path=resume, weights_only=False)
    assert not [warning for warning in caught if "resum" in str(warning.message)]
    return module.seen


@pytest.mark.parametrize(("num_workers", "accumulate"), [(0, 1), (2, 1), (2, 2)])
def test_a_resumed_run_sees_what_it_would_have_seen(
    photographs: Path, tmp_path: Path, num_workers: int, accumulate: int
) -> None:
    def data() -> SRDataModule:
        sources = [str(photographs)]
        return SRDataModule(
            sources, sources, crop_size=32, batch_size=2, batches_per_epoch=8, seed=3, num_workers=num_workers
        )

    steps = ModelCheckpoint(tmp_path, "step{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False)
    ends = ModelCheckpoint(tmp_path, "end{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    wanted = fit(data(), steps, ends, SaveAtStart(2, tmp_path / "start2.ckpt"), accumulate_grad_batches=accumulate)
    crops = RandomCrops(fitted_pairs(data()), crop_size=32, seed=3)
    assert len(wanted) == 16
    for i, batch in enumerate(wanted):
        assert torch.equal(batch, torch.stack([crops[2 * i]["hr"], crops[2 * i + 1]["hr"]]))

    # In a batch, in the middle of an epoch, at an epoch's last batch before its end is noted, and after its end.
    for name, seen in (("start2", 2), ("step5", 5 * accumulate), (f"step{8 // accumulate}", 8), ("endepoch=0", 8)):
        rest = fit(data(), resume=tmp_path / f"{name}.ckpt", accumulate_grad_batches=accumulate)
        assert len(rest) == 16 - seen
        assert all(torch.equal(a, b) for a, b in zip(rest, wanted[seen:], strict=True))


def fitted_pairs(data: SRDataModule) -> Any:
    data.setup("fit")
    return data.pairs["train"]


def test_refuses_a_sampler_on_top_of_its_own(photographs: Path) -> None:
    data = SRDataModule([str(photographs)], [str(photographs)], crop_size=32, batch_size=2, batches_per_epoch=2)
    data.setup("fit")

    def trainer(world_size: int, replaces: bool) -> Any:
        connector = SimpleNamespace(use_distributed_sampler=replaces)
        progress = SimpleNamespace(total=SimpleNamespace(completed=0), current=SimpleNamespace(completed=0))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        return SimpleNamespace(world_size=world_size, global_rank=1, _accelerator_connector=connector, fit_loop=loop)

    data.trainer = trainer(world_size=2, replaces=True)
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader):
        with pytest.raises(ValueError, match="use_distributed_sampler=False"):
            loader()
    data.trainer = trainer(world_size=2, replaces=False)
    assert list(data.train_dataloader().sampler) == [2, 3, 6, 7]
    assert len(data.val_dataloader()) == 3
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)  # Lightning's name for it
    assert data.trainer._accelerator_connector.use_distributed_sampler is True  # noqa: SLF001
    data.val_dataloader()


def test_all_caches_give_the_same_data(photographs: Path, tmp_path: Path) -> None:
    def samples(cache: str) -> list[TrainingBatch]:
        sources = [str(photographs)]
        data = SRDataModule(sources, sources, crop_size=32, cache=cache, cache_dir=str(tmp_path / "c"))  # type: ignore[arg-type]
        crops = RandomCrops(fitted_pairs(data), crop_size=32, seed=0)
        return [crops[k] for k in range(10)]

    for a, b, c, d in zip(*map(samples, ("memory", "disk", "disk", "none")), strict=True):
        for other in (b, c, d):
            assert torch.equal(a["hr"], other["hr"])
            assert torch.equal(a["lr"], other["lr"])
    assert len(list((tmp_path / "c").iterdir())) == 3


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that the caches have decoded."""
    paths: list[Path] = []

    def read(path: Path) -> Tensor:
        paths.append(path)
        return read_image(path)

    monkeypatch.setattr("dec_kernels.trainer.data.cache.read_image", read)
    return paths


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_decodes_an_image_once(photographs: Path, tmp_path: Path, decoded: list[Path], cache: str) -> None:
    sources = [str(photographs)]
    for run in range(2):
        data = SRDataModule(sources, sources, crop_size=32, cache=cache, cache_dir=str(tmp_path / "c"))  # type: ignore[arg-type]
        crops = RandomCrops(fitted_pairs(data), crop_size=32, seed=0)
        for k in range(20):
            crops[k]
        assert len(decoded) == 3 * (1 if cache == "disk" else run + 1)


def test_the_disk_cache_notices_changed_files(tmp_path: Path, decoded: list[Path]) -> None:
    path, cache = save(tmp_path / "x.png"), DiskCache(tmp_path / "c")
    before = cache(path).clone()
    stat = path.stat()
    save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not torch.equal(cache(path), before)
    assert torch.equal(cache(path), read_image(path))
    other = save(tmp_path / "deeper" / "x.png")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    assert torch.equal(cache(other), read_image(other))
    assert decoded == [path, path, other]


@pytest.mark.parametrize("content", [b"", b"no array", bytes(500), "cut", "flat", "floats"])
def test_the_disk_cache_replaces_damaged_entries(tmp_path: Path, decoded: list[Path], content: bytes | str) -> None:
    path, cache = save(tmp_path / "x.png"), DiskCache(tmp_path / "c")
    wanted = cache(path).clone()
    (entry,) = (tmp_path / "c").iterdir()
    arrays = {"flat": np.zeros(9, np.uint8), "floats": np.zeros((2, 2, 3))}
    if isinstance(content, bytes):
        entry.write_bytes(content)
    elif content == "cut":
        entry.write_bytes(entry.read_bytes()[:-1])
    else:
        np.save(entry, arrays[content])
    for _ in range(2):
        assert torch.equal(cache(path), wanted)
    assert decoded == [path, path]
    assert list((tmp_path / "c").iterdir()) == [entry]


def test_the_disk_cache_is_filled_by_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = save(tmp_path / "x.png", 200, 300), tmp_path / "c"
    wanted = read_image(path)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: torch.equal(DiskCache(folder)(path), wanted), range(40)))
    assert len(list(folder.iterdir())) == 1

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("numpy.save", fail)
    with pytest.raises(CacheError, match=r"data\.cache_dir .*no space left"):
        DiskCache(folder)(save(tmp_path / "y.png"))
    assert len(list(folder.iterdir())) == 1


@pytest.fixture
def bad_folders(tmp_path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """HR and LR folders with one good pair and one of each kind of bad; and for each bad one what is wrong with it."""
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for name, high, low in (
        ("good", (40, 48), (10, 12)),
        ("small", (28, 48), (7, 12)),
        ("unfit", (40, 48), (10, 11)),
        ("alone", (40, 48), None),
        ("header", (40, 48), (10, 12)),
        ("damaged", (40, 48), (10, 12)),
    ):
        save(hr / f"{name}.png", *high)
        if low:
            save(lr / f"{name}.png", *low)
    (hr / "header.png").write_text("no image at all")
    damage(hr / "damaged.png")
    return {"hr": str(hr), "lr": str(lr)}, {
        "alone": "has no low-resolution partner",
        "header": r"cannot read .*header\.png as an image",
        "small": "has 28 x 48 pixels, too few: 32 x 32 are needed",
        "damaged": r"cannot read .*damaged\.png as an image",
        "unfit": r"has 10 x 11 pixels: scale 4 makes 10 x 12 of the 40 x 48 of .*unfit\.png",
    }


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_refuses_bad_files_by_name(bad_folders: Any, cache: str) -> None:
    folders, problems = bad_folders
    data = SRDataModule([folders], [folders], crop_size=32, cache=cache)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data\.train") as error:
        data.setup("fit")
    found = problems if cache == "memory" else problems.keys() - {"damaged"}  # its header is fine
    assert f"{len(found)} of 6 images" in str(error.value)
    assert len(str(error.value).splitlines()) == 2 + len(found)
    for name in found:
        assert re.search(problems[name], str(error.value))
    with pytest.raises(ValueError, match=r"4 of 6.*data\.val") as error:
        data.setup("validate")
    assert "damaged.png" in str(error.value)
    assert "small" not in str(error.value)


@pytest.mark.parametrize("cache", ["memory", "none", "disk"])
def test_skips_bad_files(bad_folders: Any, cache: str, tmp_path: Path) -> None:
    folders, _ = bad_folders
    data = SRDataModule(
        [folders],
        [folders],
        crop_size=32,
        bad_files="skip",
        cache=cache,
        cache_dir=str(tmp_path / "c"),  # type: ignore[arg-type]
    )
    with pytest.warns(UserWarning, match="they are left out") as caught:
        data.setup("fit")
    assert [re.findall(r"\d of 6 images of data\.\w+", str(warning.message)) for warning in caught] == [
        ["5 of 6 images of data.train" if cache == "memory" else "4 of 6 images of data.train"],
        ["4 of 6 images of data.val"],
    ]
    # Small images can be evaluated on. The damaged one is known to be bad before the training only to some caches;
    # all draw the same samples.
    assert [pair.name for pair in data.pairs["val"]] == ["good", "small"]
    assert [photo.name for photo in data.pairs["train"].photos] == ["damaged", "good"]
    with pytest.warns(UserWarning, match=r"left out of the training: cannot read .*damaged\.png"):
        seen = [data.train_dataloader().dataset[k]["hr"] for k in range(4)]
    reference = RandomCrops(data.pairs["train"], 32, seed=0, skip_unreadable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(torch.equal(reference[k]["hr"], hr) for k, hr in enumerate(seen))


def test_a_file_that_breaks_in_training_is_named(tmp_path: Path) -> None:
    damage(save(tmp_path / "train" / "x.png"))
    save(tmp_path / "train" / "good.png")
    save(tmp_path / "val" / "y.png")
    data = SRDataModule([str(tmp_path / "train")], [str(tmp_path / "val")], crop_size=32, cache="none")
    data.setup("fit")
    with pytest.raises(UnreadableImageError, match=r"cannot read .*x\.png as an image"):
        next(iter(data.train_dataloader()))


def test_names_ten_bad_files_and_counts_the_others(tmp_path: Path) -> None:
    for i in range(13):
        save(tmp_path / f"{i:02}.png", 8, 8)
    for bad_files, last in (("refuse", "with data.bad_files: skip"), ("skip", "data.train has no image to use")):
        data = SRDataModule([str(tmp_path)], [str(tmp_path)], bad_files=bad_files)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=last) as error:
                data.setup("fit")
        if bad_files == "refuse":
            assert str(error.value).startswith("13 of 13 images of data.train cannot be used:")
            assert "09.png" in str(error.value)
            assert "10.png" not in str(error.value)
            assert "\n  and 3 more\n" in str(error.value)


def test_evaluates_on_images_of_different_names(tmp_path: Path) -> None:
    for name in ("Set5/x.png", "Set14/x.png", "Set14/x.bmp"):
        save(tmp_path / name)

    def names(*sources: str) -> list[str]:
        data = SRDataModule(["-"], [], [str(tmp_path / source) for source in sources])
        data.setup("test")
        return [pair.name for pair in data.pairs["test"]]

    (tmp_path / "Set14" / "y.png").write_bytes((tmp_path / "Set14" / "x.png").read_bytes())
    assert names("Set5", "Set14/y.png") == ["x", "y"]
    for sources in (["Set14"], ["Set5", "Set14/x.png"], ["Set5", "Set5"]):
        with pytest.raises(ValueError, match=r"data\.test has 2 images by the name '\w*/?x': .*x\.(png|bmp), .*x\.png"):
            names(*sources)
    (tmp_path / "Set14" / "x.bmp").unlink()
    assert names("Set5", "Set14") == ["Set5/x", "Set14/x", "Set14/y"]


def test_an_image_may_be_named_twice_to_train_on(tmp_path: Path) -> None:
    source = str(save(tmp_path / "x.png"))
    assert len(fitted_pairs(SRDataModule([source, source], [source], crop_size=32))) == 2


def test_refuses_a_crop_larger_than_a_photograph(photographs: Path) -> None:
    data = SRDataModule([str(photographs)], [str(photographs)], crop_size=44)
    with pytest.raises(ValueError, match=r"2 of 3 .*\n.*b\.png.*40 x 40.*44 x 44"):
        data.setup("fit")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_size", "0"),
        ("batch_size", "0"),
        ("batches_per_epoch", "0"),
        ("scale", "0"),
        ("scale", "12"),
        ("seed", "-1"),
        ("num_workers", "-1"),
        ("bad_files", "ignore"),
        ("cache", "lmdb"),
    ],
)
def test_the_command_line_refuses_values_out_of_range(name: str, value: str) -> None:
    parser = SuggestingParser(exit_on_error=False)
    parser.add_class_arguments(SRDataModule, "data")
    with pytest.raises(ArgumentError, match=rf'(?s)"data\.{name}".*{value}'):
        parser.parse_args(["--data.train=[a]", "--data.val=[b]", f"--data.{name}={value}"])


def test_refuses_a_crop_that_the_scale_does_not_divide() -> None:
    with pytest.raises(ValueError, match=r"crop_size must be a multiple of scale 4, got 30"):
        SRDataModule(["a"], ["b"], crop_size=30)


@pytest.mark.parametrize(
    "value", ["folder", [3], [{"hr": "a"}], [{"hr": "a", "lr": 3}], [{"hr": "a", "lr": "b", "x": "c"}]]
)
@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_refuses_bad_sources(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name}.*{re.escape(repr(value))}"):
        SRDataModule(**{"train": ["a"], "val": ["b"], name: value})


def test_sources_from_a_config(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, old = tiny_config.read_text(), re.compile("  train: .*")

    def config(train: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(old.sub(f"  train: {train}", text))
        return str(path)

    out = f"--out={tmp_path / 'out'}"
    settings = [out, "--data.bad_files=skip", "--data.cache=disk", f"--data.cache_dir={tmp_path}"]
    cli = TrainerCLI(["--config", config("[a, {hr: b, lr: c}, 'skimage:coffee']"), *settings], run=False)
    assert cli.datamodule.sources["train"] == ["a", {"hr": "b", "lr": "c"}, "skimage:coffee"]
    assert (cli.datamodule.bad_files, cli.datamodule.cache) == ("skip", "disk")
    cli = TrainerCLI(["--config", config("[a]"), out, "--data.train=[{hr: b, lr: c}]"], run=False)
    assert cli.datamodule.sources["train"] == [{"hr": "b", "lr": "c"}]
    for train, message in (("[{hr: b}]", "Missing required keys"), ("[{hr: b, lr: c, x: d}]", "x"), ("folder", "list")):
        with pytest.raises(SystemExit):
            TrainerCLI(["--config", config(train), out], run=False)
        assert message in capsys.readouterr().err


def test_images_too_small_to_be_measured_are_found_before_the_training(tmp_path: Path) -> None:
    save(tmp_path / "train.png", 64, 64)
    save(tmp_path / "val" / "small.png", 18, 64)
    with pytest.raises(ValueError, match=r"1 of 1.*data\.val.*\n.*small\.png"):
        SRDataModule([str(tmp_path / "train.png")], [str(tmp_path / "val")], crop_size=32).setup("fit")


def test_refuses_the_name_of_the_mean(tmp_path: Path) -> None:
    save(tmp_path / "mean.png")
    data = SRDataModule([str(tmp_path)], [str(tmp_path)], [str(tmp_path)], crop_size=32)
    with pytest.raises(ValueError, match=r"data\.val.*'mean'.*mean\.png"):
        data.setup("fit")
    with pytest.raises(ValueError, match=r"data\.test.*'mean'"):
        data.setup("test")
    data = SRDataModule([str(tmp_path)], [str(save(tmp_path / "other.png"))], crop_size=32)
    data.setup("fit")  # one to train on stands in no table


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_takes_any_name_that_a_file_system_takes(tmp_path: Path, cache: Any) -> None:
    names = [b"caf\xe9", b"x" * 249, b"[b]", "日本".encode()]
    (tmp_path / "x").mkdir()
    for name in names:
        with open(os.fsencode(tmp_path / "x") + b"/" + name + b".png", "wb") as file:
            Image.fromarray(RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(file, "PNG")
    sources = [str(tmp_path / "x")]
    data = SRDataModule(sources, sources, crop_size=32, cache=cache, cache_dir=str(tmp_path / "cache"))
    crops = RandomCrops(fitted_pairs(data), 32, seed=0)
    assert all(crops[k]["hr"].shape == (3, 32, 32) for k in range(20))
    found = [pair.name for pair in data.pairs["val"]]
    assert sorted(found) == sorted(["caf\\xe9", "x" * 249, "[b]", "日本"])
    assert all(name.encode() for name in found)


def test_says_what_it_passes_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a.png")
    for name in ("b.avif", "c.gif"):
        (tmp_path / name).write_bytes(b"")
    data = SRDataModule([str(tmp_path)], [str(tmp_path / "a.png")], crop_size=32)
    with caplog.at_level("INFO"):
        data.setup("fit")
    (line,) = [record.message for record in caplog.records if "passes over" in record.message]
    assert line.startswith(f"data.train passes over 2 files, {tmp_path / 'b.avif'} first: only .bmp, ")


def test_says_which_profiles_are_not_srgb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hr, lr = save(tmp_path / "hr" / "a.png"), save(tmp_path / "lr" / "a.png", 10, 12)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for path, profile in ((hr, srgb), (lr, b"of nothing")):
        with Image.open(path) as image:
            image.load()
            image.save(path, icc_profile=profile)
    data = SRDataModule([{"hr": str(hr.parent), "lr": str(lr.parent)}], [str(hr)], crop_size=32)
    with caplog.at_level("INFO"):
        data.setup("fit")
    (line,) = [record.message for record in caplog.records if "ICC" in record.message]
    assert line.startswith(f"data.train: an ICC profile other than sRGB (one that cannot be read) in 1 file, {lr}; ")


@pytest.mark.parametrize("cache", ["disk", "none"])
@pytest.mark.parametrize("change", ["resized", "removed"])
def test_a_file_that_changes_in_training_is_named(tmp_path: Path, cache: Any, change: str) -> None:
    changed, _ = save(tmp_path / "x.png", 64, 64), save(tmp_path / "good.png", 64, 64)
    settings = {"crop_size": 32, "cache": cache, "cache_dir": str(tmp_path / "c")}
    datas = [SRDataModule([str(tmp_path)], ["skimage:coffee"], bad_files=bad, **settings) for bad in ("refuse", "skip")]
    crops = [data.train_dataloader().dataset for data in datas if not data.setup("fit")]
    changed.unlink()
    if change == "resized":
        save(changed, 40, 48)
    message = r"x\.png has 40 x 48 pixels now, and had 64 x 64" if change == "resized" else r"cannot read .*x\.png"
    with pytest.raises(UnreadableImageError, match=message):
        [crops[0][k] for k in range(10)]
    with pytest.warns(UserWarning, match=f"left out of the training: .*{message}"):
        assert all(crops[1][k]["hr"].shape == (3, 32, 32) for k in range(10))


def test_a_wrong_limit_on_pixels_is_said_once(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SRDataModule([str(photographs)], [str(photographs)], crop_size=32, bad_files="skip")
    monkeypatch.setenv("DEC_KERNELS_MAX_PIXELS", "lots")
    with pytest.raises(ValueError, match=r"^DEC_KERNELS_MAX_PIXELS.*'lots'$"):
        data.setup("fit")
    monkeypatch.setenv("DEC_KERNELS_MAX_PIXELS", "1600")
    with pytest.warns(UserWarning, match=r"2 of 3.*data\.val") as caught:
        data.setup("validate")
    assert "DEC_KERNELS_MAX_PIXELS=3072 in the environment allows it" in str(caught[0].message)
    assert [pair.name for pair in data.pairs["val"]] == ["b"]


def test_the_disk_cache_notices_another_reader(
    tmp_path: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = save(tmp_path / "x.png"), DiskCache(tmp_path / "c")
    cache(path)
    cache(path)
    monkeypatch.setattr("dec_kernels.trainer.data.cache.READER", "another")
    cache(path)
    assert decoded == [path, path]


def test_without_a_home_only_the_cache_in_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    SRDataModule(["a"], ["b"])
    with pytest.raises(ValueError, match=r"cache_dir ~/\.cache/dec-kernels"):
        SRDataModule(["a"], ["b"], cache="disk")
