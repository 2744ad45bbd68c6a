"""Two photographs and random weights: what the study needs, small."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

pytest.importorskip("lightning", reason="the trainer's dependencies are not installed")

ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG_16 = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}


def _save(path: Path, shapes: dict[int, tuple[int, int, int]]) -> Path:
    """Random weights under torchvision's keys. All weights of a kernel are equal, which keeps the file small."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for index, (channels, before, side) in shapes.items():
        weight = torch.randn(channels, before, 1, 1) * (2 / (side**2 * before)) ** 0.5
        state[f"features.{index}.weight"] = weight.expand(-1, -1, side, side)
        state[f"features.{index}.bias"] = torch.zeros(channels)
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("alexnet") / "alexnet.pth", ALEXNET)


@pytest.fixture(scope="session")
def vgg_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = {index: (*channels, 3) for index, channels in VGG_16.items()}
    return _save(tmp_path_factory.mktemp("vgg") / "vgg16.pth", shapes)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/coffee.png and heldout/chelsea.png."""
    folder = tmp_path_factory.mktemp("photographs")
    for part, name in (("train", "coffee"), ("heldout", "chelsea")):
        (folder / part).mkdir()
        Image.fromarray(getattr(data, name)()[100:240, 120:272]).save(folder / part / f"{name}.png")
    return folder
