"""Images -> unit rows, sorted by the mean of their HR patch, with the band of possible positives; and the way back.

Why sorted: by Cauchy-Schwarz ``|p_i - p_j| >= sqrt(D) * |mean_i - mean_j|``. Once the rows are in the order of their
means, the positives of a row lie in one contiguous range of columns, its band. Everywhere else the mask is known to be
zero without looking. The loss does not care about the order of the patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.spec import Constants

# Values that are made or reduced at a time, so that the temporaries stay small beside the rows themselves.
_BLOCK = 2**19


@dataclass(frozen=True)
class Patches:
    """Rows of a batch, in G groups of m rows (G = 1, or one group an image); no row sees another group.

    The HR rows stay as they are, since the mask needs them exactly: h = p * p_scale.

    Attributes:
        z: unit SR rows, (G, m, D) float32 or float64; a row of norm zero stays zero.
        p: HR rows, (G, m, D), same dtype.
        z_scale: 1 / |q|, (G, m); 0 for a row of norm zero.
        p_scale: 1 / |p|, (G, m); 0 for a row of norm zero.
        first, last: the band, (G, m) int64: positives of row i have first[i] <= j < last[i].
        order: (G, m) int64: row i is patch order[i] of its group, counted in image order.
    """

    z: Tensor
    p: Tensor
    z_scale: Tensor
    p_scale: Tensor
    first: Tensor
    last: Tensor
    order: Tensor

    def sort(self, values: Tensor) -> Tensor:
        """(n,) values in image order -> (G, m) in the order of the rows."""
        return values.view(self.order.shape).gather(1, self.order)

    def unsort(self, values: Tensor) -> Tensor:
        """(G, m) values in the order of the rows -> (n,) in image order."""
        return torch.empty_like(values).scatter_(1, self.order, values).flatten()

    def project_(self, dz: Tensor) -> Tensor:
        """dL/dz (G, m, D), overwritten with dL/dq = (g - (g . z) z) / |q|, g = dL/dz."""
        blocks = zip(
            _blocks(dz), _blocks(self.z), self.z_scale.view(-1, 1).split(_block_rows(dz.shape[-1])), strict=True
        )
        for g, z, scale in blocks:
            g.addcmul_(z, (g * z).sum(-1, keepdim=True), value=-1).mul_(scale)
        return dz


def prepare(
    sr: Tensor, hr: Tensor, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
) -> Patches:
    """Rows of SR and HR images, (B, C, H, W) each, of any strides and float dtype; computed in `dtype`."""
    sr_tiles, hr_tiles = _tiles(sr, patch_size), _tiles(hr, patch_size)
    groups = sr.shape[0] if per_image else 1

    means = F.avg_pool2d(hr.to(dtype), patch_size).mean(1)
    means, order = means.reshape(groups, -1).sort(dim=1, stable=True)
    p, z = _gather(hr_tiles, order, dtype), _gather(sr_tiles, order, dtype)
    first, last = _band(means, p, constants.radius)
    p_scale = _inverse(torch.cat([_norm(block) for block in _blocks(p)])).view_as(means)
    z_norm = torch.cat([_norm(block) for block in _blocks(z)]).view_as(means)
    z /= torch.where(z_norm == 0, 1, z_norm)[..., None]
    return Patches(z, p, _inverse(z_norm), p_scale, first, last, order)


def to_images(rows: Tensor, order: Tensor, like: Tensor, patch_size: int) -> Tensor:
    """Rows (G, m, D) in the order of `Patches.order` -> images of the shape, dtype and memory format of `like`.

    Pixels that no patch covers are zero.
    """
    images = torch.zeros_like(like)
    tiles = _tiles(images, patch_size)
    for block, where in zip(_blocks(rows), _locations(order, tiles), strict=True):
        tiles[where] = block.to(like.dtype).view(-1, *tiles.shape[3:])
    return images


def _tiles(images: Tensor, patch_size: int) -> Tensor:
    """A view of the patches: (B, C, H, W) -> (B, H // P, W // P, C, P, P)."""
    return images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size).permute(0, 2, 3, 1, 4, 5)


def _gather(tiles: Tensor, order: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of `_tiles` in that order, (G, m, D) contiguous."""
    rows = tiles.new_empty((*order.shape, math.prod(tiles.shape[3:])), dtype=dtype)
    for block, where in zip(_blocks(rows), _locations(order, tiles), strict=True):
        block.copy_(tiles[where].reshape(block.shape))
    return rows


def _locations(order: Tensor, tiles: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each block of rows, where they lie in `_tiles`: indices of image, patch row and patch column."""
    _, height, width = tiles.shape[:3]
    group = torch.arange(order.shape[0], device=order.device)[:, None] * order.shape[1]
    for patch in (order + group).flatten().split(_block_rows(math.prod(tiles.shape[3:]))):
        yield patch // (height * width), patch // width % height, patch % width


def _band(means: Tensor, p: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    dim = p.shape[-1]
    # A mean of D values is off by at most D * eps * max|p|; both ends of a difference are.
    margin = 2 * dim * torch.finfo(means.dtype).eps * torch.linalg.vector_norm(p, math.inf)
    width = radius / math.sqrt(dim) * (1 + 1e-5) + margin
    # NaN or infinity somewhere: every column is in the band, so that the other rows keep their mask.
    width = width.nan_to_num(nan=math.inf)
    first = torch.searchsorted(means, means - width)
    last = torch.searchsorted(means, means + width, right=True)
    return first, last


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """(G, m, D) -> blocks of whole rows, (b, D) each."""
    return rows.flatten(0, 1).split(_block_rows(rows.shape[-1]))


def _block_rows(dim: int) -> int:
    return max(1, _BLOCK // dim)


def _norm(rows: Tensor) -> Tensor:
    """(n, D) -> (n,). Summed in float64, where the square of any float32 has room."""
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).to(rows.dtype)


def _inverse(norm: Tensor) -> Tensor:
    """1 / norm, and 0 for a norm of zero, or of so little that its inverse is infinite."""
    inverse = 1 / norm
    return torch.where(inverse.isinf(), 0, inverse)
