"""BasicSR 1.4.2 and Real-ESRGAN 0.3.0, both as on PyPI: their own models and registries where they are installed,
otherwise those of stand_ins/, which say what they were read from.
"""

import importlib
import os
import runpy
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss

GAN_MODELS = ["SRGANModel", "ESRGANModel", "RealESRGANModel"]
MODELS = ["SRModel", "SwinIRModel", "RealESRNetModel", *GAN_MODELS]


@pytest.fixture(scope="module")
def registry(adapter: Callable[[str], ModuleType]) -> ModuleType:
    adapter("realesrgan")  # and, through it, basicsr
    registry = importlib.import_module("basicsr.utils.registry")

    @registry.ARCH_REGISTRY.register()
    class TinyNetworkOfTheTest(torch.nn.Conv2d):
        def __init__(self, window_size: int = 1) -> None:
            super().__init__(3, 3, 3, padding=1)

    return registry


@pytest.fixture(autouse=True)
def cuda_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    # Real-ESRGAN moves its sharpening to the GPU without asking.
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)


@pytest.fixture
def make(registry: ModuleType, images: tuple[Tensor, Tensor]) -> Callable[..., Any]:
    """Builds a model as BasicSR does from a config, with the same weights each time, and feeds it the images."""
    torch.manual_seed(0)
    state = torch.nn.Conv2d(3, 3, 3, padding=1).state_dict()

    def make(model_type: str, train: dict[str, Any], **top: Any) -> Any:
        opt = {
            "model_type": model_type,
            "num_gpu": 0,
            "dist": False,
            "is_train": True,
            "path": {},
            "network_g": {"type": "TinyNetworkOfTheTest", "window_size": 7},
            "network_d": {"type": "TinyNetworkOfTheTest"},
            "high_order_degradation": False,
            "l1_gt_usm": True,
            "percep_gt_usm": True,
            "gan_gt_usm": False,
            "train": {
                "optim_g": {"type": "Adam", "lr": 1e-3},
                "optim_d": {"type": "Adam", "lr": 1e-3},
                "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                "pixel_opt": {"type": "L1Loss", "loss_weight": 0.01},
                "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1},
                **train,
            },
            **top,
        }
        model = registry.MODEL_REGISTRY.get(model_type)(opt)
        model.net_g.load_state_dict(state)
        if hasattr(model, "net_d"):
            model.net_d.load_state_dict(state)
        model.feed_data({"lq": images[0].detach(), "gt": images[1]})
        return model

    return make


def gradients(model: Any) -> list[Tensor]:
    return [parameter.grad for parameter in model.net_g.parameters()]


DEC = {"type": "DECLoss", "loss_weight": 0.01, "patch_size": 4}


@pytest.mark.parametrize("stock", MODELS)
def test_dec_is_part_of_the_total(make: Callable[..., Any], stock: str) -> None:
    without, model = make(stock, {}), make(f"DEC{stock}", {"dec_opt": DEC})
    network = deepcopy(without.net_g)
    without.optimize_parameters(1)
    model.optimize_parameters(1)

    loss = 0.01 * dec_loss(network(model.lq), model.dec_target(), patch_size=4)
    own = torch.autograd.grad(loss, list(network.parameters()))
    torch.testing.assert_close(gradients(model), [a + b for a, b in zip(gradients(without), own, strict=True)])
    assert all(gradient.abs().max() > 1e-6 for gradient in own), "or this test could not fail"

    log, log_without = model.get_current_log(), without.get_current_log()
    assert log.pop("l_g_dec") == pytest.approx(loss.item())
    assert log.keys() == log_without.keys()


