"""What pairs far from each other add to the sums and to the gradient, by the features of a few landmarks.

`dec_kernels.landmarks` has the mathematics. Here the sorted columns are cut into blocks. Two blocks are near each other
where a row of one may have a positive in the other. The band's kernels compute all pairs of near blocks, for which the
band of every row is widened, and features stand for the other pairs alone. So nothing has to be taken off again, and a
row without far columns gets zeros. With sums over the columns j of all blocks far from that of row i, or k,

    Qneg_i += (F_z,i + 2 F_h,i) . sum_j F_z,j
    dz_k   += beta_k F_z,k sum_j F_z,j' z_j + F_z,k sum_j beta_j (F_z,j' z_j + 2 F_h,j' h_j)

These sums are running sums over the blocks from both ends, since the blocks near a block are neighbours of each other.
All of it is PyTorch's products: the host waits for nothing, and no shape depends on values.

W comes from a Cholesky factor of K with a ridge. Eigenvectors would make the host wait, and no CUDA graph could capture
them. On photographs both kinds of features are as exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision
from dec_kernels.landmarks import choose
from dec_kernels.spec import Constants

if TYPE_CHECKING:
    from dec_kernels.backends.triton.layout import Far, PreparedRows

_RIDGE = 1e-8  # of the trace of K: it keeps the factor finite where landmarks repeat
_RUN = 64  # terms of a running sum that are added up by one product


def fill_in_(rows: PreparedRows, far: Far, constants: Constants) -> None:
    """The features of the columns and the blocks that are near each other, for which the rows' bands are widened."""
    _fill_in_features_(rows, far, constants)
    first, last = near_blocks(rows.mean, constants.radius / math.sqrt(rows.size.dim), rows.size.block)
    far.first_block.copy_(first)
    far.last_block.copy_(last)
    block = _block_of_row(rows)
    rows.first.copy_(first.gather(1, block) * rows.size.block)
    rows.last.copy_((last.gather(1, block) * rows.size.block).clamp_(max=rows.size.m))


def sums(rows: PreparedRows, far: Far) -> Tensor:
    """sum_j (exp S_ij + 2 exp A_ij) over the columns far from each row, (G, r)."""
    outside = _outside(far, _blocks(rows, far.f_z).sum(2, dtype=torch.float64)).float()
    group = torch.arange(rows.size.groups, device=outside.device)[:, None]
    features = _of_rows(rows, torch.add(far.f_z, far.f_h, alpha=2))
    return (features * outside[group, _block_of_row(rows)]).sum(2)


def gradient(rows: PreparedRows, far: Far, precision: str, beta: Tensor, scale: float) -> Tensor:
    """What columns far from each row add to dz, (G, r, D).

    Args:
        rows, far: as filled in.
        precision: the preset.
        beta: dL/dQneg over t_neg of the columns, (G, m).
        scale: what z' and h' are multiplied with to be z and h.
    """
    groups, m, _, dim, *_ = rows.size
    beta = beta[..., None]
    f_z, z, h = (_blocks(rows, x).flatten(0, 1) for x in (far.f_z, *(x[..., :dim].float() for x in (rows.z, rows.h))))
    precision = "tf32" if precision in ("tf32", "bf16") else "ieee"

    def of_all(sum_of_each: Tensor) -> Tensor:
        """Sums of each block, (G * blocks, L, D) -> what they give every column, (G, m, D)."""
        outside = _outside(far, sum_of_each.unflatten(0, (groups, -1)))
        with matmul_precision(precision, f_z):
            return torch.bmm(f_z, outside.flatten(0, 1)).view(groups, -1, dim)[:, :m]

    with matmul_precision(precision, f_z):
        plain = torch.bmm(f_z.mT, z)
        weighted = torch.bmm(_blocks(rows, far.f_z * beta).flatten(0, 1).mT, z)
        weighted.baddbmm_(_blocks(rows, far.f_h * (2 * beta)).flatten(0, 1).mT, h)
    return _of_rows(rows, of_all(plain).mul_(beta).add_(of_all(weighted)).mul_(scale)).contiguous()


