import math

import pytest
import torch

from dec_kernels import reference
from dec_kernels.spec import Spec
from tests.oracle import images, threshold


def by_hand(sr: torch.Tensor, hr: torch.Tensor, spec: Spec) -> list[float]:
    """Eqs. 37-42 with Python's numbers and loops, the PSNR as printed."""
    size = spec.patch_size
    groups = []
    for b in range(sr.shape[0]):
        corners = [(y, x) for y in range(0, sr.shape[2], size) for x in range(0, sr.shape[3], size)]
        groups.append(
            [[im[b, :, y : y + size, x : x + size].flatten().tolist() for y, x in corners] for im in (sr, hr)]
        )
    if spec.scope == "batch":
        groups = [[[row for group in groups for row in group[which]] for which in (0, 1)]]

    def unit(v: list[float]) -> list[float]:
        norm = math.sqrt(sum(x * x for x in v))
        return [x / norm for x in v]

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    def psnr(a: list[float], b: list[float]) -> float:
        squares = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        distance = math.sqrt(squares / len(a) if spec.distance == "rmse" else squares)
        return math.inf if distance == 0 else -20 * math.log10(distance / spec.max_val)

    losses = []
    for q, p in groups:
        z, h = [unit(v) for v in q], [unit(v) for v in p]
        for i in range(len(q)):
            sums = {True: 0.0, False: 0.0}
            for j in range(len(q)):
                positive = psnr(p[i], p[j]) >= spec.threshold
                t = spec.t_pos if positive else spec.t_neg
                inner, outer = (t, 1) if spec.temperature == "inside" else (1, t)
                e = math.exp(dot(z[i], z[j]) / inner) + 2 * math.exp(dot(h[i], z[j]) / inner)
                sums[positive] += e / outer
            losses.append(-math.log(sums[True] / sums[False]))
    return losses


@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_the_dense_reference_equals_the_printed_equations(distance: str, temperature: str, scope: str) -> None:
    sr, hr = images(2, 3, 12, 20, 4, torch.float64)
    eta = threshold(distance, 3, 4)
    spec = Spec(patch_size=4, threshold=eta, max_val=1.0, distance=distance, temperature=temperature, scope=scope)
    assert reference.dec_loss(sr, hr, spec).tolist() == pytest.approx(by_hand(sr, hr, spec), rel=1e-12)


def test_max_val_scales_the_images_away() -> None:
    sr, hr = images(2, 3, 12, 20, 4, torch.float64)
    eta = threshold("l2", 3, 4)
    small = reference.dec_loss(sr, hr, Spec(patch_size=4, threshold=eta))
    large = reference.dec_loss(255 * sr, 255 * hr, Spec(patch_size=4, threshold=eta, max_val=255))
    torch.testing.assert_close(small, large, rtol=1e-12, atol=0)
