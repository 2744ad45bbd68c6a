"""What pairs far from each other add to the sums and to the gradient, by the features of a few landmarks.

`dec_kernels.landmarks` has the mathematics. Here the sorted columns are cut into blocks. Two blocks are near each other
where a row of one may have a positive in the other. The band's kernels compute all pairs of near blocks, for which the
band of every row is widened, and features stand for the other pairs alone. So nothing has to be taken off again, and a
row without far columns gets zeros. With sums over the columns j of all blocks far from that of row i, or k,

    Qneg_i += (F_z,i + 2 F_h,i) . sum_j F_z,j
    dz_k   += beta_k F_z,k sum_j F_z,j' z_j + F_z,k sum_j beta_j (F_z,j' z_j + 2 F_h,j' h_j)

They come from the sums of each block by a product with ones and zeros, which is cheap, since a group has few blocks.
(PyTorch's running sums are an error where algorithms have to be deterministic.) All of it is PyTorch's products: the
host waits for nothing, and no shape depends on values.

W comes from a Cholesky factor of K with a ridge. Eigenvectors would make the host wait, and no CUDA graph could capture
them. On photographs both kinds of features are as exact.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision, tf32_or_ieee
from dec_kernels.backends.triton.layout import MOST_BLOCKS, Far, PreparedRows
from dec_kernels.landmarks import choose, round_to_tf32
from dec_kernels.spec import Constants

_RIDGE = 1e-8  # of the trace of K: it keeps the factor finite where landmarks repeat


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
    size = rows.size
    dz = far.f_z.new_empty((size.groups, size.m, size.dim))
    step = max(1, MOST_BLOCKS // size.blocks)  # groups at a time, so that the sums of blocks stay few
    for part in (slice(begin, begin + step) for begin in range(0, size.groups, step)):
        of_part = Far(*(x[part] for x in far))
        z, h = (_blocks(rows, x[part, :, : size.dim].float()) for x in (rows.z, rows.h))
        torch.mul(_gradient(rows, of_part, tf32_or_ieee(precision), z, h, beta[part, :, None]), scale, out=dz[part])
    return _of_rows(rows, dz)


def _gradient(rows: PreparedRows, far: Far, precision: str, z: Tensor, h: Tensor, beta: Tensor) -> Tensor:
    """Not yet scaled: of z' and h' in blocks, (G, blocks, block, D), and beta, (G, m, 1) -> (G, m, D)."""
    f_z = _blocks(rows, far.f_z)

    def of_columns(of_blocks: Tensor) -> Tensor:
        """Sums of each block, (G, blocks, L, D) -> what those of far blocks give every column."""
        outside = _outside(far, of_blocks)
        with matmul_precision(precision, f_z):
            return (f_z @ outside).flatten(1, 2)[:, : rows.size.m]

    with matmul_precision(precision, f_z):
        plain = f_z.mT @ z
        weighted = _blocks(rows, far.f_z * beta).mT @ z
        weighted += _blocks(rows, far.f_h * (2 * beta)).mT @ h
    return of_columns(plain).mul_(beta).add_(of_columns(weighted))


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
    landmarks = chosen(rows, constants)
    whitening = _whitening(landmarks).float()
    for x, features in ((rows.z, far.f_z), (rows.h, far.f_h)):
        # Operands are rounded already: a bfloat16 is a TF32 as well.
        with matmul_precision(tf32_or_ieee(constants.precision), features):
            similarities = x.float() @ landmarks.mT
        # Rounded exponentials would not do, since small pivots of K enlarge what they are off by.
        with matmul_precision("ieee", features):
            torch.bmm(similarities.exp2_(), whitening, out=features)


def chosen(rows: PreparedRows, constants: Constants) -> Tensor:
    """The landmarks as the products take them, c L rounded, (G, L, D') float32."""
    # A patch that is not finite must not spoil other rows.
    z, h = (x.float().nan_to_num(0, 0, 0) for x in (rows.z, rows.h))
    landmarks = choose(z, h, z.new_ones(1).expand(z.shape[:2]), constants.landmarks)
    return round_to_tf32(landmarks) if tf32_or_ieee(constants.precision) == "tf32" else landmarks


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
    block = torch.arange(blocks.shape[1], device=blocks.device)
    outside = (block < far.first_block[..., None]) | (block >= far.last_block[..., None])
    with matmul_precision("ieee", blocks):
        return torch.bmm(outside.to(blocks.dtype), blocks.flatten(2)).view(blocks.shape)


def _block_of_row(rows: PreparedRows) -> Tensor:
    return rows.column_of_row % rows.size.m // rows.size.block


def _of_rows(rows: PreparedRows, columns: Tensor) -> Tensor:
    """(G, m, ...) -> (G, r, ...); the same tensor where all columns are rows."""
    return columns if rows.alone else columns.flatten(0, 1)[rows.column_of_row]
