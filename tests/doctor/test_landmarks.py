"""The audits of the doctor against those of the loss."""

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss
from dec_kernels.audit import bf16_error
from dec_kernels.doctor import landmarks
from dec_kernels.spec import Spec
from tests.oracle import images


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """256 patches of 4 x 4 in 4 images."""
    return images(4, 3, 32, 32, 4, torch.float32)


def test_figures_are_those_of_the_audit(pair: tuple[Tensor, Tensor]) -> None:
    spec = Spec(patch_size=4, landmarks=20)
    found = landmarks.landmarks(*pair, spec, seed=3)
    assert [one["landmarks"] for one in found["tried"]] == [32, 64]
    assert found["columns"] == 256
    for one in (found["configured"], *found["tried"]):
        audit = DECLoss(patch_size=4, landmarks=one["landmarks"]).audit(*pair, seed=3)
        assert (one["rows"], one["qneg_error"], one["loss_error"]) == (256, audit.qneg.rms, audit.loss_error.value)
        assert (one["gradient_error"], *one["gradient_interval"]) == audit.gradient_error
        assert one["seconds"] > 0
    assert found["bf16_error"] == bf16_error(*pair, spec, seed=3).value
    below = [one["landmarks"] for one in found["tried"] if one["gradient_error"] < found["bf16_error"]]
    assert found["suggested"] == (below[0] if below else None)


@pytest.mark.parametrize(("bf16", "suggested"), [(1.0, 32), (1e-12, None)])
def test_the_fewest_that_are_exact_enough_are_suggested(
    bf16: float, suggested: int | None, pair: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = landmarks.bf16_error(*pair, Spec(patch_size=4))
    monkeypatch.setattr(landmarks, "bf16_error", lambda *_, **__: real._replace(value=bf16))
    assert landmarks.landmarks(*pair, Spec(patch_size=4), 0)["suggested"] == suggested


def test_each_image_by_itself_has_too_few_patches(pair: tuple[Tensor, Tensor]) -> None:
    found = landmarks.landmarks(*pair, Spec(patch_size=4, scope="image"), 0)
    assert (found["columns"], found["tried"], found["suggested"]) == (64, [], None)


def test_many_patches_are_not_timed_exactly(pair: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks, "MAX_EXACT_PATCHES", 255)
    assert landmarks.landmarks(*pair, Spec(patch_size=4, landmarks=20), 0)["exact_seconds"] is None
