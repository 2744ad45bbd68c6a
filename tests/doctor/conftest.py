from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from tests.doctor.files import save


@pytest.fixture(scope="session")
def photo() -> tuple[Tensor, Tensor]:
    """SR and HR, (2, 3, 24, 28), with a black corner in the first."""
    hr = torch.from_numpy(np.stack([getattr(data, name)()[40:64, 40:68] for name in ("astronaut", "coffee")]))
    hr = hr.permute(0, 3, 1, 2).float() / 255
    hr[0, :, :4, :8] = 0
    sr = F.interpolate(F.avg_pool2d(hr, 2), scale_factor=2.0)
    return sr, hr


@pytest.fixture
def folders(tmp_path: Path, photo: tuple[Tensor, Tensor]) -> tuple[Path, Path]:
    """SR as PNG and HR as BMP: two images with the same names in both folders, and one more in each."""
    sides = tmp_path / "sr", tmp_path / "hr"
    for side, images, suffix in zip(sides, photo, ("png", "bmp"), strict=True):
        side.mkdir()
        for name, image in zip(("b", "a"), images, strict=True):
            save(side / f"{name}.{suffix}", image)
        save(side / f"only_{side.name}.png", images[0])
        (side / "notes.txt").write_text("no image")
    return sides
