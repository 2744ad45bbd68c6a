r"""What is measured: this package's backends, code that one would write without them, and a lower bound for both.

All of them compute the loss with its default arguments: l2 distance, temperatures outside, all patches of the batch,
and float32 images. The three that are written here compute the mask in the textbook's form,
$|p_i|^2 + |p_j|^2 - 2 p_i \cdot p_j$, which cancels in float32: on photographs a patch can come out too far from
itself, and then the loss is infinite. That does not change their time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import dtype as Dtype
from torch.utils.checkpoint import checkpoint

from dec_kernels import dec_loss

THRESHOLD, T_POS, T_NEG = 34.0, 0.5, 1.5
RADIUS = 10 ** (-THRESHOLD / 20)


@dataclass(frozen=True)
class Competitor:
    """A way to compute the loss.

    Attributes:
        label: its name in tables and plots.
        ours: whether this package computes it.
        loss: (sr, hr, patch_size) -> scalar, with sr and hr (B, C, H, W); differentiable in sr.
    """

    label: str
    ours: bool
    loss: Callable[[Tensor, Tensor, int], Tensor]

    def step(self, sr: Tensor, hr: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
        """Forward and backward: the loss and dL/dsr, with the shape of `sr`, which must require a gradient."""
        loss = self.loss(sr, hr, patch_size)
        return loss.detach(), torch.autograd.grad(loss, sr)[0]

    def passes(self, sr: Tensor, hr: Tensor, patch_size: int) -> tuple[Callable[[], object], Callable[[], object]]:
        """Forward and backward as two calls, to be made in turn."""
        made: list[Tensor] = []
        return (
            lambda: made.append(self.loss(sr, hr, patch_size)),
            lambda: torch.autograd.grad(made.pop(), sr),
        )


def eager(sr: Tensor, hr: Tensor, patch_size: int, *, operands: Dtype = torch.float32) -> Tensor:
    """Eqs. 37-42 in n x n tensors.

    This is the fastest form, eager and compiled, among those that were tried: two exponentials or one sum; masks by
    `where`, product or difference; in place or not. S, A and what is computed from them have the dtype `operands`; the
    mask and the sums are float32.
    """
    z, h, p = unit_rows(sr, hr, patch_size, operands)
    return _ratios(z, h, p, z, p).log().mean().neg()


def compiled(
    sr: Tensor, hr: Tensor, patch_size: int, *, operands: Dtype = torch.float32, compiler: str = "inductor"
) -> Tensor:
    """`eager` under torch.compile, in its default mode."""
    return _compiled(compiler)(sr, hr, patch_size, operands=operands)


@cache
def _compiled(compiler: str) -> Callable[..., Tensor]:
    return torch.compile(eager, backend=compiler)  # here, because its imports take seconds


def chunked(sr: Tensor, hr: Tensor, patch_size: int, *, mib: int, operands: Dtype = torch.float32) -> Tensor:
    """`eager` in chunks of rows, whose similarities to all columns fill `mib` MiB of float32.

    The backward computes each chunk again instead of keeping it.
    """
    z, h, p = unit_rows(sr, hr, patch_size, operands)
    rows = max(1, mib * 2**20 // (4 * len(z)))
    chunks = zip(z.split(rows), h.split(rows), p.split(rows), strict=True)
    # Nothing in it is random, and a CUDA graph cannot capture how checkpoint saves a generator's state.
    again = partial(checkpoint, _ratios, use_reentrant=False, preserve_rng_state=False)
    ratios = [again(z_i, h_i, p_i, z, p) for z_i, h_i, p_i in chunks]
    return torch.cat(ratios).log().mean().neg()


def _ratios(z_i: Tensor, h_i: Tensor, p_i: Tensor, z: Tensor, p: Tensor) -> Tensor:
    """Qpos / Qneg of rows i, (b,), from their unit rows and HR rows, (b, D) each, against all, (n, D) each."""
    squared_distance = torch.addmm(p_i.square().sum(1)[:, None] + p.square().sum(1), p_i, p.T, alpha=-2)
    positive = squared_distance <= RADIUS**2
    e = torch.add((z_i @ z.T).exp_(), (h_i @ z.T).exp_(), alpha=2)
    qpos = e.masked_fill(~positive, 0).sum(1, dtype=torch.float32) / T_POS
    qneg = e.masked_fill(positive, 0).sum(1, dtype=torch.float32) / T_NEG
    return qpos / qneg


def unit_rows(sr: Tensor, hr: Tensor, patch_size: int, operands: Dtype) -> tuple[Tensor, Tensor, Tensor]:
    """z and h in the dtype `operands`, and the HR rows p in float32: (n, D) each."""
    q, p = _rows(sr, patch_size), _rows(hr, patch_size)
    return F.normalize(q).to(operands), F.normalize(p).to(operands), p


def _rows(images: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (n, C * patch_size^2)."""
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2).flatten(0, 1)


def ours(
    sr: Tensor, hr: Tensor, patch_size: int, *, backend: str, precision: str = "ieee", landmarks: int | None = None
) -> Tensor:
    """The loss by one of this package's backends."""
    return dec_loss(
        sr, hr, patch_size, THRESHOLD, T_POS, T_NEG, backend=backend, precision=precision, landmarks=landmarks
    )


LANDMARKS = 128
CHUNKS = (8, 16, 32, 64)  # MiB
COMPETITORS = {
    "cpp": Competitor("dec_kernels, C++", True, partial(ours, backend="cpp")),
    "cpp_landmarks": Competitor(
        f"dec_kernels, C++, {LANDMARKS} landmarks", True, partial(ours, backend="cpp", landmarks=LANDMARKS)
    ),
    "cpp_bf16": Competitor("dec_kernels, C++, bf16", True, partial(ours, backend="cpp", precision="bf16")),
    "torch": Competitor("dec_kernels, PyTorch", True, partial(ours, backend="torch")),
    "eager": Competitor("eager PyTorch", False, eager),
    "compile": Competitor("torch.compile", False, compiled),
    **{f"chunked_{mib}": Competitor(f"{mib} MiB checkpoints", False, partial(chunked, mib=mib)) for mib in CHUNKS},
}

TILES = (256, 512, 1024)
# The matrix products of a forward and a backward: S and A, again S and A, and two for the gradient. If one tile of the
# symmetric S serves two blocks, one of these six is saved.
PRODUCTS = {"products_six": (4, 2), "products_five": (3, 2)}


def tiled_products(n: int, dim: int, similarities: int, gradients: int, tile: int) -> Callable[[], None]:
    """Only the matrix products, n * n * dim each, in tiles that stay in cache; nothing else is computed or kept."""
    rows = torch.randn(n, dim).split(tile)
    scratch, result = torch.empty(len(rows[0]) ** 2), torch.empty(n, dim).split(tile)

    def run() -> None:
        for i, left in enumerate(rows):
            for right in rows:
                weights = scratch[: len(left) * len(right)].view(len(left), len(right))
                for _ in range(similarities):
                    torch.mm(left, right.T, out=weights)
                for _ in range(gradients):
                    torch.mm(weights, right, out=result[i])

    return run