@pytest.mark.parametrize("stock", GAN_MODELS)
def test_iterations_of_the_discriminator_alone_compute_no_dec(
    make: Callable[..., Any], stock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(f"DEC{stock}", {"dec_opt": DEC, "net_d_init_iters": 2, "net_d_iters": 2})
    calls = []
    model.cri_dec.register_forward_hook(lambda *_: calls.append(iteration))
    logged = []
    for iteration in range(1, 7):
        model.optimize_parameters(iteration)
        if "l_g_dec" in model.get_current_log():
            logged.append(iteration)
    assert calls == logged == [4, 6]


@pytest.mark.parametrize("stock", MODELS)
def test_validation_computes_no_dec(make: Callable[..., Any], stock: str) -> None:
    without, model = make(stock, {}), make(f"DEC{stock}", {"dec_opt": DEC})
    model.cri_dec = None
    for each in (without, model):
        each.test()
    torch.testing.assert_close(model.output, without.output, rtol=0, atol=0)


@pytest.mark.parametrize("stock", MODELS)
def test_a_model_that_ignores_dec_opt_warns(make: Callable[..., Any], stock: str) -> None:
    with pytest.warns(UserWarning, match=f"dec_opt.*{stock}.*DEC{stock}"):
        make(stock, {"dec_opt": DEC})
    for model_type, train in ((stock, {}), (f"DEC{stock}", {"dec_opt": DEC})):
        with warnings.catch_warnings(record=True) as caught:
            make(model_type, train)
        assert not [warning for warning in caught if "dec_opt" in str(warning.message)]


@pytest.mark.parametrize("stock", MODELS)
def test_ema_follows_the_new_weights(make: Callable[..., Any], stock: str) -> None:
    model = make(f"DEC{stock}", {"dec_opt": DEC, "ema_decay": 0.5})
    before = [parameter.clone() for parameter in model.net_g_ema.parameters()]
    model.optimize_parameters(1)
    after = [0.5 * old + 0.5 * new for old, new in zip(before, model.net_g.parameters(), strict=True)]
    torch.testing.assert_close(list(model.net_g_ema.parameters()), after)


@pytest.mark.parametrize(
    ("switches", "sharpened"),
    [
        ({"l1_gt_usm": True}, True),
        ({"l1_gt_usm": False}, False),
        ({"l1_gt_usm": True, "dec_gt_usm": False}, False),
        ({"l1_gt_usm": False, "dec_gt_usm": True}, True),
    ],
)
def test_the_target_of_real_esrgan(make: Callable[..., Any], switches: dict[str, bool], sharpened: bool) -> None:
    model = make("DECRealESRGANModel", {"dec_opt": DEC}, **switches)
    assert not torch.equal(model.gt, model.gt_usm)
    assert model.dec_target() is (model.gt_usm if sharpened else model.gt)


@pytest.mark.parametrize("stock", MODELS)
def test_without_dec_opt_the_model_says_what_it_needs(make: Callable[..., Any], stock: str) -> None:
    with pytest.raises(ValueError, match=f"DEC{stock} .*dec_opt"):
        make(f"DEC{stock}", {})


def test_an_output_and_its_graph_are_freed(make: Callable[..., Any]) -> None:
    model = make("DECSRModel", {"dec_opt": DEC})
    freed = []

    def watch(module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        output.grad_fn.register_hook(_OnDeath(freed))

    model.net_g.register_forward_hook(watch)
    for iteration in range(3):
        model.optimize_parameters(iteration)
    assert len(freed) == 2, "all but the last, which the model still has"


class _OnDeath:
    def __init__(self, deaths: list[None]) -> None:
        self.deaths = deaths

    def __call__(self, *_: Any) -> None: ...

    def __del__(self) -> None:
        self.deaths.append(None)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", ["basicsr", "realesrgan"])
def test_the_entry_point_registers_and_runs_the_frameworks_training(
    registry: ModuleType,
    adapter: Callable[[str], ModuleType],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def train_pipeline(root_path: str) -> None:
        roots.append(root_path)
        assert "DECSRModel" in registry.MODEL_REGISTRY or name == "realesrgan"
        assert "DECRealESRGANModel" in registry.MODEL_REGISTRY or name == "basicsr"

    roots: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("basicsr.train"), "train_pipeline", train_pipeline)
    monkeypatch.setattr(adapter("basicsr"), "train_pipeline", train_pipeline)
    for each in (registry.MODEL_REGISTRY, registry.LOSS_REGISTRY):
        monkeypatch.setattr(each, "_obj_map", {})
    runpy.run_module(f"dec_kernels.integrations.{name}", run_name="__main__")
    assert roots == [os.fspath(tmp_path)]
