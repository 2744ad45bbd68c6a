import math
from argparse import ArgumentError
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from dec_kernels import DECLoss
from dec_kernels.trainer.data import SRDataModule, TrainingBatch
from dec_kernels.trainer.enhance import FrequencyEnhancement
from dec_kernels.trainer.losses import discriminator_loss, generator_loss, psnr_loss
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.models import HINet, RRDBNet, VGGDiscriminator, save_weights
from dec_kernels.trainer.module import NonFiniteError, SuperResolution, warmup_cosine
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.pixels import NonFiniteImageError, to_uint8


def network() -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)


def alone(generator: nn.Module | None = None, **settings: object) -> tuple[SuperResolution, dict[str, torch.Tensor]]:
    """A module to call without a training, and what it logs."""
    module = SuperResolution(generator or network(), **settings)
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, accumulate_grad_batches=4)
    logged: dict[str, torch.Tensor] = {}
    module.log = lambda name, value, **kwargs: logged.update({name: value})
    return module, logged


def batch() -> TrainingBatch:
    return {"lr": torch.rand(2, 3, 8, 8), "hr": torch.rand(2, 3, 32, 32)}


def test_loss_is_the_weighted_sum_and_reaches_every_parameter() -> None:
    module, _ = alone(pixel_weight=0.5, dec=DECLoss(patch_size=8), dec_weight=0.25)
    data = batch()
    loss = module.training_step(data, 0)
    with torch.no_grad():
        sr = module(data["lr"])
        wanted = 0.5 * nn.functional.l1_loss(sr, data["hr"]) + 0.25 * DECLoss(patch_size=8)(sr, data["hr"])
    torch.testing.assert_close(loss.detach(), wanted)
    loss.backward()
    for name, parameter in module.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_an_output_of_another_size_is_named() -> None:
    module, _ = alone()
    wrong = {"lr": torch.rand(2, 3, 8, 8), "hr": torch.rand(2, 3, 16, 16)}
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\).*\(2, 3, 16, 16\)"):
        module.training_step(wrong, 0)


def test_dec_alone_reaches_every_parameter() -> None:
    module, _ = alone(pixel_weight=0.0, dec=DECLoss(patch_size=8), dec_weight=1.0)
    module.training_step(batch(), 0).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.generator.parameters())


@pytest.mark.parametrize("scaled", [False, True])
def test_pulls_are_the_terms_gradients_at_the_output(scaled: bool) -> None:
    module, logged = alone(pixel_weight=0.5, dec=DECLoss(patch_size=8), dec_weight=0.25)
    scale = 1.0
    if scaled:  # as by float16's GradScaler
        scale = 1024.0
        module.trainer.precision_plugin.scaler = SimpleNamespace(get_scale=lambda: scale)
    data = batch()
    (module.training_step(data, 0) * scale / 4).backward()  # the trainer divides by the four batches of a step
    for name, weight, criterion in (("l1", 0.5, nn.L1Loss()), ("dec", 0.25, DECLoss(patch_size=8))):
        sr = module(data["lr"]).detach().requires_grad_()
        value = criterion(sr, data["hr"])
        (gradient,) = torch.autograd.grad(weight * value, sr)
        torch.testing.assert_close(logged[f"train/{name}"], value.detach())
        torch.testing.assert_close(logged[f"train/{name}_pull"], gradient.norm())


class Features(nn.Module):
    """Stands in for a perceptual loss, whose weights would have to be downloaded."""

    def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        return (sr - hr).square().mean()


ALL_TERMS = ("l1", "perceptual", "dec", "gan")


