"""Images -> unit rows, sorted by the mean of their HR patch, with the band of possible positives; and the way back.

Why sorted: by Cauchy-Schwarz ``|p_i - p_j| >= sqrt(D) * |mean_i - mean_j|``. Once the rows are in the order of their
means, the positives of a row lie in one contiguous range of columns, its band. Everywhere else the mask is known to be
zero without looking. The loss does not care about the order of the patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.spec import Constants

# Rows are normalised a block at a time, so that the temporaries stay small beside the rows themselves.
_BLOCK = 4096


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

    def gradient(self, dz: Tensor, sr: Tensor, patch_size: int) -> Tensor:
        """dL/dz (G, m, D), overwritten -> dL/dsr in the shape, dtype and memory format of `sr`.

        dL/dq = (g - (g . z) z) / |q| with g = dL/dz; pixels that no patch covers get zero.
        """
        rows = zip(_blocks(dz), _blocks(self.z), _blocks(self.z_scale[..., None]), strict=True)
        for g, z, scale in rows:
            g.addcmul_(z, (g * z).sum(-1, keepdim=True), value=-1).mul_(scale)
        grad = torch.zeros_like(sr)
        tiles = _tiles(grad, patch_size)
        tiles[_location(self.order, tiles)] = dz.view(-1, *tiles.shape[3:]).to(sr.dtype)
        return grad


def prepare(
    sr: Tensor, hr: Tensor, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
) -> Patches:
    """Rows of SR and HR images, (B, C, H, W) each, of any strides and float dtype; computed in `dtype`."""
    sr_tiles, hr_tiles = _tiles(sr, patch_size), _tiles(hr, patch_size)
    groups = sr.shape[0] if per_image else 1

    hr_exact = hr.to(dtype)
    means = F.avg_pool2d(hr_exact, patch_size).mean(1)
    means, order = means.reshape(groups, -1).sort(dim=1, stable=True)
    first, last = _band(means, hr_exact, constants.radius, dim=math.prod(hr_tiles.shape[3:]))

    where = _location(order, hr_tiles)
    p = hr_tiles[where].to(dtype).reshape(*order.shape, -1)
    z = sr_tiles[where].to(dtype).reshape(*order.shape, -1)
    p_scale = torch.cat([1 / _norm(block)[1] for block in _blocks(p)]).view_as(means)
    z_scale = torch.cat([1 / _normalise(block) for block in _blocks(z)]).view_as(means)
    return Patches(z, p, _zero_infinite(z_scale), _zero_infinite(p_scale), first, last, order)


def _tiles(images: Tensor, patch_size: int) -> Tensor:
    """A view of the patches: (B, C, H, W) -> (B, H // P, W // P, C, P, P)."""
    return images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size).permute(0, 2, 3, 1, 4, 5)


def _location(order: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the rows lie in `_tiles`: indices of image, patch row and patch column, (n,) each."""
    images, height, width = tiles.shape[:3]
    group = torch.arange(order.shape[0], device=order.device)[:, None] * order.shape[1]
    patch = (order + group).flatten()
    return patch // (height * width), patch // width % height, patch % width


def _band(means: Tensor, hr: Tensor, radius: float, dim: int) -> tuple[Tensor, Tensor]:
    # A mean of D values is off by at most D * eps * max|p|; both ends of a difference are.
    margin = 2 * dim * torch.finfo(means.dtype).eps * torch.linalg.vector_norm(hr, math.inf)
    width = radius / math.sqrt(dim) * (1 + 1e-5) + margin
    # NaN or infinity somewhere: every column is in the band, so that the other rows keep their mask.
    width = width.nan_to_num(nan=math.inf)
    first = torch.searchsorted(means, means - width)
    last = torch.searchsorted(means, means + width, right=True)
    return first, last


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.flatten(0, 1).split(_BLOCK)


def _norm(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(n, D) -> the largest magnitude and the norm, (n,) each, with no overflow or underflow in the squares."""
    largest = torch.linalg.vector_norm(rows, math.inf, dim=1)
    safe = torch.where(largest == 0, 1, largest)
    return safe, largest * torch.linalg.vector_norm(rows / safe[:, None], dim=1)


def _normalise(rows: Tensor) -> Tensor:
    """Makes rows (n, D) unit rows, in place, and returns the norms they had, (n,)."""
    largest, norm = _norm(rows)
    # In two steps: the norm may overflow or vanish where the unit row exists.
    rows.div_(largest[:, None])
    unit = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows.div_(torch.where(unit == 0, 1, unit))
    return norm


def _zero_infinite(scale: Tensor) -> Tensor:
    return torch.where(scale.isinf(), 0, scale)
