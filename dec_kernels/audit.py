"""How far the loss as configured is from the exact loss on given images, measured on a sample of the rows in float64.

Each sampled row is compared with all columns, so an audit takes O(r n D) time for r rows, and memory for the images and
one block of columns. It computes Eqs. 37-42 from the pixels by itself and shares nothing with the backends.

**The sample.** In the gradient's norm a few rows can count for most: dL/dq has the factor 1 / |q|. So half of the
sample is drawn evenly from the rows and half in proportion to the squared norms that the audited gradient has in them.
Row k is drawn with the probability pi_k, and stands for 1 / pi_k rows in every mean.

**The exact gradient of a row** needs alpha_j and beta_j of every row j (see `dec_kernels.op`), that is, the sums of all
rows, and the exact ones would take O(n^2). Those of the sampled rows are exact. The others are the loss's own, and what
is wrong with them does not average out: an error of Qneg that all rows share is an error of every gradient. The sample
shows it, since the gradient is linear in beta:

    sum_j beta_j x_kj  =  sum_j b_j x_kj + sum_j (beta_j - b_j) x_kj
                       ~  sum_j b_j x_kj + sum_(j sampled) (beta_j - b_j) x_kj / pi_j          b: the loss's own beta

which is exact if every row is sampled. Otherwise it is off by about rms((beta_j - b_j) / beta_j) / sqrt(r), relative to
the sum, and by less in the gradient, from which the projection takes what the rows have in common. alpha_j matters to
the positives of row j alone. So there is nothing to extrapolate; the errors of Qpos say how far the loss's own are off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels import distributed
from dec_kernels.backends import Resolved
from dec_kernels.loss import checked, evaluate
from dec_kernels.op import gather_weights
from dec_kernels.reference import patch_rows, unit_rows
from dec_kernels.spec import Constants, Spec, integer

NORMAL = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
_BLOCK = 2**19  # pairs, or values of patches, at a time


class Spread(NamedTuple):
    """Errors of a sum over the columns, relative to the exact sum of the row.

    Attributes:
        rms: root of the mean square over all rows, as the sample estimates it.
        largest: the largest absolute value in the sample.
    """

    rms: float
    largest: float


class Estimate(NamedTuple):
    """What the sample says of all rows.

    Attributes:
        value: the estimate.
        low, high: the interval of 95 % around it; equal to `value` if every row was sampled.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Audit:
    """The errors of a loss as it is configured. `str()` shows them as a table.

    Attributes:
        backend: the name of the backend that ran.
        precision: the preset that it used.
        landmarks: how many landmarks it used; 0 if it computed every pair.
        rows: how many rows were computed exactly.
        patches: how many rows there are: those of this process.
        columns: how many columns each is compared with: with a process group, those of all ranks.
        qpos, qneg: relative errors of the sums of Eqs. 40 and 41.
        loss: the mean of all rows' terms (Eq. 42), as configured.
        loss_error: error of that mean, absolute.
        gradient_error: error of the gradient with respect to `sr`, relative in the 2-norm.
    """

    backend: str
    precision: str
    landmarks: int
    rows: int
    patches: int
    columns: int
    qpos: Spread
    qneg: Spread
    loss: float
    loss_error: Estimate
    gradient_error: Estimate

    def __str__(self) -> str:
        landmarks = f"{self.landmarks} landmarks" if self.landmarks else "every pair"
        lines = [
            f"{self.backend}, {self.precision}, {landmarks}: errors on {self.rows} of {self.patches} rows, each "
            f"compared with {self.columns} columns",
            f"  {'':22}{'error':>9}",
        ]
        for name, spread in (("Qpos, relative", self.qpos), ("Qneg, relative", self.qneg)):
            lines.append(f"  {name:22}{spread.rms:9.1e}  rms, the largest in the sample {spread.largest:.1e}")
        for name, estimate in (("loss, absolute", self.loss_error), ("gradient, relative", self.gradient_error)):
            low, high = f"{estimate.low:.1e}", f"{estimate.high:.1e}"
            lines.append(f"  {name:22}{estimate.value:9.1e}  {low} to {high} (95 %)")
        return "\n".join(lines)


