"""Whole trainings, as `dec-train fit` runs them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from torch import Tensor, nn

from dec_kernels import DECLoss
from dec_kernels.trainer.checkpoints import AtomicCheckpointIO
from dec_kernels.trainer.cli import TrainerCLI, main
from dec_kernels.trainer.models import RRDBNet, UNetDiscriminator, save_weights
from dec_kernels.trainer.module import SuperResolution

GAN = """
discriminator:
  class_path: dec_kernels.trainer.models.UNetDiscriminator
  init_args: {num_feat: 4}
gan_weight: 0.1
ema_decay: 0.9
"""


@pytest.fixture(scope="module")
def config(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps of the smallest network, in two epochs, with L1 and DECLoss."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(f"""
trainer: {{accelerator: cpu, max_epochs: 2, log_every_n_steps: 1, enable_model_summary: false}}
checkpoint_every: 2
model:
  generator:
    class_path: dec_kernels.trainer.models.RRDBNet
    init_args: {{num_feat: 4, num_block: 1, num_grow_ch: 2}}
  dec:
    class_path: dec_kernels.DECLoss
    init_args: {{patch_size: 8, process_group: world}}
  learning_rate: 1.0e-3
data:
  train: ["{photographs}"]
  val: ["{photographs}/a.png"]
  test: ["{photographs}/b.png"]
  crop_size: 32
  batch_size: 2
  batches_per_epoch: 6
""")
    return path


class Dropping(RRDBNet):
    """A network whose training steps depend on PyTorch's random numbers."""

    drawn: ClassVar[list[float]] = []

    def __init__(self, scale: int = 4) -> None:
        super().__init__(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)

    def forward(self, lr: Tensor) -> Tensor:
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return super().forward(F.dropout(lr, 0.1, self.training))


@pytest.fixture(scope="module")
def gan_config(config: Path) -> Path:
    text = yaml.safe_load(config.read_text())
    text["model"] |= yaml.safe_load(GAN)
    text["model"]["generator"] = {"class_path": f"{__name__}.Dropping"}
    text["trainer"] |= {"accumulate_grad_batches": 2, "max_epochs": 4}  # twelve steps again
    path = config.with_name("gan.yaml")
    path.write_text(yaml.safe_dump(text))
    return path


def fit(config: Path, out: Path, *args: str) -> int:
    return main(["fit", "--config", str(config), "--out", str(out), "--trainer.enable_progress_bar=false", *args])


def state(out: Path) -> dict[str, Tensor]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[key].double() - b[key].double()).abs().max().item() for key in a)


@pytest.fixture(scope="module")
def uninterrupted(gan_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    Dropping.drawn.clear()
    assert fit_keeping_checkpoints(gan_config, out) == [2, 4, 6, 8, 10, 12]
    return out


def fit_keeping_checkpoints(config: Path, out: Path, *args: str) -> list[int]:
    """`fit`, with a copy STEP.ckpt in `out` of every last.ckpt; in the order of their writing."""
    steps = []
    save = AtomicCheckpointIO.save_checkpoint

    def keep(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        save(self, checkpoint, path, storage_options)
        if Path(path).name == "last.ckpt":
            steps.append(checkpoint["global_step"])
            shutil.copy(path, out / f"{steps[-1]}.ckpt")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", keep)
        assert fit(config, out, *args) == 0
    return steps


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])]


@pytest.mark.parametrize("validate_every", [1, 4])  # epochs: two checkpoints lie at the end of one
def test_every_checkpoint_is_a_place_to_go_on_from(
    gan_config: Path, uninterrupted: Path, tmp_path: Path, validate_every: int
) -> None:
    checkpoint = uninterrupted / "2.ckpt"
    for step in (4, 6, 8, 10):  # each from a checkpoint that the one before has written
        out, every = tmp_path / str(step), f"--trainer.check_val_every_n_epoch={validate_every}"
        steps = fit_keeping_checkpoints(gan_config, out, "--resume", str(checkpoint), every)
        assert steps == list(range(step, 13, 2))
        assert differing(state(out), state(uninterrupted)) == []
        checkpoint = out / f"{step}.ckpt"


