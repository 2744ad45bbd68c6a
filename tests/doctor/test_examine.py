"""The figures against ones that were computed by hand or from the dense equations."""

from dataclasses import replace

import pytest
import torch.nn.functional as F
from torch import Tensor

from dec_kernels import reference
from dec_kernels.doctor import examine, positives
from dec_kernels.spec import Spec
from tests.oracle import truth

SPEC = Spec(patch_size=4, threshold=30.0, distance="rmse")


@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_terms_are_those_of_the_dense_equations(temperature: str, photo: tuple[Tensor, Tensor]) -> None:
    spec = Spec(patch_size=4, threshold=30.0, distance="rmse", temperature=temperature)
    sr, hr = photo
    found = examine.terms(sr, hr, spec)
    q, p = (reference.patch_rows(images.double(), 4).flatten(0, 1) for images in photo)
    constants = spec.constants(48, "ieee")
    z, h = (reference.unit_rows(x, spec.patch_size, constants) for x in (q, p))
    qpos, qneg = reference.similarity_sums(z, h, reference.positives(p, constants.radius), constants)
    assert found["mean_log_qpos"] == pytest.approx(qpos.log().mean().item(), rel=1e-5)
    assert found["mean_log_qneg"] == pytest.approx(qneg.log().mean().item(), rel=1e-5)
    assert found["loss"] == pytest.approx(truth(sr, hr, spec).loss.item(), rel=1e-5)
    assert (found["rows"], found["rows_without_negatives"]) == (84, 0)
    assert (found["zero_patches_sr"], found["zero_patches_hr"]) == (2, 2)


def test_rows_without_negatives(photo: tuple[Tensor, Tensor]) -> None:
    found = examine.terms(*photo, Spec(patch_size=4, threshold=-100.0))
    assert found["rows_without_negatives"] == 84
    assert (found["loss"], found["mean_log_qpos"]) == (0, None)


def test_the_suggested_weight_gives_the_share(photo: tuple[Tensor, Tensor]) -> None:
    sr, hr = photo
    found = examine.gradients(sr, hr, SPEC)
    weight = examine.weight(found, share=0.25, l1_weight=1e-2)["weight"]
    assert weight is not None
    dec = truth(sr, hr, Spec(patch_size=4, threshold=30.0, distance="rmse", loss_weight=weight)).gradient.norm()
    double = sr.double().requires_grad_()
    (1e-2 * F.l1_loss(double, hr.double())).backward()
    assert dec / double.grad.norm() == pytest.approx(0.25, rel=1e-5)


def test_gradients_beside_l1_and_mse(photo: tuple[Tensor, Tensor]) -> None:
    sr, hr = photo
    found = examine.gradients(sr, hr, SPEC)
    gradient = truth(sr, hr, SPEC).gradient
    mse = 2 * (sr - hr).double().norm() / sr.numel()
    l1 = (sr - hr).sign().double() / sr.numel()
    assert found["dec_over_mse"] == pytest.approx((gradient.norm() / mse).item(), rel=1e-5)
    assert found["dec_over_l1"] == pytest.approx((gradient.norm() / l1.norm()).item(), rel=1e-5)
    dec_patches, l1_patches = (reference.patch_rows(g, 4).flatten(0, 1).norm(dim=1) for g in (gradient, l1))
    ratios = (dec_patches / l1_patches)[l1_patches > 0]
    assert found["dec_over_l1_median"] == pytest.approx(ratios.median().item(), rel=1e-5)
    assert found["strongest"] == pytest.approx((dec_patches.max() / gradient.norm()).square().item(), rel=1e-5)
    floored = truth(sr, hr, replace(SPEC, norm_floor=0.1)).gradient
    patches = reference.patch_rows(floored, 4).flatten(0, 1).norm(dim=1)
    assert found["strongest_with_floor"] == pytest.approx((patches.max() / floored.norm()).square().item(), rel=1e-5)


def test_identical_images_have_no_ratio_and_no_weight(photo: tuple[Tensor, Tensor]) -> None:
    found = examine.gradients(photo[1], photo[1], SPEC)
    assert (found["l1"], found["dec_over_l1"], found["dec_over_l1_median"]) == (0, None, None)
    assert examine.weight(found, 0.5, 1e-2)["weight"] is None


def test_the_sweep_is_the_loss_at_each_threshold(photo: tuple[Tensor, Tensor]) -> None:
    sr, hr = photo
    _, counts = positives.examine(hr, SPEC, examine.THRESHOLDS, 0)
    found = examine.sweep(sr, hr, SPEC, counts)
    assert set(found["curves"]) == {"l2", "rmse"}
    for distance, curve in found["curves"].items():
        for index in (0, 5):
            threshold = found["thresholds"][index]
            at, _ = positives.examine(hr, Spec(patch_size=4, threshold=threshold, distance=distance), (), 0)
            result = truth(sr, hr, Spec(patch_size=4, threshold=threshold, distance=distance))
            ratio = result.gradient.norm() / ((sr != hr).sum() ** 0.5 / sr.numel())
            assert curve["alone"][index] == at["alone"][distance]
            assert curve["positives"][index] == at["mean"]
            assert curve["loss"][index] == pytest.approx(result.loss.item(), rel=1e-5)
            assert curve["gradient_ratio"][index] == pytest.approx(ratio.item(), rel=1e-5)
    assert found["curves"]["rmse"]["positives"] == sorted(found["curves"]["rmse"]["positives"], reverse=True)
