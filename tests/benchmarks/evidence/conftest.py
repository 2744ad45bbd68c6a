"""Two photographs and random weights: what the study needs, small."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.pretrained import ALEXNET, VGG_16, save

pytest.importorskip("lightning", reason="the trainer's dependencies are not installed")


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("alexnet") / "alexnet.pth", ALEXNET)


@pytest.fixture(scope="session")
def vgg_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("vgg") / "vgg16.pth", VGG_16)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/coffee.png and heldout/chelsea.png."""
    folder = tmp_path_factory.mktemp("photographs")
    for part, name in (("train", "coffee"), ("heldout", "chelsea")):
        (folder / part).mkdir()
        Image.fromarray(getattr(data, name)()[100:240, 120:272]).save(folder / part / f"{name}.png")
    return folder
