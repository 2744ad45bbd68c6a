import pytest
import torch
import torch.nn.functional as F

from benchmarks.evidence.cosine import MatchedCosine
from dec_kernels.reference import patch_rows


def test_is_one_less_the_mean_cosine_of_matching_patches() -> None:
    sr, hr = torch.rand(2, 2, 3, 16, 24)
    rows = [patch_rows(image, 8) for image in (sr, hr)]
    wanted = 1 - F.cosine_similarity(*rows, dim=-1).mean()
    assert MatchedCosine()(sr, hr).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert MatchedCosine(loss_weight=0.5)(sr, hr).item() == pytest.approx(wanted.item() / 2, rel=1e-5)


def test_centred_patches_and_the_floor() -> None:
    sr, hr = torch.rand(2, 2, 3, 16, 24)
    rows = [patch_rows(image, 8).unflatten(-1, (3, 64)) for image in (sr, hr)]
    centred = [(each - each.mean(-1, keepdim=True)).flatten(-2) for each in rows]
    wanted = 1 - F.cosine_similarity(*centred, dim=-1).mean()
    assert MatchedCosine(center=True)(sr, hr).item() == pytest.approx(wanted.item(), rel=1e-5)
    dark = [image / 1000 for image in (sr, hr)]  # below the floor, so that the cosine is all but 0
    assert MatchedCosine(norm_floor=0.1)(*dark).item() == pytest.approx(1, abs=1e-3)


def test_a_black_patch_has_a_finite_gradient() -> None:
    sr = torch.zeros(1, 3, 16, 16, requires_grad=True)
    MatchedCosine()(sr, torch.rand(1, 3, 16, 16)).backward()
    assert sr.grad is not None
    assert sr.grad.isfinite().all()
