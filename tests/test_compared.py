"""What is compared of patches: a floor under their norms, and patches without the means of their channels."""

import math

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss, reference
from dec_kernels.spec import Spec
from tests.oracle import images

SWITCHES = [{"norm_floor": 0.3}, {"center": True}, {"norm_floor": 0.1, "center": True}]
SHAPE = (2, 3, 25, 33, 4)
OTHERS = {"patch_size": 4, "threshold": 20.0, "distance": "rmse", "reduction": "sum"}


def pair(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Patches whose norms lie on both sides of the floors, with and without means; some are flat, some black."""
    sr, hr = images(*SHAPE, dtype)
    contrast = torch.linspace(0.0, 1.0, SHAPE[3], dtype=dtype)
    sr, hr = sr * contrast, hr * contrast
    sr[0, :, :4], hr[0, :, 4:8] = 0.5, 0.25
    return sr, hr


def step(sr: Tensor, hr: Tensor, **arguments: object) -> tuple[Tensor, Tensor]:
    leaf = sr.clone().requires_grad_()
    loss = DECLoss(**OTHERS | arguments)(leaf, hr)
    return loss.detach().double(), torch.autograd.grad(loss, leaf)[0].double()


def truth(sr: Tensor, hr: Tensor, **arguments: object) -> tuple[Tensor, Tensor]:
    leaf = sr.double().requires_grad_()
    loss = reference.dec_loss(leaf, hr.double(), Spec(**OTHERS | arguments)).sum()
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def written_out(sr: Tensor, hr: Tensor, norm_floor: float = 0.0, center: bool = False) -> Tensor:
    """The loss by PyTorch's own cosine_similarity, whose eps is the floor, for the arguments `OTHERS`."""
    q, p = (torch.nn.functional.unfold(x, 4, stride=4).mT.flatten(0, 1) for x in (sr, hr))
    m = torch.cdist(p, p, compute_mode="donot_use_mm_for_euclid_dist") <= 0.1 * math.sqrt(48)
    if center:
        q, p = ((x.view(-1, 3, 16) - x.view(-1, 3, 16).mean(2, keepdim=True)).flatten(1) for x in (q, p))
    eps = norm_floor * math.sqrt(48)
    z, h = (x / x.norm(dim=1, keepdim=True).clamp(min=max(eps, 1e-300)) for x in (q, p))
    terms = (z @ z.T).exp() + 2 * (h @ z.T).exp()
    return (torch.where(m, 0, terms).sum(1) / 1.5 / (torch.where(m, terms, 0).sum(1) / 0.5)).log().sum()


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_reference_is_the_formula_written_out(switches: dict) -> None:
    sr, hr = pair()
    loss, gradient = truth(sr, hr, **switches)
    leaf = (sr + 1e-9 * (sr == 0.5)).requires_grad_()  # norms of zero have no gradient there
    expected = written_out(leaf, hr, **switches)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-7, atol=0)
    if switches.get("norm_floor"):
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, leaf)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("scope", ["batch", "image"])
def test_float64_is_the_reference(switches: dict, scope: str, float64_backend: str) -> None:
    sr, hr = pair()
    found = step(sr, hr, scope=scope, backend=float64_backend, **switches)
    for ours, true in zip(found, truth(sr, hr, scope=scope, **switches), strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-10 * true.abs().max().item())


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("temperature", ["outside", "inside"])
def test_float32_is_near_the_reference(switches: dict, temperature: str, tiled: str) -> None:
    sr, hr = pair(torch.float32)
    found = step(sr, hr, temperature=temperature, backend=tiled, precision="ieee", **switches)
    for ours, true in zip(found, truth(sr, hr, temperature=temperature, **switches), strict=True):
        torch.testing.assert_close(ours, true, rtol=2e-5, atol=2e-5 * true.abs().max().item())


@pytest.mark.parametrize("switches", SWITCHES)
def test_landmarks_as_many_as_rows_are_exact(switches: dict, tiled: str) -> None:
    sr, hr = pair(torch.float32)
    ours = step(sr, hr, backend=tiled, precision="ieee", landmarks=150, **switches)
    for found, true in zip(ours, truth(sr, hr, **switches), strict=True):
        torch.testing.assert_close(found, true, rtol=1e-3, atol=1e-3 * true.abs().max().item())


def test_a_constant_on_a_channel_changes_nothing_that_is_centred(tiled: str) -> None:
    sr, hr = pair(torch.float32)
    _, gradient = step(sr, hr, backend=tiled, precision="ieee", center=True, norm_floor=0.01)
    of_channels = torch.nn.functional.avg_pool2d(gradient, 4)
    assert of_channels.abs().max() < 1e-6 * gradient.abs().max()
    shifted = step(sr + torch.tensor([0.5, -0.25, 0.125])[:, None, None], hr, backend=tiled, precision="ieee",
                   center=True, norm_floor=0.01)  # fmt: skip
    torch.testing.assert_close(shifted[1], gradient, rtol=0, atol=1e-4 * gradient.abs().max().item())


def test_the_mask_is_that_of_the_patches_themselves(tiled: str) -> None:
    hr = torch.rand(1, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    hr[..., 4:] = hr[..., :4] + 0.5
    sr = torch.rand(hr.shape, generator=torch.Generator().manual_seed(1))
    losses = DECLoss(**OTHERS | {"reduction": "none"}, backend=tiled, center=True)(sr, hr)
    assert (losses != 0).all()  # neither is a positive of the other, though without means they are the same


def test_the_floor_bounds_the_gradient_of_dark_patches(tiled: str) -> None:
    sr, hr = pair(torch.float32)
    sr[1, :, :8] *= 1e-4
    _, wild = step(sr, hr, backend=tiled, precision="ieee")
    _, tame = step(sr, hr, backend=tiled, precision="ieee", norm_floor=0.05)
    assert wild[1, :, :8].norm() > 100 * tame[1, :, :8].norm()
    assert wild.norm() > 100 * tame.norm()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"norm_floor": -0.1}, ValueError, r"norm_floor.*-0.1"),
        ({"norm_floor": math.inf}, ValueError, r"norm_floor.*inf"),
        ({"norm_floor": 1e-30}, ValueError, r"norm_floor.*1e-30"),
        ({"norm_floor": 1e19, "max_val": 255.0}, ValueError, r"norm_floor \* max_val.*1e\+19.*255"),
        ({"norm_floor": "0.1"}, TypeError, r"norm_floor.*'0.1'"),
        ({"center": 1}, TypeError, "center.*1"),
        ({"center": True, "patch_size": 1}, ValueError, "patch_size.*2.*center"),
    ],
)
def test_bad_arguments(arguments: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        DECLoss(**arguments)