def near_blocks(mean: Tensor, width: float, block: int) -> tuple[Tensor, Tensor]:
    """Blocks first[I] <= J < last[I] are near block I, and it is near them: (G, blocks) int64 each.

    Args:
        mean: of the columns, (G, m), sorted.
        width: the means of two positives are no farther from each other.
        block: columns in one.
    """
    m, device = mean.shape[1], mean.device
    mean = mean.double().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
    ends = torch.arange(block, m + block, block, device=device).clamp_(max=m) - 1
    lowest, highest = mean[:, ::block].contiguous(), mean[:, ends]
    # Twice the margin that `rows_kernel` takes, whose roundings then do not reach farther.
    width *= 1 + 1e-5
    reach = highest + width + 2**-20 * (highest.abs() + width)
    last = torch.searchsorted(lowest, reach.nan_to_num(nan=math.inf, posinf=math.inf), right=True)
    blocks = torch.arange(last.shape[1], device=device).expand(last.shape).contiguous()
    return torch.searchsorted(last, blocks, right=True), last


def _fill_in_features_(rows: PreparedRows, far: Far, constants: Constants) -> None:
    one = rows.h.new_ones(1)
    # A patch that is not finite must not spoil other rows.
    landmarks = choose(rows.z, rows.h, one.expand(rows.h.shape[:2]), constants.landmarks).nan_to_num(0, 0, 0)
    whitening = _whitening(landmarks).float()
    for x, features in ((rows.z, far.f_z), (rows.h, far.f_h)):
        with matmul_precision(constants.precision, x):
            similarities = _product(x, landmarks.mT)
        # Rounded exponentials would not do, since small pivots of K enlarge what they are off by.
        with matmul_precision("ieee", similarities):
            torch.bmm(similarities.exp2_(), whitening, out=features)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """float32, of operands as the kernels take them."""
    if left.dtype == torch.bfloat16 and left.is_cuda:
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float())


def _whitening(landmarks: Tensor) -> Tensor:
    """W of landmarks as the products take them, c L (G, L, D'): (G, L, L) float64."""
    rows = landmarks.double()
    kernel = (rows @ rows.mT).exp2_()
    diagonal = kernel.diagonal(dim1=1, dim2=2)
    diagonal += _RIDGE * diagonal.sum(1, keepdim=True)
    factor, _ = torch.linalg.cholesky_ex(kernel)
    one = torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
    return torch.linalg.solve_triangular(factor, one, upper=False).mT


def _blocks(rows: PreparedRows, columns: Tensor) -> Tensor:
    """(G, m, x) -> (G, blocks, block, x), the last block filled up with zeros."""
    missing = -rows.size.m % rows.size.block
    return (F.pad(columns, (0, 0, 0, missing)) if missing else columns).unflatten(1, (-1, rows.size.block))


def _outside(far: Far, blocks: Tensor) -> Tensor:
    """For every block the sum of those that are not near it: (G, blocks, ...) -> (G, blocks, ...)."""
    group = torch.arange(blocks.shape[0], device=blocks.device)[:, None]
    count = blocks.shape[1]
    before = _sums_of_first(blocks.flatten(2))[group, far.first_block]
    after = _sums_of_first(blocks.flatten(2).flip(1))[group, count - far.last_block]
    return before.add_(after).view(blocks.shape)


def _sums_of_first(values: Tensor) -> Tensor:
    """[:, k] is the sum of the first k: (G, n, K) -> (G, n + 1, K).

    Triangles of ones make it: PyTorch's own running sum on a device is an error where algorithms have to be
    deterministic.
    """
    groups, count, width = values.shape
    runs = -(-(count + 1) // _RUN)
    padded = F.pad(values, (0, 0, 1, runs * _RUN - count - 1)).view(groups * runs, _RUN, width)
    ones = values.new_ones(_RUN, _RUN).tril_()
    with matmul_precision("ieee", values):
        sums = torch.bmm(ones.expand(groups * runs, -1, -1), padded).view(groups, runs, _RUN, width)
    if runs > 1:
        sums[:, 1:] += _sums_of_first(sums[:, :-1, -1])[:, 1:, None]
    return sums.flatten(1, 2)[:, : count + 1]


def _block_of_row(rows: PreparedRows) -> Tensor:
    return rows.column_of_row % rows.size.m // rows.size.block


def _of_rows(rows: PreparedRows, columns: Tensor) -> Tensor:
    """(G, m, ...) -> (G, r, ...); the same tensor where all columns are rows."""
    return columns if rows.alone else columns.flatten(0, 1)[rows.column_of_row]
