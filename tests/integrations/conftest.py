import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

FRAMEWORKS = {
    "basicsr": ["basicsr"],
    "realesrgan": ["basicsr", "realesrgan"],
    "trainner_redux": ["traiNNer"],
    "neosr": ["neosr"],
    "neosr_models": ["neosr"],
    "kair": ["models"],
}


@pytest.fixture(scope="session")
def adapter() -> Iterator[Callable[[str], ModuleType]]:
    """Imports an adapter by its name; a framework that is not installed is replaced by its stand-in."""
    stand_ins = []

    def load(name: str) -> ModuleType:
        for framework in FRAMEWORKS[name]:
            if framework in sys.modules or importlib.util.find_spec(framework):
                continue
            for module, contents in importlib.import_module(
                f"tests.integrations.stand_ins.{framework}"
            ).MODULES.items():
                sys.modules[module] = ModuleType(module)
                vars(sys.modules[module]).update(contents)
                stand_ins.append(module)
        return importlib.import_module(f"dec_kernels.integrations.{name}")

    yield load
    for module in stand_ins:
        del sys.modules[module]


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """An SR batch that requires a gradient, and its target: (2, 3, 32, 32), values in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(2, 3, 36, 36, generator=generator), 5, stride=1)
    noisy = smooth + 0.05 * torch.rand(2, 3, 32, 32, generator=generator)
    return noisy.requires_grad_(), smooth
