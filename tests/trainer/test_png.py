import io
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dec_kernels.trainer.png import write_png


def written(image: np.ndarray, rows: int, **arguments: Any) -> bytes:
    """(H, W, 3) as a PNG file, of bands of so many rows."""
    file = io.BytesIO()
    bands = torch.from_numpy(image).permute(2, 0, 1).split(rows, dim=1)
    write_png(file, iter(bands), *image.shape[:2], bands[0].dtype, **arguments)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (7, 5), (131, 40)])
@pytest.mark.parametrize("rows", [1, 3, 100, 1000])
def test_any_bands_give_the_image(height: int, width: int, rows: int, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3), dtype=dtype)
    content = written(image, rows)
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.dtype == dtype
    assert np.array_equal(read[..., ::-1], image)
    with Image.open(io.BytesIO(content)) as opened:
        opened.verify()  # the checksums
        assert opened.mode == "RGB"
        assert opened.size == (width, height)
        assert "icc_profile" not in opened.info


def test_a_profile_is_embedded() -> None:
    profile = bytes(range(256)) * 3
    with Image.open(io.BytesIO(written(np.zeros((4, 4, 3), np.uint8), 2, profile=profile))) as image:
        assert image.info["icc_profile"] == profile
        assert not np.array(image).any()


def test_files_are_as_small_as_those_of_opencv() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8), (0, 0), 5)
    _, content = cv2.imencode(".png", image)
    assert len(written(image, 64)) < 1.02 * len(content)
