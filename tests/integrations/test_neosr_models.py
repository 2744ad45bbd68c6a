"""neosr's models with a slot for DECLoss; image, otf and the registries are the framework's own where it is installed,
otherwise those of stand_ins/neosr.py.
"""

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss

DEC = {"type": "dec_loss", "loss_weight": 0.3, "patch_size": 4}
PIXEL = {"type": "L1Loss", "loss_weight": 1.0}


@pytest.fixture(scope="module")
def registry(adapter: Callable[[str], ModuleType]) -> ModuleType:
    adapter("neosr")
    adapter("neosr_models")
    registry = importlib.import_module("neosr.utils.registry")

    @registry.ARCH_REGISTRY.register()
    class tiny_network_of_the_test(torch.nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(3, 3, 3, padding=1)

    return registry


@pytest.fixture
def make(registry: ModuleType, images: tuple[Tensor, Tensor]) -> Callable[..., Any]:
    """Builds a model as neosr does from a train section, with the same weights each time, and feeds it the images."""

    def make(model_type: str, train: dict[str, Any], accumulate: int = 1) -> Any:
        torch.manual_seed(0)
        opt = {
            "is_train": True,
            "network_g": {"type": "tiny_network_of_the_test"},
            "datasets": {"train": {"accumulate": accumulate}},
            "train": {"optim_g": {"type": "Adam", "lr": 1e-3}, "pixel_opt": PIXEL, **train},
        }
        model = registry.MODEL_REGISTRY.get(model_type)(opt)
        model.feed_data({"lq": images[0].detach(), "gt": images[1]})
        return model

    return make


@pytest.mark.parametrize("model_type", ["dec_image", "dec_otf"])
def test_dec_is_part_of_the_total_and_named_in_the_log(make: Callable[..., Any], model_type: str) -> None:
    model = make(model_type, {"dec_opt": DEC}, accumulate=2)
    output = torch.clamp(model.net_g(model.lq), 1 / 255, 1)
    pixel, dec = torch.nn.functional.l1_loss(output, model.gt), 0.3 * dec_loss(output, model.gt, patch_size=4)
    expected = torch.autograd.grad((pixel + dec) / 2, list(model.net_g.parameters()))
    model.optimize_parameters(1)
    torch.testing.assert_close([parameter.grad for parameter in model.net_g.parameters()], list(expected))

    log = model.get_current_log()
    assert list(log) == ["l_g_pix", "l_g_dec", "l_g_total"]
    assert log["l_g_dec"] == pytest.approx(dec.item())


def test_slots_that_are_in_use_stay_so(make: Callable[..., Any]) -> None:
    model = make("dec_image", {"dec_opt": DEC, "kl_opt": PIXEL, "ncc_opt": PIXEL})
    model.optimize_parameters(1)
    assert sorted(model.get_current_log()) == ["l_g_dec", "l_g_kl", "l_g_ncc", "l_g_pix", "l_g_total"]


def test_without_a_free_slot_it_says_which_there_are(make: Callable[..., Any]) -> None:
    used = dict.fromkeys(("kl_opt", "ncc_opt", "ff_opt", "ldl_opt"), PIXEL)
    with pytest.raises(ValueError, match="kl_opt, ncc_opt, ff_opt, ldl_opt"):
        make("dec_image", {"dec_opt": DEC, **used})


def test_without_dec_opt_the_model_says_what_it_needs(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"dec_image .*dec_opt"):
        make("dec_image", {})


@pytest.mark.parametrize("stock", ["image", "otf"])
def test_a_model_that_ignores_dec_opt_warns(make: Callable[..., Any], stock: str) -> None:
    with pytest.warns(UserWarning, match=f"dec_opt.*{stock}.*dec_{stock}"):
        make(stock, {"dec_opt": DEC})
    for model_type, train in ((stock, {}), (f"dec_{stock}", {"dec_opt": DEC})):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make(model_type, train)