@torch.inference_mode(False)
@torch.no_grad()
def audit(sr: Tensor, hr: Tensor, spec: Spec, group: str, rows: int = 256, seed: int = 0) -> Audit:
    """Audits the loss that `spec` describes; documented at `dec_kernels.DECLoss.audit`.

    Args:
        sr, hr, rows, seed: as there.
        spec: the arguments of the loss. Its `reduction` and `loss_weight` make no difference.
        group: the name of the process group; `dec_kernels.distributed.ALONE` for a process by itself.
    """
    call = _called(sr, hr, spec, group, rows, seed)
    sample = call.sample
    true = _exact(call)
    sums, losses = call.sums[:, sample.drawn], call.losses[sample.drawn]
    qpos, qneg = torch.where(sums == true.sums, 0, sums / true.sums - 1)
    loss_errors = losses - _losses(true.sums)
    return Audit(
        backend=call.run.backend,
        precision=call.run.precision,
        landmarks=call.constants.landmarks,
        rows=len(sample.drawn),
        patches=len(call.losses),
        columns=true.pairs.compared,
        qpos=sample.spread(qpos),
        qneg=sample.spread(qneg),
        loss=call.losses.mean().item(),
        loss_error=sample.estimate(
            sample.mean(loss_errors), (loss_errors - sample.mean(loss_errors)) / len(call.losses)
        ),
        gradient_error=_gradient_error(call.gradients - true.gradients, true, true.missing, sample),
    )


@torch.inference_mode(False)
@torch.no_grad()
def bf16_error(sr: Tensor, hr: Tensor, spec: Spec, rows: int = 256, seed: int = 0) -> Estimate:
    """`Audit.gradient_error` of a loss that rounds z and h to bfloat16 and computes everything else in float64.

    These are the operands that the preset "bf16" may round. What else a device rounds with it, or whether it rounds at
    all where that saves no time, is its own affair. Arguments as for `audit`.
    """
    call = _called(sr, hr, spec, distributed.ALONE, rows, seed)
    true, rounded = _exact(call), _exact(call, torch.bfloat16)
    missing = true.missing - rounded.missing
    return _gradient_error(rounded.gradients - true.gradients, true, missing, call.sample)


class _Call(NamedTuple):
    """The loss and its gradient as configured, in float64.

    Attributes:
        losses, sums: of all rows, (n,) and (2, n).
        sample: the rows that are to be compared.
        gradients: dL/dq of these, (r, D).
        sr, hr, constants, run: as in `dec_kernels.loss.Evaluated`.
        spec, group: what was called.
    """

    losses: Tensor
    sums: Tensor
    sample: _Sample
    gradients: Tensor
    sr: Tensor
    hr: Tensor
    constants: Constants
    run: Resolved
    spec: Spec
    group: str


def _called(sr: Tensor, hr: Tensor, spec: Spec, group: str, rows: int, seed: int) -> _Call:
    with distributed.announcing(group):
        rows, seed = integer("rows", rows), integer("seed", seed)
        if rows < 2:
            raise ValueError(f"rows must be at least 2, got {rows}")
        checked(sr, hr, spec)
    with torch.enable_grad():
        leaf = sr.detach().clone().requires_grad_()
        call = evaluate(leaf, hr, spec, group)
        # Of the sum, and not of the mean: float16 has room for it.
        gradient = torch.autograd.grad(call.losses.sum(), leaf)[0]
    gradients = patch_rows(gradient, spec.patch_size).flatten(0, 1)
    sample = _drawn(gradients.double().square().sum(1), rows, seed)
    return _Call(
        call.losses.double(), call.sums.double(), sample, gradients[sample.drawn].double(), call.sr, call.hr,
        call.constants, call.run, spec, group,
    )  # fmt: skip


