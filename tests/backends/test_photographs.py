"""8192 patches of 32 crops of scikit-image's photographs: where the naive float32 mask breaks."""

import functools
import math

import pytest
import torch
from torch import Tensor

from benchmarks import competitors, workload
from dec_kernels import dec_loss, patches, reference
from dec_kernels.backends import BACKENDS
from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.oracle import evaluate

N, PATCH_SIZE, DIM = 8192, 8, 192


@functools.cache
def photographs() -> tuple[Tensor, Tensor]:
    return workload.images(N, PATCH_SIZE)


@functools.cache
def blank_rows() -> patches.Patches:
    """The HR rows, and SR rows of zeros: every similarity is 0, and what is left of the loss is the mask."""
    _, hr = photographs()
    batch = Batch.alone(torch.zeros_like(hr), hr)
    return patches.prepare(batch, PATCH_SIZE, False, Spec().constants(DIM, "ieee"), torch.float32)


@functools.cache
def distances() -> Tensor:
    """Between the HR rows in their sorted order, (n, n) float64, from differences."""
    p = blank_rows().p[0].double()
    return torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize(
    ("compiled", "eta"),
    [*(("cpp", eta) for eta in range(30, 41, 2)), *(("torch", eta) for eta in (30, 34, 40))],
)
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_the_mask_is_the_float64_mask(compiled: str, distance: str, eta: int) -> None:
    constants = Spec(threshold=eta, distance=distance).constants(DIM, "ieee")
    unit = math.sqrt(DIM) if distance == "rmse" else 1.0
    # Eq. 37 as printed; log10(0) of a patch to itself is -inf, its PSNR inf.
    mask = -20 * torch.log10(distances() / unit / 1.0) >= eta
    _, hr = photographs()
    rows = patches.prepare(Batch.alone(torch.zeros_like(hr), hr), PATCH_SIZE, False, constants, torch.float32)
    backend = BACKENDS[compiled]

    # e_ij = exp 0 + 2 exp 0: the sums count the positives of each row, exactly.
    qpos, _ = backend.sums(rows, constants)
    assert torch.equal((qpos[0].double() * constants.t_pos / 3).round().long(), mask.sum(1))
    if eta in (30, 34, 40):
        _fingerprint(backend, rows, mask, constants)


def test_a_pair_of_positives_alone_in_a_tile(compiled: str) -> None:
    """They differ in their means, by nine tenths of the radius: what leaves out pairs by their sketches sees just them.

    All others have patterns of their own and are far from each other. The two lie on both sides of a tile's end.
    """
    n, patch_size, dim = 512, 2, 12
    constants = Spec(patch_size=patch_size).constants(dim, "ieee")
    step = 0.9 * constants.radius / math.sqrt(dim)
    patterns = torch.rand(n, dim, generator=torch.Generator().manual_seed(0)) - 0.5
    patterns -= patterns.mean(1, keepdim=True)
    patterns[n // 2] = patterns[n // 2 - 1]
    p = 1 + patterns + step * torch.arange(n)[:, None]
    hr = p.view(n, 3, patch_size, patch_size)
    rows = patches.prepare(Batch.alone(torch.zeros_like(hr), hr), patch_size, False, constants, torch.float32)
    qpos, _ = BACKENDS[compiled].sums(rows, constants)
    positives = (qpos[0] * constants.t_pos / 3).round().long()
    assert positives.nonzero()[:, 0].shape == (n,)
    assert (positives > 1).nonzero()[:, 0].tolist() == [n // 2 - 1, n // 2]


def _fingerprint(backend: OnPatches, rows: patches.Patches, mask: Tensor, constants: object) -> None:
    """With beta = 0, dz_k is 2 sum_j m_jk alpha_j h_j: a wrong m_jk changes it by the length of alpha_j."""
    alpha = 1 + torch.rand(1, N, generator=torch.Generator().manual_seed(0))
    dz = backend.gradients(rows, constants, alpha * constants.t_pos, torch.zeros_like(alpha))
    h = rows.p[0].double() * rows.h_scale[0, :, None].double()
    expected = torch.stack([2 * (alpha[0, m].double() @ h[m]) for m in mask])
    assert (dz[0].double() - expected).norm(dim=1).max() < 1e-2


def test_the_loss_is_finite_where_eager_pytorch_gives_inf(compiled: str) -> None:
    sr, hr = photographs()
    naive = competitors.eager(sr, hr, PATCH_SIZE)
    assert naive.isinf()

    # The truth a block of rows at a time: Eqs. 38-42 in float64 with the float64 mask.
    q = reference.patch_rows(sr, PATCH_SIZE).flatten(0, 1).double()[blank_rows().order[0]]
    z = torch.nn.functional.normalize(q)
    h = blank_rows().p[0].double() * (1 / blank_rows().p[0].double().norm(dim=1, keepdim=True)).nan_to_num(posinf=0)
    total = 0.0
    for rows in torch.arange(N).split(1024):
        e = (z[rows] @ z.T).exp() + 2 * (h[rows] @ z.T).exp()
        positive = distances()[rows] <= 10 ** (-34 / 20)
        qpos, qneg = (e * positive).sum(1) / 0.5, (e * ~positive).sum(1) / 1.5
        total -= (qpos / qneg).log().sum().item()

    ours = evaluate(sr, hr, backend=compiled)
    assert ours.loss.item() == pytest.approx(total / N, rel=1e-6)
    assert ours.gradient.isfinite().all()


def test_most_tiles_need_no_mask() -> None:
    sr, hr = photographs()
    rows = patches.prepare(Batch.alone(sr, hr), PATCH_SIZE, False, Spec().constants(DIM, "ieee"), torch.float32)
    tiles = [
        (j < rows.last[0, i : i + 64].max()) and (j + 64 > rows.first[0, i : i + 64].min())
        for i in range(0, N, 64)
        for j in range(0, N, 64)
    ]
    assert sum(tiles) / len(tiles) < 0.06


def test_scope_image_on_photographs(compiled: str) -> None:
    sr, hr = photographs()
    arguments = {"scope": "image", "distance": "rmse"}
    ours = dec_loss(sr, hr, backend=compiled, **arguments)
    true = dec_loss(sr, hr, backend="reference", **arguments)
    assert ours.item() == pytest.approx(true.item(), rel=1e-6)
