"""Images -> unit rows, sorted by the mean of their HR patch, with the band of possible positives; and the way back.

Why sorted: by Cauchy-Schwarz `|p_i - p_j| >= sqrt(D) * |mean_i - mean_j|`. Once the rows are in the order of their
means, the positives of a row lie in one contiguous range of columns, its band. Everywhere else the mask is known to be
zero without looking. The loss does not care about the order of the patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.landmarks import Features
from dec_kernels.spec import Constants

# Values that are made or reduced at a time, so that the temporaries stay small beside the rows themselves.
_BLOCK = 2**19

# Sums over the values of an HR patch, and products of it with a unit vector, then have room in float32, and so has the
# inverse of its norm. In float64, where norms are taken, the squares of the values must have room.
MAX_PIXEL = {torch.float32: 1e34, torch.float64: 1e150}
MAX_NORM = {torch.float32: 1e36, torch.float64: 1e154}


class Batch(NamedTuple):
    """Images whose patches are the rows of the problem, and those whose patches are its columns.

    Attributes:
        own: SR images of the rows, (B, C, H, W): this process's.
        sr, hr: images of the columns, (N, C, H, W) each: every process's, one after the other.
        start: own is sr[start : start + B].
    """

    own: Tensor
    sr: Tensor
    hr: Tensor
    start: int

    @classmethod
    def alone(cls, sr: Tensor, hr: Tensor) -> Batch:
        """Of one process: all columns are rows."""
        return cls(sr, sr, hr, 0)

    def groups(self, per_image: bool) -> int:
        """How many problems that know nothing of each other: one, or one an image."""
        return self.sr.shape[0] if per_image else 1


@dataclass(frozen=True)
class Patches:
    """Columns of a batch, in G groups of m (G = 1, or one group an image), and which r of them are rows as well.

    No row sees another group. All columns are rows unless other processes have columns here; then G = 1. What is
    compared is x(q) and x(p): the patches themselves, or with `Constants.center` without the mean of each channel. They
    are divided by their norm, or by `Constants.floor` where that is larger. HR columns stay undivided, since the mask
    needs them exactly: h = x * h_scale.

    Attributes:
        z: SR columns, x(q) over its norm, (G, m, D) float32 or float64; one of norm zero stays zero.
        p: HR columns, (G, m, D), same dtype.
        x: x(p), same shape and dtype; p itself unless it is centred.
        h_scale: 1 / |x(p)|, (G, m); 0 for a norm of zero.
        column_order: (G, m) int64: column j is patch column_order[j] of its group, counted in image order.
        column_of_row: (r,) int64, ascending: row i is column column_of_row[i].
        z_scale: 1 / |x(q)| of the rows, (G, r); 0 for a norm of zero.
        first, last: the band, (G, r) int64: positives of row i are columns first[i] <= j < last[i].
        order: (G, r) int64: row i is patch order[i] of its group, counted in the order of this process's images.
        sketch: four numbers of each HR column, (G, m, 4), same dtype: no two patches are nearer than their sketches.
        reach: (), same dtype: positives are no farther than this from each other in their sketches.
        features: of the columns, where landmarks stand for all rows; None where every pair is computed.
    """

    z: Tensor
    p: Tensor
    x: Tensor
    h_scale: Tensor
    column_order: Tensor
    column_of_row: Tensor
    z_scale: Tensor
    first: Tensor
    last: Tensor
    order: Tensor
    sketch: Tensor
    reach: Tensor
    features: Features | None = None

    @property
    def kept(self) -> Tensor:
        """What the features take, uint8. The rest is prepared again in the backward; `dec_kernels.op` says why."""
        return self.z.new_empty(0, dtype=torch.uint8) if self.features is None else self.features.kept

    def of_rows(self, columns: Tensor) -> Tensor:
        """(G, m, ...) -> (G, r, ...); the same tensor where all columns are rows."""
        return of_rows(columns, self.column_of_row)

    def sort(self, values: Tensor) -> Tensor:
        """(k, G * m) values of all patches in image order -> (k, G, m) in the order of the columns."""
        values = values.view(-1, *self.column_order.shape)
        return values.gather(2, self.column_order.expand(values.shape))

    def unsort(self, *values: Tensor) -> Tensor:
        """k tensors of (G, r) values in the order of the rows -> (k, G * r) in image order."""
        stacked = torch.stack(values)
        return torch.empty_like(stacked).scatter_(2, self.order.expand(stacked.shape), stacked).flatten(1)

    def project_(self, dz: Tensor, constants: Constants) -> Tensor:
        """g = dL/dz of the rows, (G, r, D), overwritten with dL/dq.

        That is (g - (g . z) z) / |x(q)|, or g / floor where the norm is no larger than the floor. Centred rows z and h
        add up to a g that is centred, too, so that no mean is left to be taken off.
        """
        scales = self.z_scale.view(-1, 1).split(_block_rows(dz.shape[-1]))
        for g, z, scale in zip(_blocks(dz), _blocks(self.of_rows(self.z)), scales, strict=True):
            along = (g * z).sum(-1, keepdim=True)
            if constants.floor:
                along.masked_fill_(scale >= floor_scale(constants.floor, dz.dtype), 0)
            g.addcmul_(z, along, value=-1).mul_(scale)
        return dz


def of_rows(columns: Tensor, column_of_row: Tensor) -> Tensor:
    """As `Patches.of_rows`."""
    if column_of_row.shape[0] == columns.shape[1]:
        return columns
    return columns.index_select(1, column_of_row)


def prepare(batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype) -> Patches:
    """Rows and columns of images of any strides and float dtype; computed in `dtype`."""
    sr_view, hr_view = _patch_view(batch.sr, patch_size), _patch_view(batch.hr, patch_size)

    means = F.avg_pool2d(batch.hr.to(dtype), patch_size).mean(1)
    means, column_order = means.reshape(batch.groups(per_image), -1).sort(dim=1, stable=True)
    p, z = _gather(hr_view, column_order, dtype), _gather(sr_view, column_order, dtype)
    column_of_row, order = _rows_among(column_order, batch)
    x = p
    if constants.center:
        x = p.clone()
        for rows in (x, z):
            _center_(rows, patch_size)
    bound = largest(p)
    first, last = band(means, of_rows(means, column_of_row), bound, p.shape[-1], constants.radius)
    x_norm, z_norm = _norms(x), _norms(z)
    x_norm = torch.where(x_norm > MAX_NORM[dtype], math.nan, x_norm)
    if dtype == torch.float64:
        z_norm = torch.where(z_norm > MAX_NORM[dtype], math.nan, z_norm)
    x_norm, z_norm = (norm.clamp(min=constants.floor) for norm in (x_norm, z_norm))
    _divide_(z, torch.where(z_norm == 0, 1, z_norm))
    h_scale, z_scale = _inverse(x_norm, dtype), _inverse(of_rows(z_norm, column_of_row), dtype)
    sketch, reach = _sketch(p, patch_size), _reach(bound, p.shape[-1], constants.radius)
    return Patches(z, p, x, h_scale, column_order, column_of_row, z_scale, first, last, order, sketch, reach)


def _rows_among(column_order: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """`Patches.column_of_row` and `Patches.order`, from `Patches.column_order`; without a look at the data."""
    m = column_order.shape[1]
    position = torch.arange(m, device=column_order.device)
    if batch.own.shape[0] == batch.sr.shape[0]:
        return position, column_order
    patches = m // batch.sr.shape[0]
    start = batch.start * patches
    column_of = torch.empty_like(position).scatter_(0, column_order[0], position)
    rows = column_of[start : start + batch.own.shape[0] * patches].sort().values
    return rows, column_order[:, rows] - start


def to_images(rows: Tensor, order: Tensor, like: Tensor, patch_size: int) -> Tensor:
    """Rows (G, r, D) in the order of `Patches.order` -> images of the shape, dtype and memory format of `like`.

    Pixels that no patch covers are zero.
    """
    images = torch.zeros_like(like)
    view = _patch_view(images, patch_size)
    for block, where in zip(_blocks(rows), _locations(order, view), strict=True):
        view[where] = block.to(like.dtype).view(-1, *view.shape[3:])
    return images


def _patch_view(images: Tensor, patch_size: int) -> Tensor:
    """A view of the patches: (B, C, H, W) -> (B, H // P, W // P, C, P, P)."""
    return images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size).permute(0, 2, 3, 1, 4, 5)


