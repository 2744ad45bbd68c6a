import math
from typing import Any

import pytest

from dec_kernels.trainer.data import SRDataModule
from dec_kernels.trainer.models import RRDBNet
from dec_kernels.trainer.module import SuperResolution
from dec_kernels.trainer.predict import predict


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0), ("scale", 12), ("crop_size", 0), ("batch_size", -1), ("seed", -1), ("num_workers", 1.5),
        ("bad_files", "typo"), ("cache", "typo"),
    ],
)  # fmt: skip
def test_data_from_python_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*{value}"):
        SRDataModule([], [], **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dec_weight", -1.0), ("learning_rate", math.inf), ("pixel_weight", math.nan), ("ema_decay", 1.5),
        ("cycles", 0), ("warmup_steps", -1), ("nonfinite", "typo"), ("nonfinite_limit", 0),
    ],
)  # fmt: skip
def test_a_training_from_python_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*{value}"):
        SuperResolution(RRDBNet(num_block=1, num_feat=4, num_grow_ch=4), **{name: value})


@pytest.mark.parametrize(("name", "value"), [("tile", -1), ("overlap", -1), ("precision", "fp8"), ("device", "typo")])
def test_a_prediction_from_python_is_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*{value}"):
        predict("w.pth", "in", "out", **{name: value})
