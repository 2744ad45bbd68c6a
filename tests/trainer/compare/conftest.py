from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Noisy = Callable[[np.ndarray, float], np.ndarray]


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="session")
def study_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, `hr/One` with two images and `hr/Two` with one; `fine` and `coarse` have results for all."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, height, width in (("One/a", 48, 64), ("One/deep/b", 41, 57), ("Two/a", 60, 44)):
        hr = np.clip(128 + rng.normal(0, 40, (height, width, 3)), 20, 235).astype(np.uint8)
        save(folder / "hr" / f"{name}.png", hr)
        for method, tail, spread in (("fine", "", 3), ("coarse", "x4_coarse", 9)):
            noise = rng.integers(-spread, spread + 1, hr.shape)
            save(folder / method / f"{name}{tail}.png", (hr + noise).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def arguments(study_data: Path) -> list[str]:
    """The arguments of `compare` for all of `study_data`."""
    sets = [word for name in ("One", "Two") for word in ("--hr", f"{name}={study_data / 'hr' / name}")]
    return [*sets, f"Fine={study_data / 'fine'}", f"Coarse={study_data / 'coarse'}"]
