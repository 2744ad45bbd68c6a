import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dec_kernels.trainer import evaluation
from dec_kernels.trainer.data import Pair, make_pair
from dec_kernels.trainer.evaluation import EvaluationReport
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.pixels import NonFiniteImageError, to_uint8
from dec_kernels.trainer.samples import Sample, bicubic

SIZES = {"first": (64, 48), "second": (40, 120), "third": (32, 32)}


class Network(nn.Module):
    scale = 4


class Module(LightningModule):
    """Evaluates to images made up beforehand; "training" it counts."""

    def __init__(self, lpips: Any = None) -> None:
        super().__init__()
        self.generator = Network()
        self.lpips = lpips
        self.parameter = nn.Parameter(torch.zeros(1))
        self.pairs = [_photograph(name, *size) for name, size in SIZES.items()]

    def sr(self, pair: Pair) -> Tensor:
        noise = torch.randn(pair.hr.shape, generator=torch.Generator().manual_seed(0))
        return to_uint8(pair.hr / 255 + 0.02 * noise)

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        pair = self.pairs[int(batch)]
        sr = self.sr(pair)
        return {**pair._asdict(), "sr": sr, "figures": measure(sr, pair.hr, 4, self.lpips)}

    test_step = validation_step

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.parameter.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _photograph(name: str, height: int, width: int) -> Pair:
    """Stripes and blobs."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    image = torch.stack((torch.sin(40 * x + 9 * y), torch.cos(30 * y * x), torch.sin(12 * (x - y)))) / 2 + 0.5
    return make_pair(name, to_uint8(image), scale=4)


@pytest.fixture
def images() -> DataLoader[int]:
    return DataLoader(range(3))  # type: ignore[arg-type]


def trainer(out: Path, report: EvaluationReport, **settings: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=out,
        callbacks=[report],
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False, **settings},
    )


def read(path: Path) -> dict[str, dict[str, float]]:
    with path.open(newline="") as file:
        return {row.pop("image"): {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)}


def written(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


class Board(TensorBoardLogger):
    """Stands for TensorBoard, which need not be installed."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Tensor, int]] = []
        self.experiment_ = SimpleNamespace(add_image=lambda *image: self.shown.append(image))

    experiment = property(lambda self: self.experiment_)
    log_metrics = log_hyperparams = log_graph = save = finalize = lambda *args, **kwargs: None  # type: ignore
    name = version = save_dir = log_dir = root_dir = None  # type: ignore[assignment]