class _Exactly(NamedTuple):
    """The sampled rows, computed in float64.

    Attributes:
        pairs: what they were computed from.
        sums: Qpos and Qneg, (2, r).
        gradients: dL/dq, (r, D).
        missing: exact beta - the loss's own, (r,).
    """

    pairs: _Pairs
    sums: Tensor
    gradients: Tensor
    missing: Tensor


def _exact(call: _Call, rounded: torch.dtype = torch.float64) -> _Exactly:
    """The sampled rows, with z and h rounded to a dtype."""
    sample, group = call.sample, call.group
    places = distributed.rank_in(group) * len(call.losses) + sample.drawn
    pairs = _Pairs(call.sr, call.hr, call.spec, call.constants, places, rounded)
    sums = pairs.sums()
    weights, exact_weights = _weights(call.sums), _weights(sums)
    missing = exact_weights - weights[:, sample.drawn]
    weights[0, sample.drawn] += missing[0]
    weights[1, sample.drawn] += missing[1] / sample.probability
    gradients = pairs.gradients(
        exact_weights, gather_weights(weights, group) if group != distributed.ALONE else weights
    )
    return _Exactly(pairs, sums, gradients, missing[1])


def _gradient_error(errors: Tensor, true: _Exactly, missing: Tensor, sample: _Sample) -> Estimate:
    """Of gradients with these errors, (r, D), relative in the 2-norm over all rows.

    `missing`, (r,), is what was extrapolated from the sampled betas, in the exact gradients less in the others.
    """
    squares, true_squares = errors.square().sum(1), true.gradients.square().sum(1)
    total = sample.sum(true_squares)
    square = sample.sum(squares) / total if total else total
    # The estimate depends on the sampled rows by their own errors, and by their betas in the gradients of all.
    through_beta = true.pairs.influence(-2 * (errors + square * true.gradients) / sample.probability[:, None])
    deviations = squares - square * true_squares + missing * through_beta
    estimate = sample.estimate(square, deviations / (total or 1))
    return Estimate(*(value if math.isnan(value) else math.sqrt(max(0.0, value)) for value in estimate))


class _Sample(NamedTuple):
    """Which rows were drawn.

    Attributes:
        drawn: (r,) int64, ascending, in image order.
        probability: of each to be drawn, (r,) float64.
    """

    drawn: Tensor
    probability: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """An estimate of the sum over all rows of values that the sampled ones have, (r,)."""
        return (values / self.probability).sum()

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.sum(torch.ones_like(values))

    def spread(self, values: Tensor) -> Spread:
        return Spread(self.mean(values.square()).sqrt().item(), values.abs().max().item())

    def estimate(self, value: Tensor, deviations: Tensor) -> Estimate:
        """`value` with its interval, if it depends on the sample as `sum(deviations)` does, to first order.

        The variance is Deville's (1999) for samples of unequal probabilities. It is zero where every row is sampled.
        """
        deviations, others = deviations / self.probability, 1 - self.probability
        mean = (others * deviations).sum() / (others.sum() or 1)
        r = len(deviations)
        variance = r / max(1, r - 1) * (others * (deviations - mean).square()).sum()
        half = NORMAL * variance.sqrt()
        return Estimate(value.item(), (value - half).item(), (value + half).item())


def _drawn(squares: Tensor, rows: int, seed: int) -> _Sample:
    """`rows` of the rows whose gradients have these squared norms, (n,): a randomized systematic sample."""
    n, device = len(squares), squares.device
    if rows >= n:
        return _Sample(torch.arange(n, device=device), torch.ones_like(squares))
    squares = squares.cpu()  # where cumulative sums are deterministic
    total = squares.sum()
    sizes = (squares / total if 0 < total < math.inf else torch.zeros_like(squares)) + 1 / n
    probability = rows * sizes / sizes.sum()
    while (probability > 1).any():
        certain = probability >= 1
        others = (rows - certain.sum()) * sizes / sizes[~certain].sum()
        probability = torch.where(certain, 1, others)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    start = torch.rand((), generator=generator, dtype=torch.float64).item()
    # Laid end to end, the probabilities of the rows reach past each point start, start + 1, ... once.
    passed = (probability[order].cumsum(0) + 1 - start).floor()
    index = order[passed.diff(prepend=passed.new_zeros(1)) > 0].sort().values
    return _Sample(index.to(device), probability[index].to(device))


