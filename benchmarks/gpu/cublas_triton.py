"""What a good engineer would write instead of fused kernels: cuBLAS for the products, and between them one elementwise
Triton kernel over so many rows that their similarities to all stay in the L2 cache.

For each chunk of rows, forward and backward alike,

    S = z_i . z_j,  A = h_i . z_j (backward: z_i . h_j)      operands, and results, in the dtype of z
    G = p_i . p_j                                            always IEEE float32: in anything less, the mask is noise
    one kernel: the textbook's mask |p_i|^2 + |p_j|^2 - 2 G <= R^2, a row itself always in it;
                exp; forward: the row sums; backward: the weights, in place of S and A
    backward: two more products bring the weights to dL/dz

so 3 products of n n D forward and 5 backward, where fused kernels that sort the rows need 2 and 4. Memory is linear in
n, the result deterministic. In float32 G cancels, so at the very edge of the radius the mask is not exact.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dec_kernels.backends.precision import matmul_precision

_BLOCK = 1024  # columns


def positive_and_negative_sums(z: Tensor, h: Tensor, p: Tensor, radius: float, mib: float) -> tuple[Tensor, Tensor]:
    """sum_j m_ij e_ij and sum_j (1 - m_ij) e_ij with e_ij = exp S_ij + 2 exp A_ij: (n,) float32 each.

    Args:
        z, h: unit rows, (n, D), float32 or bfloat16; differentiable in z.
        p: HR rows, (n, D) float32.
        mib: the size of a chunk's S, A and G together.
    """
    return _Sums.apply(z, h, p, radius, mib)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, h, p, radius, mib):
        squared = p.square().sum(1)
        ctx.save_for_backward(z, h, p, squared)
        ctx.radius, ctx.mib = radius, mib
        n = len(z)
        qpos, qneg = torch.empty_like(squared), torch.empty_like(squared)
        for rows, s, a, g in _chunks(z, p, mib):
            torch.mm(z[rows], z.T, out=s)
            torch.mm(h[rows], z.T, out=a)
            _hr_products(p, rows, g)
            _sums_kernel[(len(s),)](
                s, a, g, squared, qpos[rows], qneg[rows], rows.start, n, radius**2, BLOCK=_BLOCK, num_warps=8
            )
        return qpos, qneg

    @staticmethod
    def backward(ctx, alpha, beta):
        z, h, p, squared = ctx.saved_tensors
        n, alpha, beta = len(z), alpha.contiguous(), beta.contiguous()
        dz = torch.empty_like(z)
        for rows, s, a, g in _chunks(z, p, ctx.mib):
            torch.mm(z[rows], z.T, out=s)
            torch.mm(z[rows], h.T, out=a)
            _hr_products(p, rows, g)
            grid = (len(s), triton.cdiv(n, _BLOCK))
            _weights_kernel[grid](s, a, g, squared, alpha, beta, rows.start, n, ctx.radius**2, BLOCK=_BLOCK)
            torch.mm(s, z, out=dz[rows])
            dz[rows].addmm_(a, h)
        return dz, None, None, None, None


def _chunks(z: Tensor, p: Tensor, mib: float):
    """Slices of rows, each with the three buffers for its products with all columns."""
    n = len(z)
    most = min(n, max(1, int(mib * 2**20) // (n * (2 * z.itemsize + p.itemsize))))
    s, a, g = z.new_empty(most, n), z.new_empty(most, n), p.new_empty(most, n)
    for start in range(0, n, most):
        size = min(most, n - start)
        yield slice(start, start + size), s[:size], a[:size], g[:size]


def _hr_products(p: Tensor, rows: slice, out: Tensor) -> None:
    with matmul_precision("ieee", p):
        torch.mm(p[rows], p.T, out=out)


@triton.jit
def _sums_kernel(s, a, g, squared, qpos, qneg, first_row, n, squared_radius, BLOCK: tl.constexpr):
    """One program a row: qpos and qneg of row `first_row` + program."""
    row = tl.program_id(0)
    at = row.to(tl.int64) * n
    squared_i = tl.load(squared + first_row + row)
    positives = tl.zeros([BLOCK], tl.float32)
    negatives = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        inside = j < n
        distance = squared_i + tl.load(squared + j, inside) - 2 * tl.load(g + at + j, inside)
        positive = (distance <= squared_radius) | (j == first_row + row)
        exp_s = tl.exp(tl.load(s + at + j, inside).to(tl.float32))
        e = exp_s + 2 * tl.exp(tl.load(a + at + j, inside).to(tl.float32))
        positives += tl.where(inside & positive, e, 0)
        negatives += tl.where(inside & ~positive, e, 0)
    tl.store(qpos + row, tl.sum(positives, 0))
    tl.store(qneg + row, tl.sum(negatives, 0))


@triton.jit
def _weights_kernel(s, a, g, squared, alpha, beta, first_row, n, squared_radius, BLOCK: tl.constexpr):
    """S becomes (w_ij + w_ji) exp S_ij, and A becomes 2 w_ji exp A_ji, with w_ij = alpha_i or beta_i."""
    row = tl.program_id(0)
    i = first_row + row
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = j < n
    at = row.to(tl.int64) * n + j
    distance = tl.load(squared + i) + tl.load(squared + j, inside) - 2 * tl.load(g + at, inside)
    positive = (distance <= squared_radius) | (j == i)
    w_i = tl.where(positive, tl.load(alpha + i), tl.load(beta + i))
    w_j = tl.where(positive, tl.load(alpha + j, inside), tl.load(beta + j, inside))
    exp_s = tl.exp(tl.load(s + at, inside).to(tl.float32))
    exp_a = tl.exp(tl.load(a + at, inside).to(tl.float32))
    tl.store(s + at, ((w_i + w_j) * exp_s).to(s.dtype.element_ty), inside)
    tl.store(a + at, (2 * w_j * exp_a).to(a.dtype.element_ty), inside)