@pytest.mark.parametrize("terms", [("dec",), ("l1", "perceptual"), ("gan",), ALL_TERMS])
def test_enhanced_images_are_what_the_chosen_terms_see(terms: tuple[str, ...]) -> None:
    enhance, dec, judge = FrequencyEnhancement(mu=16.0), DECLoss(patch_size=8), VGGDiscriminator(num_feat=1)
    judge.eval()  # batch norms do not depend on what else they have seen
    module, logged = alone(
        perceptual=Features(), dec=dec, discriminator=judge, enhance=enhance, enhance_terms=terms, dec_weight=0.5
    )
    data = {"lr": torch.rand(2, 3, 32, 32), "hr": torch.rand(2, 3, 128, 128)}
    (module.training_step(data, 0) / 4).backward()  # as the trainer does for the four batches of a step
    sr = module(data["lr"]).detach().requires_grad_()
    hr = data["hr"]
    seen = {name: (enhance(sr), enhance(hr)) if name in terms else (sr, hr) for name in ALL_TERMS}
    real, fake = (judge(image) for image in reversed(seen["gan"]))
    values = {
        "l1": nn.functional.l1_loss(*seen["l1"]),
        "perceptual": (seen["perceptual"][0] - seen["perceptual"][1]).square().mean(),
        "dec": dec(*seen["dec"]),
        "gan": generator_loss(real, fake),
        "discriminator": discriminator_loss(real, fake),
    }
    for name, value in values.items():
        torch.testing.assert_close(logged[f"train/{name}"], value.detach())
    (gradient,) = torch.autograd.grad(0.5 * values["dec"], sr)
    torch.testing.assert_close(logged["train/dec_pull"], gradient.norm())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"enhance_terms": ["dek"]}, "'dek'.*l1, perceptual, dec, gan.*mean 'dec'"),
        ({"enhance": FrequencyEnhancement()}, "'dec' .*not trained"),
        ({"enhance": FrequencyEnhancement(), "enhance_terms": ["l1", "gan"]}, "'gan' .*not trained"),
        ({"enhance": FrequencyEnhancement(), "enhance_terms": []}, "empty"),
    ],
)
def test_terms_that_cannot_be_enhanced(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=f"^enhance_terms: .*{words}"):
        SuperResolution(network(), **settings)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize(("pixel", "criterion"), [("l1", nn.functional.l1_loss), ("psnr_loss", psnr_loss)])
def test_every_stage_has_the_pixel_loss_and_the_last_one_the_others(
    pixel: Literal["l1", "psnr_loss"], criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], enhanced: bool
) -> None:
    settings = {"pixel": pixel, "pixel_weight": 0.5, "dec": DECLoss(patch_size=8), "dec_weight": 0.25}
    enhance = FrequencyEnhancement(mu=4.0) if enhanced else nn.Identity()
    module, logged = alone(HINet(wf=2, depth=2), **settings, enhance=enhance, enhance_terms=[pixel])
    data: TrainingBatch = {"lr": torch.rand(2, 3, 16, 16), "hr": torch.rand(2, 3, 16, 16)}
    loss = module.training_step(data, 0)
    (loss / 4).backward()
    first, last = (image.detach().requires_grad_() for image in module.generator.stages(data["lr"]))
    wanted = {
        f"{pixel}_stage1": (0.5, criterion(enhance(first), enhance(data["hr"])), first),
        pixel: (0.5, criterion(enhance(last), enhance(data["hr"])), last),
        "dec": (0.25, DECLoss(patch_size=8)(last, data["hr"]), last),
    }
    torch.testing.assert_close(loss.detach(), sum(weight * value.detach() for weight, value, _ in wanted.values()))
    for name, (weight, value, image) in wanted.items():
        (gradient,) = torch.autograd.grad(weight * value, image)
        torch.testing.assert_close(logged[f"train/{name}"], value.detach())
        torch.testing.assert_close(logged[f"train/{name}_pull"], gradient.norm())
    assert torch.equal(module(data["lr"]), module.generator.stages(data["lr"])[1])


def fit(photographs: Path, *, steps: int = 8, **settings: object) -> SuperResolution:
    data = SRDataModule(
        [str(photographs)], [str(photographs / "a.png")], crop_size=32, batch_size=2, batches_per_epoch=steps
    )
    module = SuperResolution(network(), **settings)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data)
    return module


def test_training_is_reproducible_and_dec_weight_is_all_that_differs(photographs: Path) -> None:
    def weights(dec_weight: float) -> list[torch.Tensor]:
        module = fit(photographs, dec=DECLoss(patch_size=8), dec_weight=dec_weight, learning_rate=1e-3)
        return [parameter.detach() for parameter in module.generator.parameters()]

    first, again, without = weights(0.1), weights(0.1), weights(0.0)
    plain = [p.detach() for p in fit(photographs, learning_rate=1e-3).generator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(without, plain, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, without, strict=True))


def test_loss_falls_on_a_fixed_batch() -> None:
    module, _ = alone(dec=DECLoss(patch_size=8), dec_weight=0.01)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    data = batch()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = module.training_step(data, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_validation_logs_the_metrics(photographs: Path) -> None:
    module = fit(photographs, steps=1)
    data = SRDataModule(["-"], [str(photographs / "a.png")])
    data.setup("validate")
    (pair,) = data.pairs["val"]
    wanted = measure(module.upscale_image(pair.lr), pair.hr, border=4)
    logged = module.trainer.callback_metrics
    assert {name: logged[f"val/{name}"].item() for name in wanted} == pytest.approx(wanted)


def test_upscaling_ignores_autocast() -> None:
    module = SuperResolution(network())
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        wanted = to_uint8(module(lr))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.upscale(lr), wanted)


