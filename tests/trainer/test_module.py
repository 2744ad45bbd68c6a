from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from dec_kernels import DECLoss
from dec_kernels.trainer.data import Batch, SRDataModule
from dec_kernels.trainer.metrics import measure, to_uint8
from dec_kernels.trainer.models import RRDBNet, save_weights
from dec_kernels.trainer.module import SuperResolution, warmup_cosine


def network() -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(num_feat=4, num_block=1, num_grow_ch=2)


def batch() -> Batch:
    return {"lr": torch.rand(2, 3, 8, 8), "hr": torch.rand(2, 3, 32, 32)}


def test_loss_is_the_weighted_sum_and_reaches_every_parameter() -> None:
    module = SuperResolution(network(), pixel_weight=0.5, dec=DECLoss(patch_size=8), dec_weight=0.25)
    module.log = lambda *args, **kwargs: None
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


def test_dec_alone_reaches_every_parameter() -> None:
    module = SuperResolution(network(), pixel_weight=0.0, dec=DECLoss(patch_size=8), dec_weight=1.0)
    module.log = lambda *args, **kwargs: None
    module.training_step(batch(), 0).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.generator.parameters())


def test_pulls_are_the_terms_gradients_at_the_output() -> None:
    module = SuperResolution(network(), pixel_weight=0.5, dec=DECLoss(patch_size=8), dec_weight=0.25)
    logged: dict[str, torch.Tensor] = {}
    module.log = lambda name, value, **kwargs: logged.update({name: value})
    data = batch()
    module.training_step(data, 0).backward()
    for name, weight, criterion in (("l1", 0.5, nn.L1Loss()), ("dec", 0.25, DECLoss(patch_size=8))):
        sr = module(data["lr"]).detach().requires_grad_()
        value = criterion(sr, data["hr"])
        (gradient,) = torch.autograd.grad(weight * value, sr)
        torch.testing.assert_close(logged[f"train/{name}"], value.detach())
        torch.testing.assert_close(logged[f"train/{name}_pull"], gradient.norm())


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
    module = SuperResolution(network(), dec=DECLoss(patch_size=8), dec_weight=0.01)
    module.log = lambda *args, **kwargs: None
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


@pytest.mark.parametrize("name", ["pixel_weight", "dec_weight", "learning_rate", "warmup_steps"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_refuses_bad_numbers(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0"):
        SuperResolution(network(), **{name: value})