class Rows(NamedTuple):
    """Patches of images, r of them, in float64.

    Attributes:
        place: (r,) int64: which column each is.
        q, p: SR and HR rows, (r, D).
        z, h: as they are compared, `dec_kernels.reference.unit_rows`; rounded where that is asked for.
    """

    place: Tensor
    q: Tensor
    p: Tensor
    z: Tensor
    h: Tensor

    @classmethod
    def of(
        cls,
        place: Tensor,
        q: Tensor,
        p: Tensor,
        patch_size: int,
        constants: Constants,
        rounded: torch.dtype = torch.float64,
    ) -> Rows:
        """SR rows q and HR rows p, (r, D) each, of any float dtype; z and h are rounded to `rounded`."""
        q, p = q.double(), p.double()
        return cls(place, q, p, *(unit_rows(x, patch_size, constants).to(rounded).double() for x in (q, p)))


class _Pairs:
    """The sampled rows, and what they sum up over all columns.

    Args:
        sr, hr: images of all columns, (N, C, H, W) each.
        spec, constants: of the loss.
        places: (r,) int64, ascending: which columns are sampled rows.
        rounded: what z and h are rounded to.
    """

    def __init__(
        self, sr: Tensor, hr: Tensor, spec: Spec, constants: Constants, places: Tensor, rounded: torch.dtype
    ) -> None:
        self._images, self._patch_size, self._rounded = (sr, hr), spec.patch_size, rounded
        self._constants, self._temperatures = constants, (constants.t_pos, constants.t_neg)
        self._per_image = (sr.shape[2] // spec.patch_size) * (sr.shape[3] // spec.patch_size)
        self.compared = self._per_image * (1 if spec.scope == "image" else len(sr))
        self._block = max(1, _BLOCK // max(len(places), sr.shape[1] * spec.patch_size**2))
        picked = [
            (q[inside], p[inside]) for place, q, p in self._blocks() if (inside := torch.isin(place, places)).any()
        ]
        q, p = (torch.cat(side) for side in zip(*picked, strict=True))
        self._rows = Rows.of(places, q, p, spec.patch_size, constants, rounded)

    def sums(self) -> Tensor:
        """Qpos and Qneg, (2, r) float64."""
        rows = self._rows
        sums = rows.z.new_zeros(2, len(rows.z))
        for columns, masks in self._columns():
            for of, factor in ((rows.z, 1), (rows.h, 2)):
                similarity = of @ columns.z.T
                for total, mask, t in zip(sums, masks, self._temperatures, strict=True):
                    total += factor * torch.where(mask, self._kernel(similarity, t), 0).sum(1)
        return sums if self._constants.inside else sums / sums.new_tensor(self._temperatures)[:, None]

    def gradients(self, weights: Tensor, column_weights: Tensor) -> Tensor:
        """dL/dq, (r, D) float64, given alpha and beta of the rows, (2, r), and of the columns, (2, N)."""
        gradients = torch.zeros_like(self._rows.z)
        for columns, masks in self._columns():
            gradients += self._part(weights, columns, masks, column_weights[:, columns.place])
        return gradients

    def influence(self, weights: Tensor) -> Tensor:
        """sum_k weights_k . d(dL/dq_k) / dbeta_j, (r,), for weights (r, D) and the betas of the sampled columns j."""
        found = []
        for some in zip(*(values.split(self._block) for values in self._rows), strict=True):
            columns = Rows(*some)
            with torch.enable_grad():
                theirs = columns.z.new_zeros(2, len(columns.z), requires_grad=True)
                part = self._part(weights.new_zeros(2, len(weights)), columns, self._masks(columns), theirs)
            found.append(torch.autograd.grad(part, theirs, weights)[0][1])
        return torch.cat(found)

    def _part(self, weights: Tensor, columns: Rows, masks: tuple[Tensor, Tensor], theirs: Tensor) -> Tensor:
        """What some columns contribute to `gradients`, given alpha and beta of the rows and of these columns."""
        rows = self._rows
        dz = torch.zeros_like(rows.z)
        # Row k has S_kj in its own sums and in those of row j, A_jk in those of row j alone.
        for of, factor, ours in ((columns.z, 1, weights), (columns.h, 2, torch.zeros_like(weights))):
            similarity = rows.z @ of.T
            for mask, t, mine, their in zip(masks, self._temperatures, ours, theirs, strict=True):
                slope = factor * self._kernel(similarity, t) / t
                dz = dz + torch.where(mask, (mine[:, None] + their) * slope, 0) @ of
        q = rows.q.detach().requires_grad_()
        with torch.enable_grad():
            z = unit_rows(q, self._patch_size, self._constants)
        return torch.autograd.grad(z, q, dz, create_graph=dz.requires_grad)[0]

    def _kernel(self, similarity: Tensor, t: float) -> Tensor:
        return (similarity / t if self._constants.inside else similarity).exp()

    def _columns(self) -> Iterator[tuple[Rows, tuple[Tensor, Tensor]]]:
        """Blocks of columns, and which of them are positives and which negatives of the rows, (r, b) bool each."""
        for block in self._blocks():
            columns = Rows.of(*block, self._patch_size, self._constants, self._rounded)
            yield columns, self._masks(columns)

    def _masks(self, columns: Rows) -> tuple[Tensor, Tensor]:
        compared = self._rows.place[:, None] // self.compared == columns.place // self.compared
        positive = positives(self._rows, columns, self._constants.radius)
        return compared & positive, compared & ~positive

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All columns in blocks: which they are, and SR and HR patches, (b, D) each, in the images' dtype."""
        places = torch.arange(len(self._images[0]) * self._per_image, device=self._images[0].device)
        images = max(1, self._block // self._per_image)
        for some, sr, hr in zip(
            places.split(images * self._per_image), *(side.split(images) for side in self._images), strict=True
        ):
            rows = [patch_rows(side, self._patch_size).flatten(0, 1) for side in (sr, hr)]
            yield from zip(*(values.split(self._block) for values in (some, *rows)), strict=True)


def positives(rows: Rows, columns: Rows, radius: float) -> Tensor:
    """Eq. 37, (r, b) bool: the mask of the differences of the pixels, in less time."""
    squares = rows.p.square().sum(1)[:, None] + columns.p.square().sum(1)
    beyond = squares - 2 * rows.p @ columns.p.T - radius * radius
    positive = beyond <= 0
    # A sum of D products is off by at most D eps times the sum of their absolute values.
    margin = 4 * (rows.p.shape[1] + 2) * torch.finfo(torch.float64).eps * (squares + radius * radius)
    if len(unsure := (~(beyond.abs() > margin)).any(1).nonzero()[:, 0]):
        distance = torch.cdist(rows.p[unsure], columns.p, compute_mode="donot_use_mm_for_euclid_dist")
        positive[unsure] = distance <= radius
    return positive


def _losses(sums: Tensor) -> Tensor:
    """-log(Qpos / Qneg) of each row; 0 without positives or without negatives."""
    qpos, qneg = sums
    return torch.where((qpos != 0) & (qneg != 0), qneg.log() - qpos.log(), 0)


def _weights(sums: Tensor) -> Tensor:
    """alpha = dL/dQpos and beta = dL/dQneg of each row, (2, r), L being the sum of the terms."""
    qpos, qneg = sums
    return torch.where((qpos != 0) & (qneg != 0), torch.stack([-1 / qpos, 1 / qneg]), 0)
