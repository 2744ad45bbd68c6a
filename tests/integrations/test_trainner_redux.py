"""traiNNer-redux's call convention, read from `SRModel` in traiNNer/models/sr_model.py, the version that multiplies by
abs(loss.loss_weight) itself (after commit 5e52432d, which left that to the losses), and from loss_type_to_label in
traiNNer/utils/misc.py. The registry and build_loss are the framework's own where it is installed.
"""

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss


def init_losses(configs: list[dict[str, object]], compile: bool) -> dict[str, torch.nn.Module]:
    """SRModel.init_training_settings: labels, the device and the memory format, and torch.compile where asked."""
    build_loss = importlib.import_module("traiNNer.losses").build_loss
    losses = {}
    for config in configs:
        label = "l_g_" + str(config["type"]).lower().replace("loss", "")
        losses[label] = build_loss(config).to("cpu", memory_format=torch.channels_last, non_blocking=True)
        if compile:
            losses[label] = torch.compile(losses[label], backend="eager")
    return losses


def generator_step(
    losses: dict[str, torch.nn.Module], output: Tensor, gt: Tensor, lq_target: Tensor, amp: torch.dtype | None
) -> dict[str, Tensor]:
    """SRModel.optimize_parameters: the losses in autocast with their weights, and backward; `accum_iter` is 2."""
    logged = {}
    with torch.autocast("cpu", dtype=amp, enabled=amp is not None):
        total = torch.tensor(0.0)
        for label, loss in losses.items():
            value = loss(output, lq_target if loss.loss_weight < 0 else gt) * abs(loss.loss_weight)
            total += value / 2
            logged[label] = value
    total.backward()
    return logged


@pytest.fixture(autouse=True)
def loaded(adapter: Callable[[str], ModuleType]) -> None:
    adapter("trainner_redux")


@pytest.mark.parametrize("compile", [False, True])
def test_the_trainer_weights_it_once(images: tuple[Tensor, Tensor], compile: bool) -> None:
    sr, hr = images
    losses = init_losses([{"type": "decloss", "loss_weight": 0.01, "patch_size": 4}], compile)
    logged = generator_step(losses, sr, hr, hr, amp=None)

    expected = 0.01 * dec_loss(sr, hr, patch_size=4)
    torch.testing.assert_close(logged, {"l_g_dec": expected})
    torch.testing.assert_close(sr.grad, torch.autograd.grad(expected / 2, sr)[0])


@pytest.mark.parametrize("compile", [False, True])
def test_a_negative_weight_takes_the_target_made_in_inference_mode(
    images: tuple[Tensor, Tensor], compile: bool
) -> None:
    sr, hr = images
    with torch.inference_mode():
        lq_target = hr.clamp(0.4, 0.6)
    losses = init_losses([{"type": "DECLoss", "loss_weight": -0.01}], compile)
    logged = generator_step(losses, sr, hr, lq_target, amp=None)
    torch.testing.assert_close(logged["l_g_dec"], 0.01 * dec_loss(sr, lq_target.clone()))
    assert sr.grad.isfinite().all()


def test_in_autocast_the_output_may_be_bf16(images: tuple[Tensor, Tensor]) -> None:
    sr, hr = images
    losses = init_losses([{"type": "decloss", "loss_weight": 0.01}], compile=False)
    logged = generator_step(losses, sr.bfloat16(), hr, hr, amp=torch.bfloat16)
    assert logged["l_g_dec"].dtype == torch.float32
    assert sr.grad.abs().sum() > 0
