"""Images, rows and tiles that several tests of the Triton backend take."""

import torch
from torch import Tensor

from dec_kernels import patches
from dec_kernels.backends import triton
from dec_kernels.backends.triton.layout import PreparedRows
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch, Patches
from dec_kernels.spec import Constants

# Small tiles, of which those of the band and the others know nothing of each other.
SMALL = [
    Tiles(Tile(32, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 32, 4, 1), Tile(16, 16, 4, 1)),
    Tiles(Tile(16, 16, 4, 1), Tile(32, 64, 4, 1), Tile(32, 32, 4, 1), Tile(64, 32, 4, 1)),
]


def gradient_ramp(rows: int, columns: int, patch_size: int) -> tuple[Tensor, Tensor]:
    """Patches of steadily rising mean, some of them close to each other: a narrow band, and tiles on both sides."""
    generator = torch.Generator().manual_seed(3)
    mean = torch.linspace(0.1, 0.9, rows * columns)[torch.randperm(rows * columns, generator=generator)]
    patterns = 0.05 * torch.rand(3, patch_size, patch_size, generator=generator)[torch.randint(3, (rows * columns,))]
    tiles_ = mean[:, None, None] + patterns
    hr = tiles_.view(rows, columns, patch_size, patch_size).transpose(1, 2)
    hr = hr.reshape(1, 1, rows * patch_size, columns * patch_size)
    return (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1), hr


def prepared(
    sr: Tensor, hr: Tensor, patch_size: int, constants: Constants, per_image: bool = False
) -> tuple[PreparedRows, Patches]:
    """Rows of one process by the backend, and by `dec_kernels.patches` in float64."""
    ours = triton.BACKEND.prepare(Batch.alone(sr, hr), patch_size, per_image, constants, torch.float32)
    return ours, patches.prepare(Batch.alone(sr.double(), hr.double()), patch_size, per_image, constants, torch.float64)
