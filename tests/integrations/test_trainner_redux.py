"""traiNNer-redux's call convention, read from `SRModel` in traiNNer/models/sr_model.py, the version that multiplies by
abs(loss.loss_weight) itself (after commit 5e52432d, which left that to the losses), and from loss_type_to_label in
traiNNer/utils/misc.py. The registry and build_loss are the framework's own where it is installed.
"""

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType, NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

import dec_kernels
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
@pytest.mark.parametrize("loss_weight", [-0.01, 0.01], ids=["the upscaled input", "a teacher's output"])
def test_targets_made_in_inference_mode(images: tuple[Tensor, Tensor], loss_weight: float, compile: bool) -> None:
    sr, hr = images
    with torch.inference_mode():
        target = hr.clamp(0.4, 0.6)
    losses = init_losses([{"type": "DECLoss", "loss_weight": loss_weight}], compile)
    logged = generator_step(losses, sr, *((target, hr) if loss_weight > 0 else (hr, target)), amp=None)
    torch.testing.assert_close(logged["l_g_dec"], 0.01 * dec_loss(sr, target.clone()))
    assert sr.grad.isfinite().all()


def test_in_autocast_the_output_may_be_bf16(images: tuple[Tensor, Tensor]) -> None:
    sr, hr = images
    losses = init_losses([{"type": "decloss", "loss_weight": 0.01}], compile=False)
    logged = generator_step(losses, sr.bfloat16(), hr, hr, amp=torch.bfloat16)
    assert logged["l_g_dec"].dtype == torch.float32
    assert sr.grad.abs().sum() > 0


def test_the_weight_can_be_set_and_stays_the_trainers(images: tuple[Tensor, Tensor]) -> None:
    (criterion,) = init_losses([{"type": "decloss", "loss_weight": 0.01, "patch_size": 4}], compile=False).values()
    criterion.loss_weight = 0.5
    assert criterion.loss_weight == 0.5
    torch.testing.assert_close(criterion(*images), dec_loss(*images, patch_size=4))
    with pytest.raises(TypeError, match=r"loss_weight.*'1e-2'"):
        criterion.loss_weight = "1e-2"


def arguments(function: Callable[..., None]) -> dict[str, tuple[Any, Any]]:
    """Of each argument its type and its default, as scripts/options/generate_schema.py (commit 68629319) takes them.

    It skips a class with an argument that has no default after one that has, or with a type that JSON does not know.
    """
    hints = get_type_hints(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "args", "kwargs") or name not in hints:
            continue
        assert parameter.default is not inspect.Parameter.empty, f"{name} has no default: the class is skipped"
        kinds = get_args(hints[name]) if get_origin(hints[name]) is Union else [hints[name]]
        assert all(kind in (int, float, str, bool, NoneType) or get_origin(kind) is Literal for kind in kinds), name
        found[name] = hints[name], parameter.default
    return found


def test_the_signature_is_that_of_DECLoss_as_the_generator_of_the_schema_reads_it() -> None:
    for name in ("decloss", "detailenhancedcontrastiveloss"):
        loss = importlib.import_module("traiNNer.utils.registry").LOSS_REGISTRY.get(name)
        ours, original = arguments(loss.__init__), inspect.signature(dec_kernels.DECLoss).parameters
        assert {each: default for each, (_, default) in ours.items()} == {
            each: parameter.default for each, parameter in original.items()
        }
        types = {each: hint for each, (hint, _) in ours.items()}
        assert types.pop("process_group") == Literal["world"] | None, "a config cannot hold a group"
        assert types == {
            each: hint
            for each, hint in get_type_hints(dec_kernels.DECLoss.__init__).items()
            if each not in ("process_group", "return")
        }