def _gather(view: Tensor, order: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of `_patch_view` in that order, (G, m, D) contiguous."""
    rows = view.new_empty((*order.shape, math.prod(view.shape[3:])), dtype=dtype)
    for block, where in zip(_blocks(rows), _locations(order, view), strict=True):
        block.copy_(view[where].reshape(block.shape))
    return rows


def _locations(order: Tensor, view: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each block of rows, where they lie in `_patch_view`: indices of image, patch row and patch column."""
    _, height, width = view.shape[:3]
    group = torch.arange(order.shape[0], device=order.device)[:, None] * order.shape[1]
    for patch in (order + group).flatten().split(_block_rows(math.prod(view.shape[3:]))):
        yield patch // (height * width), patch // width % height, patch % width


def band(means: Tensor, row_means: Tensor, bound: Tensor, dim: int, radius: float) -> tuple[Tensor, Tensor]:
    """Between which columns the positives of rows lie, `first` <= column < `last`.

    Args:
        means: of the columns, (G, m), ascending.
        row_means: (G, r).
        bound: the largest value of all, (): it decides how far the means may be rounded.
        dim: D.
        radius: positives are no farther than this from each other.

    Returns:
        `first` and `last`, (G, r) int64 each.
    """
    # A mean of D values is off by at most D * eps * max|p|; both ends of a difference are.
    margin = 2 * dim * torch.finfo(means.dtype).eps * bound
    width = radius / math.sqrt(dim) * (1 + 1e-5) + margin
    # NaN or infinity somewhere: every column is in the band, so that the other rows keep their mask.
    width = width.nan_to_num(nan=math.inf)
    return torch.searchsorted(means, row_means - width), torch.searchsorted(means, row_means + width, right=True)


def _sketch(p: Tensor, patch_size: int) -> Tensor:
    """`Patches.sketch` of HR columns (G, m, D), in float64 until it is rounded once.

    With three orthonormal directions e_k and what they leave of a patch, r = p - sum_k (p . e_k) e_k,

        |p_i - p_j|^2 = sum_k (p_i . e_k - p_j . e_k)^2 + |r_i - r_j|^2 >= sum_k (...)^2 + (|r_i| - |r_j|)^2

    so the distance of the sketches (p . e_1, p . e_2, p . e_3, |r|) is a lower bound of that of the patches, and a pair
    whose sketches are farther from each other than the radius is no positive.
    """
    directions = _directions(p.shape[-1], patch_size).to(p.device)
    sketch = p.new_empty((*p.shape[:2], 4))
    for block, target in zip(_blocks(p), sketch.flatten(0, 1).split(_block_rows(p.shape[-1])), strict=True):
        values = block.double()
        along = values @ directions.T
        target[:, :3] = along
        target[:, 3] = torch.linalg.vector_norm(values - along @ directions, dim=1)
    return sketch


def _directions(dim: int, patch_size: int) -> Tensor:
    """The constant and the lowest horizontal and vertical cosine of the DCT, over all channels: (3, D) float64.

    Patches of one pixel have the constant alone, and zeros for the others.
    """
    cosine = torch.cos(math.pi * (torch.arange(patch_size, dtype=torch.float64) + 0.5) / patch_size)
    flat = torch.ones_like(cosine)
    pictures = torch.stack([torch.outer(flat, flat), torch.outer(flat, cosine), torch.outer(cosine, flat)])
    rows = pictures.flatten(1).repeat(1, dim // patch_size**2)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True) * (rows.abs().amax(1, keepdim=True) > 1e-8)


def _reach(bound: Tensor, dim: int, radius: float) -> Tensor:
    """`Patches.reach` for values up to `bound`."""
    # Each number of a sketch is at most |p| <= sqrt(D) max|p|, a sum of D float64 products, and is rounded once; so is
    # each difference. With float64 patches it is those sums that count: BLAS adds up equal rows in different orders.
    rounding = torch.finfo(bound.dtype).eps + dim * torch.finfo(torch.float64).eps
    margin = 8 * math.sqrt(dim) * rounding * bound
    return (radius * (1 + 1e-5) + margin).nan_to_num(nan=math.inf, posinf=math.inf)


def largest(values: Tensor) -> Tensor:
    """max |x|, NaN where there is one."""
    # On a CPU the infinity norm takes several times as long.
    least, most = torch.aminmax(values)
    return torch.maximum(most, -least)


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """(G, m, D) -> blocks of whole rows, (b, D) each."""
    return rows.flatten(0, 1).split(_block_rows(rows.shape[-1]))


def _block_rows(dim: int) -> int:
    return max(1, _BLOCK // dim)


def _norms(rows: Tensor) -> Tensor:
    """(G, m, D) -> (G, m) float64, where the squares of any float32 have room."""
    norms = [torch.linalg.vector_norm(block, dim=1, dtype=torch.float64) for block in _blocks(rows)]
    return torch.cat(norms).view(rows.shape[:2])


def _divide_(rows: Tensor, norms: Tensor) -> None:
    """rows (G, m, D) /= norms (G, m) float64."""
    # Norms that float32 cannot hold, or not with all of its bits, need the division in float64, which is slower.
    # Elsewhere than on the CPU, finding out whether there are any would make the host wait.
    if norms.device.type == "cpu":
        least, most = (norm.item() for norm in torch.aminmax(norms))
        if torch.finfo(rows.dtype).tiny <= least and most <= torch.finfo(rows.dtype).max:
            rows /= norms.to(rows.dtype)[..., None]
            return
    for block, norm in zip(_blocks(rows), norms.view(-1, 1).split(_block_rows(rows.shape[-1])), strict=True):
        block /= norm


def _center_(rows: Tensor, patch_size: int) -> None:
    """Takes the mean of each channel off rows (..., D), in place; computed in float64."""
    for block in _blocks(rows):
        pixels = block.view(len(block), -1, patch_size**2)
        pixels.copy_(pixels.double() - pixels.mean(2, keepdim=True, dtype=torch.float64))


def floor_scale(floor: float, dtype: torch.dtype) -> float:
    """1 / floor as it is among scales of that dtype."""
    return torch.tensor(1 / floor, dtype=torch.float64).to(dtype).item()


def _inverse(norm: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / norm, and 0 for a norm of zero, or of so little that its inverse is infinite."""
    inverse = (1 / norm).to(dtype)
    return torch.where(inverse.isinf(), 0, inverse)