class Black(RRDBNet):
    """Makes every image black, or, where its parameter is NaN, of NaN."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__(num_feat=4, num_block=1, num_grow_ch=2)
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return super().forward(lr) * 0 + self.value


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_figures_that_are_not_finite_are_counted(photographs: Path, tmp_path: Path, value: float) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    data = SRDataModule(["-"], [str(tmp_path), str(photographs / "a.png")])
    module = SuperResolution(Black(value))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.validate(module, data, verbose=False)
    logged = {name: figure.item() for name, figure in trainer.callback_metrics.items()}
    if math.isnan(value):
        assert logged["val/exact"] == 0
        assert logged["val/nonfinite"] == 2
        assert math.isnan(logged["val/psnr_y"])
        assert math.isnan(logged["val/score"])
        with pytest.raises(NonFiniteImageError, match="3072 of 3072"):
            module.upscale_image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    else:
        hr = data.pairs["val"][1].hr
        psnr = measure(torch.zeros_like(hr), hr, border=4)["psnr_y"]
        assert logged["val/exact"] == 1
        assert logged["val/nonfinite"] == 0
        assert logged["val/psnr_y"] == pytest.approx(psnr)
        assert logged["val/score"] == pytest.approx((psnr + 60) / 2)


class Normed(RRDBNet):
    """With batch norm; its output is NaN in chosen calls of its training."""

    def __init__(self, nan_in: Collection[int] = ()) -> None:
        super().__init__(num_feat=4, num_block=1, num_grow_ch=2)
        self.norm = nn.BatchNorm2d(3)
        self.nan_in = nan_in
        self.calls = 0

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return super().forward(self.norm(lr * math.nan if self.training and self.calls in self.nan_in else lr))


class States(Callback):
    """Keeps all that is trained behind each batch."""

    def __init__(self) -> None:
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        state = {name: value.clone() for name, value in pl_module.state_dict().items()}
        for number, of_one in trainer.optimizers[0].state_dict()["state"].items():
            state |= {f"{number}.{name}": value.clone() for name, value in of_one.items()}
        self.kept.append(state)


def train(module: SuperResolution, batches: int, checkpoint: Path | None = None, **settings: object) -> Trainer:
    data = [{"lr": torch.rand(2, 3, 32, 32), "hr": torch.rand(2, 3, 128, 128)} for _ in range(batches)]
    trainer = Trainer(
        **{"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings},
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=None), ckpt_path=checkpoint)
    return trainer


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(("every", "nan_in"), [(1, (3,)), (2, (5,)), (2, (6,))])
def test_a_skipped_step_changes_nothing(every: int, nan_in: tuple[int, ...]) -> None:
    states = States()
    discriminator = VGGDiscriminator(num_feat=1)
    module = SuperResolution(Normed(nan_in), discriminator=discriminator, ema_decay=0.5, nonfinite="skip")
    train(module, 4 * every, accumulate_grad_batches=every, callbacks=[states], gradient_clip_val=1.0)
    second, third, fourth = (states.kept[number * every - 1] for number in (2, 3, 4))
    assert changed(second, third) == set()
    moved = changed(third, fourth)
    for name in (
        "generator.norm.running_mean",
        "generator.norm.num_batches_tracked",
        "discriminator.bn0_1.running_var",
        "averaged.n_averaged",
        "averaged.module.norm.running_mean",
        "averaged.module.conv_last.weight",
        "generator.conv_last.weight",
        "0.exp_avg",
    ):
        assert name in moved, name
    assert all(value.isfinite().all() for value in fourth.values())


def test_a_step_that_float16s_scaler_leaves_out_is_not_averaged() -> None:
    states = States()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, backoff_factor=2.0**-110)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    train(SuperResolution(Normed(), ema_decay=0.5), 3, plugins=[plugin], callbacks=[states])
    first, second, third = states.kept
    assert scaler.get_scale() == 2.0**10
    assert not [name for name in first if name.startswith("0.")]  # Adam has seen no gradient yet
    assert first["averaged.n_averaged"] == 0
    assert second["averaged.n_averaged"] == 1
    assert third["averaged.n_averaged"] == 2


def test_skipping_gives_up_in_the_end(tmp_path: Path) -> None:
    settings = {"nonfinite": "skip", "nonfinite_limit": 3}
    train(SuperResolution(Normed((1, 2, 4, 5)), **settings), 6)
    with pytest.raises(NonFiniteError, match=r"step 5: l1 nan.* 3 .*model\.nonfinite_limit"):
        train(SuperResolution(Normed((1, 2, 4, 5, 6)), **settings), 7)
    with pytest.raises(NonFiniteError, match=r"step 0.* 1 .*model\.nonfinite_limit"):
        train(SuperResolution(Normed((1,)), nonfinite="skip", nonfinite_limit=1), 2)
    trainer = train(SuperResolution(Normed((3, 4)), **settings), 6, max_steps=4)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    with pytest.raises(NonFiniteError, match=r"step 4.* 3 .*model\.nonfinite_limit"):
        train(SuperResolution(Normed((1, 2)), **settings), 6, tmp_path / "some.ckpt", max_epochs=2)
    train(SuperResolution(Normed((2, 3)), **settings), 6, tmp_path / "some.ckpt", max_epochs=2)


def test_starts_from_given_weights(photographs: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    source = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)
    save_weights(source, tmp_path / "w.pth")
    module = fit(photographs, steps=1, weights=tmp_path / "w.pth", learning_rate=0.0)
    assert all(torch.equal(a, b) for a, b in zip(module.generator.parameters(), source.parameters(), strict=True))


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [warmup_cosine(step, 10, 110) for step in range(111)]
    assert rates[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert max(rates) == rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_each_cycle_starts_at_the_decayed_peak() -> None:
    rates = [warmup_cosine(step, 10, 70, cycles=3, cycle_decay=0.5) for step in range(71)]
    assert [rates[10], rates[30], rates[50]] == pytest.approx([1, 0.5, 0.25])
    assert [rates[20], rates[40], rates[60]] == pytest.approx([0.5, 0.25, 0.125])
    assert [rates[29], rates[49], rates[70]] == pytest.approx([0, 0, 0], abs=0.01)


def test_the_moving_average_is_what_is_evaluated(photographs: Path) -> None:
    """Decay 0.5: after two steps, half of the last weights, a quarter of those after the first ... and its start."""
    kept: list[dict[str, torch.Tensor]] = []
    step = SuperResolution.optimizer_step

    def keep(self: SuperResolution, *args: object) -> None:
        step(self, *args)
        kept.append({name: value.clone() for name, value in self.generator.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SuperResolution, "optimizer_step", keep)
        module = fit(photographs, steps=3, ema_decay=0.5, learning_rate=1e-2)
    for name, value in module.averaged.module.state_dict().items():
        # The average starts with the weights after the first step.
        torch.testing.assert_close(value, 0.25 * kept[0][name] + 0.25 * kept[1][name] + 0.5 * kept[2][name])
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(module.upscale(lr), to_uint8(module.averaged.module(lr)))
        assert not torch.equal(module.upscale(lr), to_uint8(module.generator(lr)))


def test_the_moving_average_starts_from_given_weights(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "w.pth")
    torch.manual_seed(1)
    module = SuperResolution(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2), weights=tmp_path / "w.pth", ema_decay=0.9)
    module.setup("validate")
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(module.upscale(lr), to_uint8(network()(lr)))


@pytest.mark.parametrize(("algorithm", "wanted"), [("norm", [0.6, 0.8, 0.6, 0.8]), ("value", [1, 1, 1, 1])])
def test_each_network_is_clipped_by_its_own_gradient(algorithm: str, wanted: list[float]) -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([300.0, 400.0])
    optimizer = torch.optim.Adam([{"params": [parameter]} for parameter in parameters])
    SuperResolution(network()).configure_gradient_clipping(optimizer, 1.0, algorithm)
    torch.testing.assert_close(torch.cat([p.grad for p in parameters]), torch.tensor(wanted, dtype=torch.float32))


@pytest.fixture(scope="module")
def parser() -> SuggestingParser:
    parser = SuggestingParser(exit_on_error=False)
    parser.add_class_arguments(SuperResolution, "model", skip={"generator"})
    return parser


@pytest.mark.parametrize(
    "setting",
    [
        "cycles=0",
        "cycle_decay=-1",
        "ema_decay=1.0",
        "nonfinite_limit=0",
        "nonfinite=ignore",
        "warmup_steps=-1",
        *(
            f"{name}={value}"
            for name in ("pixel_weight", "perceptual_weight", "dec_weight", "gan_weight", "learning_rate")
            for value in ("-1", "nan", "inf")
        ),
    ],
)
def test_the_command_line_refuses_values_out_of_range(parser: SuggestingParser, setting: str) -> None:
    name, value = setting.split("=")
    with pytest.raises(ArgumentError, match=rf'(?s)"model\.{name}".*{value}'):
        parser.parse_args([f"--model.{setting}"])