def test_training(tmp_path: Path, images: DataLoader[int], capsys: pytest.CaptureFixture[str]) -> None:
    module, board = Module(), Board()
    settings = {"max_epochs": 2, "val_check_interval": 2, "logger": board, "num_sanity_val_steps": 2}
    report = EvaluationReport(samples=2, crop_size=44)
    trainer(tmp_path, report, **settings).fit(module, DataLoader(range(4)), images)  # type: ignore[arg-type]
    steps = (2, 4, 6, 8)
    assert written(tmp_path) == {f"validation/{step:07d}.csv" for step in steps} | {"summary.json"}
    rows = read(tmp_path / "validation" / "0000004.csv")
    assert list(rows) == [*SIZES, "mean"]
    for pair in module.pairs:
        assert rows[pair.name] == pytest.approx(measure(module.sr(pair), pair.hr, 4))
    mean = {metric: sum(rows[name][metric] for name in SIZES) / 3 for metric in rows["mean"]}
    assert rows["mean"] == pytest.approx(mean)
    nothing = {"images": 3, "exact": {}, "nonfinite": []}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {"step": 8, "epoch": 2, "val": pytest.approx(mean), "left_out": nothing}
    assert [(tag, step) for tag, _, step in board.shown] == [
        (f"validation/{name}", step) for step in steps for name in ("first", "second")
    ]
    places = (slice(10, 54), slice(2, 46)), (slice(0, 40), slice(40, 80))  # the second photograph has only 40 rows
    for pair, (rows, columns), (_, image, _) in zip(module.pairs[:2], places, board.shown[:2], strict=True):
        size = columns.stop - columns.start
        assert image.shape == (3, size, 3 * size)
        assert torch.equal(image[:, :, size : 2 * size], module.sr(pair)[:, rows, columns])
        assert torch.equal(image[:, :, 2 * size :], pair.hr[:, rows, columns])
    assert "PSNR" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "table", "picture"), [("test", "images", "samples"), ("validate", "0000007", "0000007")]
)
def test_on_its_own(
    tmp_path: Path,
    images: DataLoader[int],
    capsys: pytest.CaptureFixture[str],
    command: str,
    table: str,
    picture: str,
) -> None:
    def lpips(sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean(dim=(1, 2, 3))

    module = Module(lpips)
    training = trainer(tmp_path / "training", EvaluationReport(), max_steps=7)
    training.fit(module, DataLoader(range(7)))  # type: ignore[arg-type]
    training.save_checkpoint(tmp_path / "some.ckpt")
    run = getattr(trainer(tmp_path / "run", EvaluationReport()), command)
    run(module, images, ckpt_path=tmp_path / "some.ckpt", verbose=False, weights_only=False)

    folder = {"test": "test", "validate": "validation"}[command]
    assert written(tmp_path / "run") == {f"{folder}/{table}.csv", f"{folder}/{picture}.png"}
    rows = read(tmp_path / "run" / folder / f"{table}.csv")
    assert rows["third"] == pytest.approx(measure(module.sr(module.pairs[2]), module.pairs[2].hr, 4, lpips))
    printed = capsys.readouterr().out
    for pair in module.pairs:
        figures = measure(bicubic(pair), pair.hr, 4, lpips)
        assert all(f"{figures[name]:{form}}" in printed for name, form in (("psnr_y", ".2f"), ("lpips", ".4f")))
    for text in ("Network", "Bicubic", "LPIPS", *SIZES, "mean", f"{rows['mean']['psnr_rgb']:.2f}", "3 images"):
        assert text in printed
    with Image.open(tmp_path / "run" / folder / f"{picture}.png") as image:
        assert image.width > 1300
        assert image.height > 3 * 350


class Restoring(Module):
    """At scale 1, with noisy inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.generator.scale = 1
        noisy = [to_uint8(pair.hr / 255 + 0.1 * torch.randn(pair.hr.shape)) for pair in self.pairs]
        self.pairs = [pair._replace(lr=lr) for pair, lr in zip(self.pairs, noisy, strict=True)]

    def test_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        pair = self.pairs[int(batch)]
        return {**pair._asdict(), "sr": self.sr(pair), "figures": measure(self.sr(pair), pair.hr, 0)}


def test_restoration_is_compared_with_its_input(
    tmp_path: Path, images: DataLoader[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Sample] = []
    monkeypatch.setattr(evaluation, "draw_samples", lambda path, samples: shown.extend(samples))
    module = Restoring()
    trainer(tmp_path, EvaluationReport(crop_size=32)).test(module, images, verbose=False)
    printed = capsys.readouterr().out
    for pair in module.pairs:
        figures = measure(pair.lr, pair.hr, 0)
        assert figures != measure(pair.lr, pair.hr, 1)
        assert f"{figures['psnr_y']:.2f}" in printed
        assert f"{figures['psnr_rgb']:.2f}" in printed
    assert "Input" in printed
    assert "Bicubic" not in printed
    assert "border" not in printed
    for pair, sample in zip(module.pairs, shown, strict=True):
        assert list(sample.tiles) == ["Input", "Network", "Target"]
        top, left = ((side - 32) // 2 for side in pair.hr.shape[-2:])
        cut = (slice(None), slice(top, top + 32), slice(left, left + 32))
        wanted = pair.lr, module.sr(pair), pair.hr
        assert all(torch.equal(tile, image[cut]) for tile, image in zip(sample.tiles.values(), wanted, strict=True))


def test_a_test_may_be_repeated(tmp_path: Path, images: DataLoader[int]) -> None:
    module, again = Module(), trainer(tmp_path, EvaluationReport())
    tables = []
    for _ in range(2):
        again.test(module, images, verbose=False)
        tables.append(read(tmp_path / "test" / "images.csv"))
    assert tables[0] == tables[1]


def test_many_images_are_shown_by_their_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Module()
    module.pairs = [module.pairs[2]._replace(name=f"number {n}") for n in range(21)]
    trainer(tmp_path, EvaluationReport(samples=1)).test(module, DataLoader(range(21)), verbose=False)  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert "number" not in printed
    assert "mean" in printed
    assert len(read(tmp_path / "test" / "images.csv")) == 22


def test_a_resumed_training_remembers_its_last_validation(tmp_path: Path, images: DataLoader[int]) -> None:
    first = trainer(tmp_path, EvaluationReport(), max_steps=2, val_check_interval=2)
    first.fit(Module(), DataLoader(range(4)), images)  # type: ignore[arg-type]
    before = json.loads((tmp_path / "summary.json").read_text())
    first.save_checkpoint(tmp_path / "some.ckpt")
    resumed = trainer(tmp_path, EvaluationReport(), max_steps=3, limit_val_batches=0)
    resumed.fit(Module(), DataLoader(range(4)), images, ckpt_path=tmp_path / "some.ckpt")  # type: ignore[arg-type]
    after = json.loads((tmp_path / "summary.json").read_text())
    assert after["step"] == before["step"] + 1 == 3
    assert after["val"] == before["val"] != {}


class Exact(Module):
    """Reproduces some images exactly."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def sr(self, pair: Pair) -> Tensor:
        return pair.hr if pair.name in self.names else super().sr(pair)


def valid(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_exact_images_are_left_out_of_the_mean_and_counted(
    tmp_path: Path, images: DataLoader[int], capsys: pytest.CaptureFixture[str]
) -> None:
    module = Exact("second")
    trainer(tmp_path, EvaluationReport(), max_epochs=1, val_check_interval=2).fit(module, DataLoader(range(4)), images)  # type: ignore[arg-type]
    rows = read(tmp_path / "validation" / "0000004.csv")
    assert rows["second"]["psnr_y"] == math.inf
    assert rows["mean"]["psnr_y"] == pytest.approx((rows["first"]["psnr_y"] + rows["third"]["psnr_y"]) / 2)
    assert rows["mean"]["ssim_y"] == pytest.approx(sum(rows[name]["ssim_y"] for name in SIZES) / 3)
    summary = valid(tmp_path / "summary.json")
    assert summary["val"]["psnr_y"] == pytest.approx(rows["mean"]["psnr_y"])
    assert summary["left_out"] == {"images": 3, "exact": {"psnr_y": 1, "psnr_rgb": 1}, "nonfinite": []}
    trainer(tmp_path, EvaluationReport()).test(module, images, verbose=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert "PSNR Y of 1, PSNR RGB of 1 of 3" in printed
    assert "inf" in printed

    module = Exact(*SIZES)
    trainer(tmp_path, EvaluationReport(), max_epochs=1).fit(module, DataLoader(range(4)), images)  # type: ignore[arg-type]
    summary = valid(tmp_path / "summary.json")
    assert summary["val"]["psnr_y"] is None
    assert summary["val"]["ssim_y"] == pytest.approx(1)
    assert summary["left_out"]["exact"] == {"psnr_y": 3, "psnr_rgb": 3}
    trainer(tmp_path, EvaluationReport()).test(module, images, verbose=False)
    assert "Network: every image is exact" in capsys.readouterr().out


class Broken(Module):
    """Has no output for the first image, [x], that is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs[0] = self.pairs[0]._replace(name="[x]")

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        outputs = super().validation_step(batch, batch_idx)
        if outputs["name"] == "[x]":
            return {**outputs, "sr": None, "figures": dict.fromkeys(outputs["figures"], math.nan)}
        return outputs

    test_step = validation_step


@pytest.mark.parametrize("command", ["test", "validate"])
def test_an_output_that_is_no_number_is_an_error_when_all_is_written(
    tmp_path: Path, images: DataLoader[int], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(NonFiniteImageError, match=r"Network.*NaN.* 1 of 3: \[x\]"):
        getattr(trainer(tmp_path, EvaluationReport()), command)(Broken(), images, verbose=False)
    (table,) = tmp_path.rglob("*.csv")
    rows = read(table)
    assert all(map(math.isnan, rows["[x]"].values()))
    assert rows["mean"]["psnr_y"] == pytest.approx((rows["second"]["psnr_y"] + rows["third"]["psnr_y"]) / 2)
    printed = " ".join(capsys.readouterr().out.split())
    assert "nan" in printed
    assert "in 1 of 3: [x]" in printed
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_an_output_that_is_no_number_is_a_warning_in_training(tmp_path: Path, images: DataLoader[int]) -> None:
    training = trainer(tmp_path, EvaluationReport(), max_epochs=1)
    with pytest.warns(UserWarning, match=r"step 4.*Network.*NaN.* 1 of 3: \[x\]"):
        training.fit(Broken(), DataLoader(range(4)), images)  # type: ignore[arg-type]
    assert valid(tmp_path / "summary.json")["left_out"] == {"images": 3, "exact": {}, "nonfinite": ["[x]"]}


def test_only_the_first_process_writes(
    tmp_path: Path, images: DataLoader[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    trainer(tmp_path, EvaluationReport()).test(Module(), images, verbose=False)
    trainer(tmp_path, EvaluationReport(), max_steps=2).fit(Module(), DataLoader(range(2)), images)  # type: ignore[arg-type]
    assert written(tmp_path) == set()
    assert "PSNR" not in capsys.readouterr().out


@pytest.mark.parametrize("names", [("x", "y", "x"), ("x", "mean", "y")])
def test_every_image_needs_its_own_row(tmp_path: Path, images: DataLoader[int], names: tuple[str, ...]) -> None:
    module = Module()
    module.pairs = [pair._replace(name=name) for pair, name in zip(module.pairs, names, strict=True)]
    with pytest.raises(ValueError, match=r"'(x|mean)' is taken"):
        trainer(tmp_path, EvaluationReport()).test(module, images, verbose=False)


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        EvaluationReport(samples=0)
    with pytest.raises(ValueError, match="crop_size must be at least 11, got 10"):
        EvaluationReport(crop_size=10)
