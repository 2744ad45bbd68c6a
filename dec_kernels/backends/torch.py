"""The tiled algorithm in plain PyTorch calls: any device, no compiler, memory linear in n.

Every tile of rows is owned by one walk over all tiles of columns; nothing of size n x n is ever stored.

    forward     Qpos_i = sum_j      m_ij  e_ij         e_ij = exp S_ij + 2 exp A_ij, over t
                Qneg_i = sum_j (1 - m_ij) e_ij         (temperature inside: exp(X / t) instead of exp(X) / t)
    backward    w_ij   = m_ij alpha_i / t_pos + (1 - m_ij) beta_i / t_neg
                dz_k   = sum_j (w_kj + w_jk) exp(S_kj) z_j + 2 sum_j w_jk exp(A_jk) h_j

m is symmetric, so the tile [k, j] of the mask serves w_kj and w_jk alike, and the owner of row k needs no one else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.backends.precision import matmul_precision
from dec_kernels.patches import Patches
from dec_kernels.spec import Constants

_TILE = 256  # rows, and columns, of a tile
_STACK = 8  # at most so many tiles of different groups at a time, where the groups are small and many


class TorchCalls(OnPatches):
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        return []

    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        qpos, qneg = torch.zeros_like(rows.z_scale), torch.zeros_like(rows.z_scale)
        products = _Products(rows, constants)
        with matmul_precision(constants.precision, rows.z):
            for tile in _walk(rows, constants.radius):
                g, i, j = tile.groups, tile.rows, tile.columns
                for factor, x in ((1, products.zz(g, i, j)), (2, products.pz(g, i, j))):
                    for q, t, outside in ((qpos, constants.t_pos, False), (qneg, constants.t_neg, True)):
                        if tile.mask is None and not outside:
                            continue
                        e = (x / t).exp_() if constants.inside else x.exp().div_(t)
                        if tile.mask is not None:
                            e.masked_fill_(tile.mask == outside, 0)
                        q[g, i] += factor * e.sum(-1)
        return qpos, qneg

    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        dz = rows.z.new_zeros((*rows.z_scale.shape, rows.z.shape[-1]))
        products = _Products(rows, constants)
        alpha, beta = alpha / constants.t_pos, beta / constants.t_neg
        row_alpha, row_beta = rows.of_rows(alpha), rows.of_rows(beta)

        def weighted_exp(x: Tensor, mask: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
            if mask is None:
                return (x.div_(constants.t_neg) if constants.inside else x).exp_().mul_(b)
            if constants.inside:
                x = torch.where(mask, x / constants.t_pos, x / constants.t_neg)
            return x.exp_().mul_(torch.where(mask, a, b))

        with matmul_precision(constants.precision, rows.z):
            for tile in _walk(rows, constants.radius):
                g, k, j = tile.groups, tile.rows, tile.columns
                a_j, b_j = alpha[g, None, j], beta[g, None, j]
                a_k, b_k = row_alpha[g, k, None], row_beta[g, k, None]
                h_scale = rows.h_scale[g, None, j]
                s = weighted_exp(products.zz(g, k, j), tile.mask, a_k + a_j, b_k + b_j)
                a = weighted_exp(products.zp(g, k, j), tile.mask, a_j, b_j).mul_(2 * h_scale)
                dz[g, k] += products.gradient(s, products.z[g, j])
                dz[g, k] += products.gradient(a, products.x[g, j])
        return dz

    def near_sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor, Tensor]:
        qpos, taken_off, positives = (torch.zeros_like(rows.z_scale) for _ in range(3))
        products, similar = _Products(rows, constants._replace(precision="ieee")), _OfFeatures(rows)
        with matmul_precision("ieee", rows.z):  # as the features; these pairs are few
            for g, i, j, mask in _near_walk(rows, constants.radius):
                e = _exponential(products.zz(g, i, j), constants) + 2 * _exponential(products.pz(g, i, j), constants)
                qpos[g, i] += e.masked_fill_(~mask, 0).sum(-1)
                taken_off[g, i] += (similar.zz(g, i, j) + 2 * similar.hz(g, i, j)).masked_fill_(~mask, 0).sum(-1)
                positives[g, i] += mask.sum(-1)
        return qpos if constants.inside else qpos / constants.t_pos, taken_off, positives

    def near_gradients_(self, dz: Tensor, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> None:
        exact, taken_off, positives = torch.zeros_like(dz), torch.zeros_like(dz), torch.zeros_like(rows.z_scale)
        products, similar = _Products(rows, constants._replace(precision="ieee")), _OfFeatures(rows)
        alpha, beta = alpha / constants.t_pos, beta / constants.t_neg
        row_alpha, row_beta = rows.of_rows(alpha), rows.of_rows(beta)
        with matmul_precision("ieee", rows.z):  # as the features; these pairs are few
            for g, k, j, mask in _near_walk(rows, constants.radius):
                h_scale = 2 * rows.h_scale[g, None, j]
                for target, of_row, of_column, s, a in (
                    (
                        exact, row_alpha, alpha,
                        _exponential(products.zz(g, k, j), constants), _exponential(products.zp(g, k, j), constants),
                    ),
                    (taken_off, row_beta, beta, similar.zz(g, k, j), similar.zh(g, k, j)),
                ):  # fmt: skip
                    s = s.mul_(of_row[g, k, None] + of_column[g, None, j]).masked_fill_(~mask, 0)
                    a = a.mul_(of_column[g, None, j] * h_scale).masked_fill_(~mask, 0)
                    target[g, k] += products.gradient(s, products.z[g, j])
                    target[g, k] += products.gradient(a, products.x[g, j])
                positives[g, k] += mask.sum(-1)
        dz -= taken_off
        dz.masked_fill_((positives == rows.z.shape[1])[..., None], 0)
        dz += exact


BACKEND = TorchCalls()


def _exponential(x: Tensor, constants: Constants) -> Tensor:
    """That of similarities of positives, in place."""
    return (x.div_(constants.t_pos) if constants.inside else x).exp_()


class _Tile(NamedTuple):
    groups: slice
    rows: slice
    columns: slice
    mask: Tensor | None  # None: no positives


def _near_walk(patches: Patches, radius: float) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """The tiles that may hold positives: groups, rows, columns and mask."""
    for groups, rows, columns, mask in _walk(patches, radius):
        if mask is not None:
            yield groups, rows, columns, mask


def _walk(patches: Patches, radius: float) -> Iterator[_Tile]:
    groups, m, _ = patches.z.shape
    row_p, row_sketch = patches.of_rows(patches.p), patches.of_rows(patches.sketch)
    # Elsewhere than on the CPU, reading the band makes the host wait for the device. That saves nothing where every
    # tile is computed, and nearly all where only those of the band are.
    band_is_known = patches.z.device.type == "cpu" or patches.features is not None
    for g in _slices(groups, max(1, _STACK * _TILE**2 // m**2)):
        for rows in _slices(row_p.shape[1], _TILE):
            first, last = 0, m
            if band_is_known:
                first, last = int(patches.first[g, rows].min()), int(patches.last[g, rows].max())
            for columns in _slices(m, _TILE):
                start, stop = max(first, columns.start), min(last, columns.stop)
                mask = None
                if start < stop:
                    near = slice(start, stop)
                    p, sketch = (row_p[g, rows], patches.p[g, near]), (row_sketch[g, rows], patches.sketch[g, near])
                    mask = _mask(p, sketch, patches.reach if band_is_known else None, radius)
                if mask is not None:
                    mask = F.pad(mask, (start - columns.start, columns.stop - stop))
                yield _Tile(g, rows, columns, mask)


def _mask(
    p: tuple[Tensor, Tensor], sketch: tuple[Tensor, Tensor], reach: Tensor | None, radius: float
) -> Tensor | None:  # fmt: skip
    """|p_i - p_j| <= radius as float64 has it, (groups, rows, columns), or None if that holds nowhere.

    With a `reach`, distances are computed of rows and columns alone that have a pair within it. The host looks at it.
    """
    if reach is None:
        return _distances(*p) <= radius
    near = ~(_distances(*sketch) > reach)  # NaN is for the patches to decide
    rows, columns = near.any((0, 2)).nonzero(), near.any((0, 1)).nonzero().flatten()
    if not columns.shape[0]:
        return None
    mask = torch.zeros_like(near)
    mask[:, rows, columns] = _distances(p[0][:, rows.flatten()], p[1][:, columns]) <= radius
    return mask


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # Direct differences in float64: no cancellation.
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


class _Products:
    """The matrix products of a tile, with operands rounded as the preset says and float32 (float64) results."""

    def __init__(self, patches: Patches, constants: Constants) -> None:
        self.dtype = patches.z.dtype
        self.rounded = torch.bfloat16 if constants.precision == "bf16" and self.dtype == torch.float32 else self.dtype
        self.z, self.x, self.h_scale = patches.z.to(self.rounded), patches.x.to(self.rounded), patches.h_scale
        self.row_z, self.row_x, self.row_scale = map(patches.of_rows, (self.z, self.x, self.h_scale))

    def zz(self, g: slice, i: slice, j: slice) -> Tensor:
        """S_ij = z_i . z_j."""
        return self._product(self.row_z[g, i], self.z[g, j].mT)

    def pz(self, g: slice, i: slice, j: slice) -> Tensor:
        """A_ij = h_i . z_j."""
        return self._product(self.row_x[g, i], self.z[g, j].mT).mul_(self.row_scale[g, i, None])

    def zp(self, g: slice, i: slice, j: slice) -> Tensor:
        """A_ji = h_j . z_i, at [i, j]."""
        return self._product(self.row_z[g, i], self.x[g, j].mT).mul_(self.h_scale[g, None, j])

    def gradient(self, weights: Tensor, rows: Tensor) -> Tensor:
        return self._product(weights.to(self.rounded), rows)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        if self.rounded == torch.bfloat16 and a.is_cuda:
            return torch.bmm(a, b, out_dtype=self.dtype)
        return torch.bmm(a, b).to(self.dtype)


class _OfFeatures:
    """What the features say of the pairs of a tile: S_ij, A_ij and A_ji, as `_Products`."""

    def __init__(self, patches: Patches) -> None:
        assert patches.features is not None
        self.z, self.h = patches.features.z, patches.features.h
        self.row_z, self.row_h = patches.of_rows(self.z), patches.of_rows(self.h)

    def zz(self, g: slice, i: slice, j: slice) -> Tensor:
        return self.row_z[g, i] @ self.z[g, j].mT

    def hz(self, g: slice, i: slice, j: slice) -> Tensor:
        return self.row_h[g, i] @ self.z[g, j].mT

    def zh(self, g: slice, i: slice, j: slice) -> Tensor:
        return self.row_z[g, i] @ self.h[g, j].mT
