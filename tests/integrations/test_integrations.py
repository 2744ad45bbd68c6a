"""What the adapters have in common. These tests cut across all adapters and `integrations/__init__.py`."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss, dec_loss
from dec_kernels.integrations import register
from tests.integrations.stand_ins import Registry

LOSSES = [
    ("basicsr", "basicsr.losses", "DECLoss"),
    ("basicsr", "basicsr.losses", "DetailEnhancedContrastiveLoss"),
    ("trainner_redux", "traiNNer.losses", "decloss"),
    ("trainner_redux", "traiNNer.losses", "DECLoss"),
    ("trainner_redux", "traiNNer.losses", "DetailEnhancedContrastiveLoss"),
    ("neosr", "neosr.losses", "dec_loss"),
    ("neosr", "neosr.losses", "detail_enhanced_contrastive_loss"),
]


@pytest.fixture(params=LOSSES, ids=lambda case: f"{case[0]}-{case[2]}")
def build(request: pytest.FixtureRequest, adapter: Callable[[str], ModuleType]) -> Callable[..., torch.nn.Module]:
    """The framework's own build_loss, with the type filled in."""
    name, module, type_ = request.param
    adapter(name)
    return lambda **options: importlib.import_module(module).build_loss({"type": type_, **options})


def test_every_argument_comes_from_the_config(
    build: Callable[..., torch.nn.Module], images: tuple[Tensor, Tensor]
) -> None:
    options = {
        "patch_size": 4,
        "threshold": 30.0,
        "t_pos": 0.6,
        "t_neg": 1.2,
        "max_val": 0.5,
        "distance": "rmse",
        "temperature": "inside",
        "scope": "image",
        "remainder": "error",
        "reduction": "sum",
        "precision": "ieee",
        "landmarks": 64,
        "norm_floor": 0.3,
        "center": True,
        "backend": "torch",
        "process_group": None,
    }
    assert options.keys() | {"loss_weight"} == inspect.signature(DECLoss).parameters.keys()
    torch.testing.assert_close(build(loss_weight=1.0, **options)(*images), dec_loss(*images, **options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss_weight": "1e-2"}, TypeError, "loss_weight.*'1e-2'"),
        ({"patch_size": 0}, ValueError, "patch_size.*0"),
        ({"distance": "l1"}, ValueError, "distance.*'l1'"),
        ({"patchsize": 8}, TypeError, "patchsize"),
    ],
)
def test_bad_values_are_DECLoss_errors(
    build: Callable[..., torch.nn.Module], options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("name", "framework", "title"),
    [
        ("basicsr", "basicsr", "BasicSR"),
        ("realesrgan", "realesrgan", "Real-ESRGAN"),
        ("trainner_redux", "traiNNer", "traiNNer-redux"),
        ("neosr", "neosr", "neosr"),
        ("neosr_models", "neosr", "neosr"),
        ("kair", "models", "KAIR"),
    ],
)
def test_without_its_framework_an_adapter_names_it(
    name: str, framework: str, title: str, adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter("basicsr")
    for module in [framework, *(module for module in sys.modules if module.startswith(f"{framework}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"dec_kernels.integrations.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"{title}.*{framework}") as caught:
        importlib.import_module(f"dec_kernels.integrations.{name}")
    assert re.search("pip install|Clone https://github.com/", str(caught.value))


def test_a_name_that_is_taken_stays_its_owners() -> None:
    registry = Registry("test")
    theirs, ours, alias = (type(name, (), {}) for name in ("DECLoss", "DECLoss", "DetailEnhancedContrastiveLoss"))
    registry.register(theirs)
    with pytest.warns(UserWarning, match="DECLoss"):
        register(registry, ours, alias)
    assert registry.get("DECLoss") is theirs
    assert registry.get("DetailEnhancedContrastiveLoss") is alias


def test_dec_kernels_imports_no_adapter() -> None:
    program = "import sys, dec_kernels; sys.exit('dec_kernels.integrations' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
