"""The exact mask: sums of blank SR rows count the positives of each row."""

import pytest
import torch

from benchmarks import workload
from dec_kernels.backends import triton
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.backends.triton.cases import prepared
from tests.conftest import on_the_interpreter

pytestmark = on_the_interpreter


def test_many_undecided_pairs_of_a_strip_are_decided_as_in_float64(small_tiles: None) -> None:
    """Two clusters that lie the radius apart, within 1e-8 of it: float32 decides none of their pairs."""
    generator = torch.Generator().manual_seed(5)
    base = torch.rand(4, 4, generator=generator) / 2
    step, radius = torch.zeros(4, 4), 10 ** (-20 / 20)
    step[1, 2], step[3, 0] = 0.5, -0.5  # leaves the mean where it is
    scale = (
        radius / step.norm() * (1 + torch.tensor([0, 1e-8, -1e-8, 3e-8, -3e-8, 6e-8, -6e-8, 1e-7], dtype=torch.float64))
    )
    patches_ = torch.cat([base.expand(8, 4, 4), (base + step * scale[:, None, None]).float()])
    hr = patches_.transpose(0, 1).reshape(1, 1, 4, 64)
    constants = Spec(patch_size=4, threshold=20.0).constants(16, "ieee")
    rows, _ = prepared(torch.zeros_like(hr), hr, 4, constants)
    p = rows.p[0].double()
    distances = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist")
    assert (((distances - constants.radius).abs() < 1e-6 * constants.radius).sum(1) >= 8).all()
    mask = distances <= constants.radius
    assert 0 < mask[distances > 0.01].sum() < 128
    qpos, qneg = triton.BACKEND.forward(rows, constants)[:, rows.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))
    assert torch.equal((qneg.double() * constants.t_neg / 3).round().long(), (~mask).sum(1))


@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_the_mask_of_photographs_is_the_float64_mask(distance: str) -> None:
    _, hr = workload.images(512, 8)
    constants = Spec(distance=distance).constants(192, "tf32x3")  # float32 in the interpreter
    rows = triton.BACKEND.prepare(Batch.alone(torch.zeros_like(hr), hr), 8, False, constants, torch.float32)
    p = rows.p[0].double()
    mask = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist") <= constants.radius
    qpos = triton.BACKEND.forward(rows, constants)[0, rows.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))


@pytest.mark.parametrize("scale", [1.0, 255.0, 1e-3])
@pytest.mark.parametrize("eta", [20.0, 33.0, 60.0])
def test_the_mask_is_the_float64_mask(scale: float, eta: float) -> None:
    """The sums of blank SR rows count the positives; dozens of pairs lie on the radius or within 1e-8 to 3e-5 of it."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(1, 1, 32, 32, generator=generator)
    base[..., :8, :] = 0.7 + 0.0001 * torch.rand(8, 32, generator=generator)
    radius = 10 ** (-eta / 20)
    step = torch.zeros(1, 1, 32, 32)
    step[..., ::4, ::4] = radius  # one pixel of each patch moves by the radius, give or take
    nudge = torch.tensor([-1e-6, -1e-8, 0, 1e-8, 1e-6, 3e-5, -3e-5])[torch.randint(7, (8, 8), generator=generator)]
    moved = base + step * (1 + nudge.repeat_interleave(4, 0).repeat_interleave(4, 1))
    hr = scale * torch.cat([base, moved])
    constants = Spec(patch_size=4, threshold=eta, max_val=scale).constants(16, "ieee")
    ours = triton.BACKEND.prepare(Batch.alone(torch.zeros_like(hr), hr), 4, False, constants, torch.float32)
    p = ours.p[0].double()
    distances = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist")
    assert ((distances - constants.radius).abs() < 1e-5 * constants.radius).sum() > 20
    mask = distances <= constants.radius
    qpos, qneg = triton.BACKEND.forward(ours, constants)[:, ours.order[0]]
    assert torch.equal((qpos.double() * constants.t_pos / 3).round().long(), mask.sum(1))
    assert torch.equal((qneg.double() * constants.t_neg / 3).round().long(), (~mask).sum(1))
