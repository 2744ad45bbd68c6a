r"""DECLoss in linear time: sums over all pairs by features of a few landmarks (Nyström's approximation).

The kernel exp(x . y / tau) of unit rows is a Gaussian as wide as their sphere: very smooth, so its matrix over any rows
has a very low numerical rank. tau is t_neg with the temperature inside, and 1 outside. With m landmarks L (m, D), which
are centres of clusters of z and h:

    C_x = exp(X L' / tau)  (n, m)      K = exp(L L' / tau)  (m, m)      W W' = K^-1, without eigenvalues near 0

the features F_z = C_z W and F_h = C_h W stand for all pairs at once:

    exp(S_ij / tau) ~ F_z,i . F_z,j        exp(A_ij / tau) ~ F_h,i . F_z,j

so that sums over all columns are products with what was summed over the columns once. With beta = dL/dQneg over t_neg:

    sum_j (exp S_ij + 2 exp A_ij)                        ~ (F_z,i + 2 F_h,i) . sum_j F_z,j
    sum_j (beta_k + beta_j) exp(S_kj) z_j + 2 beta_j exp(A_jk) h_j
        ~ beta_k F_z,k (F_z' z) + F_z,k (F_z' (beta z) + 2 F_h' (beta h))

These are Qneg and its gradient as if every pair were a negative. Time is O(n m D), memory O(n m). A backend then takes
each positive pair exactly, and takes off what the features say of it. So positives are exact, and so is the mask.

The gradient takes the features for the kernel in the exact gradient's sums. It is not the derivative of the
approximated loss with the landmarks held fixed: that one was measured to be 10 to 60 times less exact.

W is computed in float64. An eigenvalue below `CUT` times the largest is left out: what it stands for is below what
the sums of the other directions round away, and with rows that repeat it would be a division by zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision, tf32_or_ieee
from dec_kernels.spec import Constants

if TYPE_CHECKING:
    from dec_kernels.patches import Patches

CUT = 1e-6
SAMPLES = 16
_BLOCK = 2**19  # values of a block of rows and their features, so that the temporaries stay small beside the features
_HEADER = 16  # bytes, in which the number of features stands


class Features(NamedTuple):
    """The features of the columns of `Patches`, and what keeps them for the backward.

    Attributes:
        z, h: F_z and F_h, (G, m, r) contiguous, in the dtype of the rows.
        kept: the memory of both, `kept_bytes` uint8.
    """

    z: Tensor
    h: Tensor
    kept: Tensor


def choose(z: Tensor, x: Tensor, h_scale: Tensor, count: int) -> Tensor:
    """`count` landmarks of each group, (G, count, D): centres of clusters of rows, and zero.

    The clusters are those of one round of k-means over `SAMPLES` rows of z and h for each landmark, evenly among the
    sorted columns. It begins at rows chosen in the same way, whose errors it halves; more rounds gain little. Zero is
    there for patches of norm zero, which are far from all others.

    There is no randomness in it, so that a call has the same result each time, and on every rank.

    Args:
        z, x, h_scale: as in `Patches`, (G, m, D) and (G, m).
        count: at least 1.
    """
    centers = _evenly(z, x, h_scale, count - 1)
    rows = _evenly(z, x, h_scale, min(SAMPLES * (count - 1), 2 * z.shape[1]))
    if count > 1:
        # A row of zeros, which is as far from one centre as from another, belongs to none.
        counts = (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) != 0).to(z.dtype)
        with matmul_precision("ieee", z):
            # The nearest centre c of a row x has the largest x . c - |c|^2 / 2.
            nearest = (rows @ centers.mT - centers.square().sum(-1)[:, None] / 2).argmax(-1, keepdim=True)
            members = z.new_zeros((*rows.shape[:2], count - 1)).scatter_(2, nearest, counts)
            sizes = members.sum(1)[..., None]
            centers = torch.where(sizes > 0, members.mT @ rows / sizes.clamp(min=1), centers)
    return torch.cat([centers, torch.zeros_like(z[:, :1])], 1)


def _evenly(z: Tensor, x: Tensor, h_scale: Tensor, count: int) -> Tensor:
    """(G, count, D): rows of z and h in turn, evenly among the sorted columns."""
    position = (2 * torch.arange(count, device=z.device) + 1) * z.shape[1] // (2 * count or 1)
    rows, odd = z.index_select(1, position), position[1::2]
    rows[:, 1::2] = x.index_select(1, odd) * h_scale.index_select(1, odd)[..., None]
    return rows


def whitening(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """W of landmarks (G, m, D) times `Constants.scale`, and r.

    W, (G, m, m) float64, has its columns in the order of falling eigenvalues. Columns that were left out are zero.
    r, 0-dim int64, says how many in front are not, in the group that has most.
    """
    rows = landmarks.double()
    kernel = (rows @ rows.mT).exp2()
    # The solver raises where there is a NaN. It shows in C, too, so the loss is NaN with any W.
    identity = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    kernel = torch.where(kernel.isfinite().all(), kernel, identity)
    values, vectors = torch.linalg.eigh(kernel)
    values, vectors = values.flip(-1), vectors.flip(-1)
    kept = values > CUT * values[:, :1]
    roots = torch.where(kept, values, 1).rsqrt() * kept
    return vectors * roots[:, None, :], kept.sum(-1).max()


def kept_bytes(groups: int, columns: int, landmarks: int, dtype: torch.dtype) -> int:
    """The size of `Features.kept` for that many columns in a group; 0 without landmarks."""
    return _HEADER + 2 * groups * columns * landmarks * dtype.itemsize if landmarks else 0


def features(rows: Patches, constants: Constants) -> Features:
    """The features of all columns, for `constants.landmarks` landmarks."""
    groups, columns, dim = rows.z.shape
    # exp(x . y / tau) = exp2(x . s^2 y), which takes less time
    s = constants.scale
    chosen = choose(rows.z, rows.x, rows.h_scale, constants.landmarks) * s**2
    precision = tf32_or_ieee(constants.precision)
    if precision == "tf32" and rows.z.is_cuda and rows.z.dtype == torch.float32:
        chosen = round_to_tf32(chosen)  # as the products would, so that C and K are values of one kernel
    w, rank = whitening(chosen.double() / s)
    kept = rows.z.new_empty(kept_bytes(groups, columns, constants.landmarks, rows.z.dtype), dtype=torch.uint8)
    # Elsewhere than on the CPU, reading the rank would make the host wait: there columns of zeros go along.
    number = int(rank) if rows.z.device.type == "cpu" else constants.landmarks
    kept[:_HEADER].view(torch.int64).fill_(number)
    found = restore(kept, groups, columns, constants.landmarks, rows.z.dtype)
    kept[_HEADER + 2 * found.z.nbytes :].zero_()  # or a result of the operator would hold what was there by chance
    w = w[..., :number].to(rows.z.dtype)
    for g in range(groups):
        for block in _blocks(columns, dim + constants.landmarks):
            for target, x, x_scale in ((found.z, rows.z, None), (found.h, rows.x, rows.h_scale)):
                with matmul_precision(precision, x):
                    c = x[g, block] @ chosen[g].T
                if x_scale is not None:
                    c *= x_scale[g, block, None]
                # Small eigenvalues amplify what is rounded here.
                with matmul_precision("ieee", x):
                    torch.mm(c.exp2_(), w[g], out=target[g, block])
    return found


def restore(kept: Tensor, groups: int, columns: int, landmarks: int, dtype: torch.dtype) -> Features:
    """The features that lie in `Features.kept`."""
    number = int(kept[:_HEADER].view(torch.int64)[0]) if kept.device.type == "cpu" else landmarks
    end = _HEADER + 2 * groups * columns * number * dtype.itemsize
    z, h = kept[_HEADER:end].view(dtype).view(2, groups, columns, number)
    return Features(z, h, kept)


def sums(rows: Patches, found: Features) -> Tensor:
    """sum_j (exp S_ij + 2 exp A_ij) over all columns by features, (G, r); not yet over t_neg."""
    # In blocks, since a sum in float64 copies what it adds up.
    parts = [found.z[:, b].sum(1, dtype=torch.float64) for b in _blocks(found.z.shape[1], found.z[:, 0].numel())]
    total = torch.stack(parts).sum(0).to(found.z.dtype)[..., None]
    with matmul_precision("ieee", found.z):
        both = found.z @ total + 2 * (found.h @ total)
    return rows.of_rows(both[..., 0])


def gradients(rows: Patches, found: Features, constants: Constants, beta: Tensor) -> Tensor:
    """The gradient of the rows by features, as if every pair were a negative, (G, r, D).

    Args:
        rows, found, constants: of the forward.
        beta: dL/dQneg of the columns, (G, m).
    """
    groups, columns, dim = rows.z.shape
    number = found.z.shape[-1]
    beta = (beta / constants.t_neg)[..., None]
    dz = rows.z.new_empty((groups, rows.column_of_row.shape[0], dim))
    row_z, row_beta = rows.of_rows(found.z), rows.of_rows(beta)
    precision = tf32_or_ieee(constants.precision)
    with matmul_precision(precision, rows.z):
        for g in range(groups):
            collected = rows.z.new_zeros((2 * number, dim))  # F_z' (beta z) + 2 F_h' (beta h), then F_z' z
            for b in _blocks(columns, 2 * number + dim):
                both = torch.cat([beta[g, b] * found.z[g, b], found.z[g, b]], 1)
                collected.addmm_(both.T, rows.z[g, b])
                weights = found.h[g, b] * (2 * beta[g, b] * rows.h_scale[g, b, None])
                collected[:number].addmm_(weights.T, rows.x[g, b])
            for b in _blocks(dz.shape[1], 2 * number + dim):
                both = torch.cat([row_z[g, b], row_beta[g, b] * row_z[g, b]], 1)
                torch.mm(both, collected, out=dz[g, b])
    return dz


def round_to_tf32(x: Tensor) -> Tensor:
    bits = x.view(torch.int32)
    return torch.where(x.isfinite(), ((bits + 0x1000) & ~0x1FFF).view(torch.float32), x)


def _blocks(count: int, width: int) -> list[slice]:
    step = max(1, _BLOCK // width)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