def test_random_numbers_differ_from_batch_to_batch(uninterrupted: Path) -> None:
    assert len(Dropping.drawn) >= 24
    assert len(set(Dropping.drawn[:24])) == 24


def test_killed_at_any_moment_it_resumes_bit_for_bit(gan_config: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "dec_kernels.trainer.cli", "fit", "--config", str(gan_config), "--out", str(out)]
    killed_after: set[int] = set()
    for wait in (0.0, 0.3):  # right behind a checkpoint, and some steps or an evaluation later
        last = out / "checkpoints" / "last.ckpt"
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(
            [*command, "--resume", "auto"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 100
        while not (last.exists() and last.stat().st_mtime_ns > before):
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed_after.add(torch.load(last, weights_only=True)["global_step"] - 1)
    assert max(killed_after) < 11
    assert fit(gan_config, out, "--resume", "auto") == 0

    resumed, wanted = state(out), state(uninterrupted)
    assert any(key.startswith("averaged.") for key in wanted)
    assert any(key.startswith("discriminator.") for key in wanted)
    assert differing(resumed, wanted) == []
    assert json.loads((out / "summary.json").read_text()) == json.loads((uninterrupted / "summary.json").read_text())
    # A step is logged behind its checkpoint, so that the log may lack the steps between which the program was killed.
    steps = {int(row["step"]) for row in rows(out) if row["train/loss"]}
    assert set(range(12)) - steps <= killed_after
    # What the resumed run has written of its settings serves the other commands too.
    assert main(["validate", "--config", str(out / "config.yaml"), "--trainer.enable_progress_bar=false"]) == 0


def test_the_best_checkpoint_is_tested(
    config: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["test", "--config", str(uninterrupted / "config.yaml"), "--trainer.enable_progress_bar=false"]
    figures = []
    for checkpoint in (None, "checkpoints/best.ckpt", "2.ckpt"):
        chosen = [] if checkpoint is None else ["--ckpt_path", str(uninterrupted / checkpoint)]
        assert main([*command, *chosen]) == 0
        figures.append((uninterrupted / "test" / "images.csv").read_text())
    assert figures[0] == figures[1] != figures[2]
    assert main(["test", "--config", str(config), "--out", str(tmp_path)]) == 1
    assert "no weights to test" in capsys.readouterr().err


def test_a_later_stage_is_tested_by_itself_and_leaves_its_log_alone(config: Path, run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ckpt", tmp_path / "second"
    shutil.copy(run / "checkpoints" / "last.ckpt", first)
    assert fit(config, second, "--model.weights", str(first), "--model.learning_rate=0.01") == 0
    first.unlink()  # what a training started from is not needed any more
    log = (second / "metrics.csv").read_bytes()
    command = ["test", "--config", str(second / "config.yaml"), "--trainer.enable_progress_bar=false"]
    assert main(command) == 0
    figures = (second / "test" / "images.csv").read_text()
    assert main([*command, "--ckpt_path", str(second / "checkpoints" / "best.ckpt")]) == 0
    assert (second / "test" / "images.csv").read_text() == figures
    assert main([*command, "--model.weights", str(run / "checkpoints" / "last.ckpt")]) == 0
    assert (second / "test" / "images.csv").read_text() != figures
    assert (second / "metrics.csv").read_bytes() == log
    assert fit(config, second, "--model.weights", str(first), "--resume", "auto", "--trainer.max_epochs=3") == 0


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `config`, to be copied and not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert fit(config, out) == 0
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of `config`, in a folder that is not the one of its training."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_best_checkpoint_stays_the_best_when_the_run_is_moved(config: Path, run: Path) -> None:
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    # From now on it gets worse.
    assert fit(config, run, "--resume", "auto", "--trainer.max_epochs=3", "--model.dec_weight=1000") == 0
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best


def test_no_validation_is_left_out(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate = SuperResolution.validation_step

    def stopped_once(self: SuperResolution, *args: Any) -> Any:
        if self.global_step == 4:
            monkeypatch.setattr(SuperResolution, "validation_step", validate)
            raise KeyboardInterrupt
        return validate(self, *args)

    monkeypatch.setattr(SuperResolution, "validation_step", stopped_once)
    assert fit(config, tmp_path / "run", "--trainer.val_check_interval=2") == 130
    callbacks = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (best,) = (kept["best_model_score"] for name, kept in callbacks.items() if name.startswith("BestCheckpoint"))
    assert fit(config, tmp_path / "run", "--trainer.val_check_interval=2", "--resume", "auto") == 0
    figures = {int(row["step"]): float(row["val/psnr_y"]) for row in rows(tmp_path / "run") if row["val/psnr_y"]}
    assert list(figures) == [1, 3, 5, 7, 9, 11]
    assert float(best) == pytest.approx(figures[1], abs=1e-6)


def test_an_enhanced_training_resumes_bit_for_bit(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["--model.enhance=dec_kernels.trainer.enhance.FrequencyEnhancement", "--model.enhance.mu=16"]
    assert fit(config, tmp_path / "whole", *settings) == 0
    step = SuperResolution.training_step

    def stopped(self: SuperResolution, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == 7:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SuperResolution, "training_step", stopped)
        assert fit(config, tmp_path / "cut", *settings) == 130
    written = yaml.safe_load((tmp_path / "cut" / "config.yaml").read_text())["model"]
    assert written["enhance"]["init_args"] == {"alpha": None, "mu": 16.0}
    assert written["enhance_terms"] == ["dec"]
    # All that is needed stands in what the run has written.
    assert fit(tmp_path / "cut" / "config.yaml", tmp_path / "cut", "--resume", "auto") == 0
    assert differing(state(tmp_path / "cut"), state(tmp_path / "whole")) == []
    assert fit(config, tmp_path / "plain") == 0
    assert differing(state(tmp_path / "plain"), state(tmp_path / "whole")) != []


def test_an_epoch_cut_short_is_finished_later(config: Path, tmp_path: Path) -> None:
    assert fit(config, tmp_path / "run", "--trainer.max_steps=3") == 0
    assert fit(config, tmp_path / "run", "--resume", "auto") == 0
    assert [int(row["step"]) for row in rows(tmp_path / "run") if row["train/loss"]] == list(range(12))


def test_settings_that_do_not_fit_the_checkpoint_change_nothing(
    config: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (run / "config.yaml").read_text()
    larger = "--model.generator.init_args.num_feat=8"
    assert fit(config, run, "--resume", "auto", "--trainer.max_epochs=3", larger) == 1
    assert "the checkpoint is that of another model" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == settings


def test_a_damaged_checkpoint_is_named_and_nothing_begins_anew(
    config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, best = (run / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    damaged = last.read_bytes()[:3000]
    last.write_bytes(damaged)
    before = best.read_bytes()
    assert fit(config, run, "--resume", "auto") == 1
    printed = capsys.readouterr().err
    assert f"dec-train: the checkpoint {last} is damaged" in printed
    assert f"--resume {best} goes on from step" in printed
    assert "Traceback" not in printed
    assert last.read_bytes() == damaged
    assert best.read_bytes() == before
    assert fit(config, run, "--resume", str(best), "--trainer.max_epochs=3") == 0
    assert torch.load(last, weights_only=True)["global_step"] == 18

    best.write_bytes(damaged)
    assert main(["test", "--config", str(config), "--out", str(run)]) == 1
    assert f"the checkpoint {best} is damaged" in capsys.readouterr().err
    assert main(["validate", "--config", str(config), "--out", str(run), "--ckpt_path", str(best)]) == 1
    assert f"the checkpoint {best} is damaged" in capsys.readouterr().err
    save_weights(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2), tmp_path / "w.pth")
    for command in (["test", "--ckpt_path"], ["fit", "--resume"]):
        arguments = [*command, str(tmp_path / "w.pth"), "--config", str(config), "--out", str(tmp_path / "other")]
        assert main(arguments) == 1
        assert f"{tmp_path / 'w.pth'} is no checkpoint of a training: name" in capsys.readouterr().err


def test_an_older_run_keeps_its_best_checkpoint(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    (key,) = (name for name in checkpoint["callbacks"] if name.startswith("BestCheckpoint"))
    assert "'monitor': 'val/psnr_y'" in key


def test_a_try_leaves_no_run(config: Path, tmp_path: Path) -> None:
    assert fit(config, tmp_path / "run", "--trainer.fast_dev_run=true") == 0
    assert fit(config, tmp_path / "run") == 0


def test_sigterm_is_no_success(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(self: SuperResolution, batch: Any, batch_idx: int) -> Tensor:
        raise SIGTERMException

    monkeypatch.setattr(SuperResolution, "training_step", terminated)
    assert fit(config, tmp_path / "run") == 143


def test_a_run_is_not_overwritten(config: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (uninterrupted / "checkpoints" / "last.ckpt").read_bytes()
    assert fit(config, uninterrupted) == 1
    assert "--resume auto" in capsys.readouterr().err
    assert (uninterrupted / "checkpoints" / "last.ckpt").read_bytes() == before


def test_the_backends_train_the_same_network(config: Path, tmp_path: Path) -> None:
    runs = {}
    for backend in ("torch", "cpp"):
        settings = [f"--model.dec.init_args.backend={backend}", "--model.dec_weight=0.1", "--data.batches_per_epoch=10"]
        assert fit(config, tmp_path / backend, *settings) == 0
        runs[backend] = state(tmp_path / backend)
    start = TrainerCLI(["--config", str(config), "--out", str(tmp_path)], run=False).model.state_dict()
    moved = distance(runs["torch"], start)
    assert moved > 1e-3
    # Adam divides by the gradient's own size, so that rounding errors of small gradients are not small in the weights.
    assert distance(runs["torch"], runs["cpp"]) < 1e-3 * moved


def test_accumulated_steps_are_those_of_the_large_batch(config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = ["--model.dec=null", "--trainer.max_epochs=1"]
    assert fit(config, one, *settings, "--data.batch_size=4", "--data.batches_per_epoch=3") == 0
    assert fit(config, two, *settings, "--trainer.accumulate_grad_batches=2") == 0
    assert distance(state(one), state(two)) < 1e-6
    pull, pull_of_half = (float(rows(out)[0]["train/l1_pull"]) for out in (one, two))
    # Half of the samples, with half of the pixels to average over: the same pull but for the factor of the norm.
    assert pull_of_half == pytest.approx(pull * 2**0.5, rel=1e-4)


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "metrics.csv").open()))


def test_two_processes_train_the_network_of_one(config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = ["--trainer.max_epochs=1", "--data.batches_per_epoch=3", "--model.dec_weight=0.1"]
    command = [sys.executable, "-m", "dec_kernels.trainer.cli", "fit", "--config", str(config), "--out", str(two)]
    process = subprocess.run(
        [*command, *settings, "--trainer.devices=2", "--trainer.strategy=ddp"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert fit(config, one, *settings, "--data.batch_size=4") == 0
    assert distance(state(one), state(two)) < 1e-5
    figures = [json.loads((out / "summary.json").read_text())["val"]["psnr_y"] for out in (one, two)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def test_a_gan_step_is_that_of_two_optimizers(config: Path, gan_config: Path, tmp_path: Path) -> None:
    """ESRGAN's order: the generator's step first, then the discriminator's on the images from before it."""
    # In float64: some gradients of a relativistic discriminator are 0 but for rounding, and Adam would blow that up.
    text = yaml.safe_load(gan_config.read_text())
    text["model"]["generator"] = yaml.safe_load(config.read_text())["model"]["generator"]
    text["trainer"] |= {"precision": "64-true", "max_epochs": 1, "accumulate_grad_batches": 1}
    text["data"]["batches_per_epoch"] = 4
    path = tmp_path / "gan.yaml"
    path.write_text(yaml.safe_dump(text))
    cli = TrainerCLI(["--config", str(path), "--out", str(tmp_path / "run")], run=False)
    cli.datamodule.setup("fit")
    batches = [cli.datamodule.train_dataloader().dataset[k] for k in range(8)]
    generator = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).double()
    discriminator = UNetDiscriminator(num_feat=4).double()
    generator.load_state_dict(cli.model.generator.state_dict())
    discriminator.load_state_dict(cli.model.discriminator.state_dict())
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in (generator, discriminator)]
    dec = DECLoss(patch_size=8)

    def bce(logits: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    for step in range(4):
        two = batches[2 * step : 2 * step + 2]
        lr, hr = (torch.stack([sample[key].double() for sample in two]) for key in ("lr", "hr"))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 1e-3 * [1, 0.5 * (1 + 0.5**0.5), 0.5, 0.5 * (1 - 0.5**0.5)][step]
        sr = generator(lr)
        real = discriminator(hr)
        fake = discriminator(sr)
        adversarial = (bce(real.detach() - fake.mean(), 0) + bce(fake - real.detach().mean(), 1)) / 2
        loss = F.l1_loss(sr, hr) + 1e-2 * dec(sr, hr) + 0.1 * adversarial
        optimizers[0].zero_grad()
        gradients = torch.autograd.grad(loss, list(generator.parameters()), retain_graph=True)
        for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
            parameter.grad = gradient
        judged = discriminator(sr.detach())
        optimizers[1].zero_grad()
        ((bce(real - judged.mean(), 1) + bce(judged - real.mean(), 0)) / 2).backward()
        for optimizer in optimizers:
            optimizer.step()

    cli.trainer.fit(cli.model, cli.datamodule)
    assert distance(cli.model.generator.state_dict(), generator.state_dict()) < 1e-9
    assert distance(cli.model.discriminator.state_dict(), discriminator.state_dict()) < 1e-9


def test_the_discriminator_learns_and_the_generator_feels_it(uninterrupted: Path) -> None:
    logged = rows(uninterrupted)
    losses = [float(row["train/discriminator"]) for row in logged if row["train/discriminator"]]
    assert losses[-1] < 0.95 * losses[0]
    assert all(float(row["train/gan_pull"]) > 0 for row in logged if row["train/gan_pull"])


def test_tensorboard_has_every_term_and_images(uninterrupted: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(uninterrupted)).Reload().Tags()
    terms = {f"train/{name}{suffix}" for name in ("l1", "dec", "gan") for suffix in ("", "_pull")}
    assert terms | {"train/loss", "train/discriminator", "train/learning_rate", "val/psnr_y"} <= set(events["scalars"])
    assert events["images"]


class SteepAt(RRDBNet):
    """A network whose gradient, and not its output, is infinite at its first training step."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)
        self.calls = 0

    def forward(self, lr: Tensor) -> Tensor:
        self.calls += 1
        sr = super().forward(lr)
        return sr + (sr - sr.detach()).sqrt() if self.calls == 1 else sr


def test_a_gradient_that_is_infinite(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_load(config.read_text())
    text["model"]["generator"] = {"class_path": f"{__name__}.SteepAt"}
    path = tmp_path / "steep.yaml"
    path.write_text(yaml.safe_dump(text))
    assert fit(path, tmp_path / "run") == 1
    assert "at step 0: l1 0." in capsys.readouterr().err


class NaNAt(RRDBNet):
    """A network whose output is NaN at one of its training steps."""

    def __init__(self, step: int = 2, scale: int = 4) -> None:
        super().__init__(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)
        self.step = step
        self.calls = 0

    def forward(self, lr: Tensor) -> Tensor:
        sr = super().forward(lr)
        if self.training:
            self.calls += 1
            if self.calls == self.step:
                return sr * float("nan")
        return sr


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_loss_that_is_nan(
    config: Path, tmp_path: Path, nonfinite: str, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    text = yaml.safe_load(config.read_text())
    text["model"]["generator"] = {"class_path": f"{__name__}.NaNAt", "init_args": {"step": 3}}
    path = tmp_path / "nan.yaml"
    path.write_text(yaml.safe_dump(text))
    status = fit(path, tmp_path / "run", f"--model.nonfinite={nonfinite}")
    message = "the loss or its gradient is not finite at step 2: l1 nan, dec nan"
    assert all(value.isfinite().all() for value in state(tmp_path / "run").values())
    if nonfinite == "stop":
        assert status == 1
        assert message in capsys.readouterr().err
        assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    else:
        assert status == 0
        assert [str(w.message) for w in recwarn if message in str(w.message)] == [f"{message}. The step is skipped."]
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["step"] == 12


def test_skipping_ends_in_a_sentence_when_nothing_else_comes(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)
    torch.nn.init.constant_(weights.conv_last.bias, float("nan"))
    save_weights(weights, tmp_path / "nan.pth")
    skip = ["--model.nonfinite=skip", "--model.nonfinite_limit=2", f"--model.weights={tmp_path / 'nan.pth'}"]
    assert fit(config, tmp_path / "run", *skip) == 1
    printed = capsys.readouterr().err
    assert "at step 1: l1 nan" in printed
    assert "model.nonfinite_limit is 2" in printed
    assert "Traceback" not in printed

    command = ["--config", str(config), "--out", str(tmp_path), f"--model.weights={tmp_path / 'nan.pth'}"]
    for name, image in (("test", "b"), ("validate", "a")):
        assert main([name, *command, "--trainer.enable_progress_bar=false"]) == 1
        printed = capsys.readouterr()
        assert f"NaN or infinite pixels, so no figures, in 1 of 1: {image}" in printed.err
        assert "Traceback" not in printed.err
        assert "nan" in printed.out


class Dark(RRDBNet):
    """A network that keeps black images black."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) * (lr.amax() > 0)


def test_an_exact_image_does_not_hold_the_best_checkpoint(config: Path, photographs: Path, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48)).save(tmp_path / "black.png")
    text = yaml.safe_load(config.read_text())
    text["model"]["generator"] = {"class_path": f"{__name__}.Dark"}
    text["data"]["val"] = [str(photographs / "a.png"), str(tmp_path / "black.png")]
    path = tmp_path / "dark.yaml"
    path.write_text(yaml.safe_dump(text))
    assert fit(path, tmp_path / "run", "--trainer.val_check_interval=2", "--model.warmup_steps=2") == 0
    validated = [row for row in rows(tmp_path / "run") if row["val/psnr_y"]]
    figures = {int(row["step"]) + 1: float(row["val/psnr_y"]) for row in validated}
    assert [float(row["val/exact"]) for row in validated] == [1] * 6
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    best = checkpoint["global_step"]
    assert best == max(figures, key=lambda step: figures[step]) > 2
    scores = {int(row["step"]) + 1: float(row["val/score"]) for row in validated}
    assert scores == pytest.approx({step: (figure + 60) / 2 for step, figure in figures.items()})
    (kept,) = (state for name, state in checkpoint["callbacks"].items() if name.startswith("BestCheckpoint"))
    assert float(kept["best_model_score"]) == pytest.approx(scores[best])


class NaNFirst(RRDBNet):
    """A network whose output is NaN in the first of its evaluations."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)
        self.evaluations = 0

    def forward(self, lr: Tensor) -> Tensor:
        self.evaluations += not self.training
        return super().forward(lr) * (float("nan") if not self.training and self.evaluations == 1 else 1)


@pytest.mark.filterwarnings("ignore:validation at step 2")
def test_a_validation_without_figures_is_never_the_best(config: Path, tmp_path: Path) -> None:
    text = yaml.safe_load(config.read_text())
    text["model"]["generator"] = {"class_path": f"{__name__}.NaNFirst"}
    path = tmp_path / "nan.yaml"
    path.write_text(yaml.safe_dump(text))
    assert fit(path, tmp_path / "run", "--trainer.val_check_interval=2", "--model.learning_rate=0") == 0
    assert [float(row["val/nonfinite"]) for row in rows(tmp_path / "run") if row["val/psnr_y"]] == [1, 0, 0, 0, 0, 0]
    assert torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 4


def test_out_of_memory_says_what_to_lower(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(self: nn.Module, lr: Tensor) -> Tensor:
        return torch.empty(2**55)

    monkeypatch.setattr(RRDBNet, "forward", greedy)
    assert fit(config, tmp_path / "run") == 1
    assert "out of memory. In training, lower data.batch_size" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_leaves_the_last_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    step = SuperResolution.training_step

    def fill(self: SuperResolution, batch: object, batch_idx: int) -> Tensor:
        if self.global_step == 3:  # what is written from now on ends on a full device
            (out / "checkpoints" / "last.ckpt.part").symlink_to("/dev/full")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SuperResolution, "training_step", fill)
    assert fit(config, out) == 1
    printed = capsys.readouterr().err
    assert "No space left on device" in printed
    assert "is intact" in printed
    assert "--resume auto" in printed
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    monkeypatch.undo()
    assert fit(config, out, "--resume", "auto") == 0
