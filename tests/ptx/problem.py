"""Rows for the kernels, launches by the names of their arguments, and what they have to come to, in float64."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.host import bits_of
from dec_kernels.backends.triton.tiles import Tile

RADIUS = 0.2
T_POS, T_NEG = 0.5, 1.5


@dataclass(frozen=True)
class Problem:
    """G groups of m columns, and r of each that are rows, in the order of their means; names as the kernels have them.

    Attributes:
        inside: whether the temperature is, so that positives have a ratio to be multiplied with.
    """

    precision: str
    inside: bool
    z: Tensor
    h: Tensor
    p: Tensor
    column_of_row: Tensor
    alpha: Tensor
    beta: Tensor

    @classmethod
    def random(cls, groups: int, m: int, r: int, dim: int, precision: str, inside: bool = False) -> "Problem":
        """Means rise steadily, and with a narrow band; most patches are near others, and some pairs on the radius."""
        generator = torch.Generator().manual_seed(m)
        mean = torch.linspace(0.1, 0.9, m).expand(groups, m)[..., None]
        pattern = 0.3 * torch.rand(groups, 3, dim, generator=generator)
        pattern = pattern - pattern.mean(-1, keepdim=True)
        kind = torch.randint(3, (groups, m, 1), generator=generator).expand(-1, -1, dim)
        p = mean + pattern.gather(1, kind) + 0.01 * torch.rand(groups, m, dim, generator=generator)
        # A float64 decides: float32 sums of squares cannot tell on which side of the radius these are.
        step = RADIUS / math.sqrt(dim) * torch.where(torch.arange(dim) % 2 == 0, 1, -1)
        p[:, 8::97] = (p[:, 7::97] + step)[:, : p[:, 8::97].shape[1]]
        p = p.gather(1, p.mean(-1).argsort(1)[..., None].expand(-1, -1, dim))
        q = p + 0.2 * torch.randn(p.shape, generator=generator)
        # Close to each other, so that most tiles of columns are far from a block of rows.
        among = min(r + r // 4, m - m // 3)
        own = torch.stack([torch.randperm(among, generator=generator)[:r].sort().values for _ in range(groups)])
        own += m // 3 + m * torch.arange(groups)[:, None]
        alpha, beta = torch.rand(2, groups, m, generator=generator)
        width, form = tiles.width_of(dim), tiles.shape_of(tiles.width_of(dim), precision, "sm_90")
        c = math.sqrt(math.log2(math.e) / (T_NEG if inside else 1))
        z, h = (_rounded(c * x / x.norm(dim=-1, keepdim=True), precision, form["ROUNDED"]) for x in (q, p))
        z, h = (torch.nn.functional.pad(x, (0, width - dim)) for x in (z, h))
        return cls(precision, inside, z, h, p, own, alpha, beta)

    @property
    def ratio(self) -> float:
        return T_NEG / T_POS if self.inside else 1.0

    @property
    def scale(self) -> float:
        return 1 / math.sqrt(math.log2(math.e) / (T_NEG if self.inside else 1))

    def of_rows(self, columns: Tensor) -> Tensor:
        return columns.flatten(0, 1)[self.column_of_row]

    def start(self, kernel: Any, plain: Tile, tile: Tile, splits: int, **outputs: Tensor) -> None:
        """Launches `kernel` in tiles of `tile`, where the other kernel of its direction has tiles of `plain`."""
        (groups, m, dim), r = self.p.shape, self.column_of_row.shape[1]
        shape = tiles.shape_of(self.z.shape[-1], self.precision, "sm_90")
        mean = self.p.double().mean(-1)
        square = (self.p - mean.float()[..., None]).square().sum(-1)
        width = RADIUS / math.sqrt(dim) * (1 + 1e-5) + 1e-6
        first, last = (torch.searchsorted(mean, self.of_rows(mean) + side, out_int32=True) for side in (-width, width))
        columns = {
            "z": self.z, "h": self.h, "p": self.p, "mean": mean.float(), "square": square,
            "alpha": self.alpha, "beta": self.beta,
        }  # fmt: skip
        arguments = columns | {f"row_{name}": self.of_rows(x) for name, x in columns.items()} | shape | outputs
        blocks = -(-r // tile.rows)
        arguments |= {
            "column_of_row": self.column_of_row, "first": first, "last": last, "r": r, "m": m, "blocks": blocks,
            "splits": splits, "D": dim,
            "limit_bits": bits_of(RADIUS**2), "positive_ratio": self.ratio, "scale": self.scale,
            "ROWS": plain.rows, "COLUMNS": plain.columns, "BAND_ROWS": tile.rows, "STRIP": tile.columns,
            "POLYNOMIAL": plain.polynomial and tiles.takes_polynomial(self.precision, self.inside),
        }  # fmt: skip
        shares = shape["CHUNKS"] // shape["OWNED"] if "OWNED" in kernel.arg_names else 1
        kernel[(groups * blocks * splits * shares,)](
            **{name: arguments[name] for name in kernel.arg_names},
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )  # fmt: skip

    def sums(self) -> tuple[Tensor, Tensor]:
        """Of exp S + 2 exp A over positives and over negatives, (G, r) each, of the operands as they are."""
        mask, s, a = self._similarities(self.of_rows(self.z), self.of_rows(self.h), self.z, self.z)
        e = torch.exp2(s) + 2 * torch.exp2(a)
        return torch.where(mask, e, 0).sum(-1), torch.where(mask, 0, e).sum(-1)

    def gradient(self) -> Tensor:
        """dL/dz, (G, r, D), of the operands as they are."""
        row_z = self.of_rows(self.z)
        mask, s, a = self._similarities(row_z, row_z, self.z, self.h)
        alpha, beta = self.alpha.double()[:, None], self.beta.double()[:, None]
        row_alpha, row_beta = self.of_rows(self.alpha).double(), self.of_rows(self.beta).double()
        weight = torch.where(mask, row_alpha[..., None] + alpha, row_beta[..., None] + beta) * torch.exp2(s)
        dz = weight @ self.z.double() + 2 * (torch.where(mask, alpha, beta) * torch.exp2(a)) @ self.h.double()
        return self.scale * dz[..., : self.p.shape[-1]]

    def _similarities(self, left_s: Tensor, left_a: Tensor, right_s: Tensor, right_a: Tensor) -> tuple[Tensor, ...]:
        p = self.p.double()
        mask = torch.cdist(self.of_rows(p), p, compute_mode="donot_use_mm_for_euclid_dist") <= RADIUS
        ratio = torch.where(mask, self.ratio, 1.0)
        return mask, left_s.double() @ right_s.double().mT * ratio, left_a.double() @ right_a.double().mT * ratio


def _rounded(x: Tensor, precision: str, bits: int) -> Tensor:
    """As the rows' kernels round what the products take."""
    if precision == "bf16":
        return x.bfloat16()
    if bits:
        return (x.contiguous().view(torch.int32) + (1 << bits - 1) & -(1 << bits)).view(torch.float32)
    return x
