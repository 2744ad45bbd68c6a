"""Images as in a training step: crops of photographs, and as SR their x4 bicubic reconstructions."""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

CROP = 128  # pixels
SCALE = 4
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def images(
    n: int, patch_size: int, *, seed: int = 0, device: str = "cpu", photographs: Sequence[str] = PHOTOGRAPHS
) -> tuple[Tensor, Tensor]:
    """SR and HR crops with exactly `n` patches.

    All crops have the same size: the largest up to 128 x 128 pixels whose number of patches divides n.

    Args:
        n: number of patches.
        patch_size: P, in pixels.
        seed: of the positions of the crops.
        device: of the crops.
        photographs: of scikit-image, from which crops are taken in turn.

    Returns:
        sr, hr: (B, 3, side, side) float32 in [0, 1], contiguous; neither requires a gradient.
    """
    patches_per_side = next(k for k in range(CROP // patch_size, 0, -1) if n % k**2 == 0)
    side = patches_per_side * patch_size
    generator = torch.Generator().manual_seed(seed)
    crops = []
    for index in range(n // patches_per_side**2):
        pair = _photograph(photographs[index % len(photographs)])
        top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in pair.shape[2:])
        crops.append(pair[:, :, top : top + side, left : left + side])
    sr, hr = torch.stack(crops, dim=1).to(device)
    return sr, hr


def to_8_bits(images: Tensor) -> Tensor:
    """Values in [0, 1] as an image file holds them, of the same shape.

    A black patch is then zero. Interpolation leaves some at 1e-11, and since the gradient has the factor 1 / |q|, a few
    such patches would be nearly all of its norm: errors relative to it would say nothing of the others.
    """
    return images.mul(255).round().div(255)


@functools.cache
def _photograph(name: str) -> Tensor:
    """The reconstruction and the original of a photograph of scikit-image, (2, 3, H, W) in [0, 1]."""
    hr = torch.from_numpy(getattr(data, name)()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    lr = F.interpolate(hr, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    sr = F.interpolate(lr, size=hr.shape[2:], mode="bicubic").clamp(0, 1)
    return torch.cat([sr, hr])
