r"""The center-oriented problem of given images, and how far a network's outputs show it (section 3 of the paper).

The number for an output patch $\hat I$ of the HR patch $I_y$, whose group has the center c, is its place on the line
from one to the other:

$$t = \frac{(\hat I - I_y) \cdot (c - I_y)}{|c - I_y|^2}$$

It is 0 at the HR patch and 1 at the center. Beyond 1 the output is past the center, and below 0 it is sharper than the
HR patch. The output is nearer to the center than to its own HR patch just where $t > \frac12$. Errors that have nothing
to do with the center, such as noise, are orthogonal to the line on average and change nothing, unlike in a ratio of
distances.

The score of an image is the sum of the numerators over the sum of the denominators. Patches whose group has little
uncertainty, where there is nothing to smooth, then weigh little. And it is right for groups of any size: let the null
parts of a group be independent samples of a distribution with mean m. With the expectations of both sums, a network
whose outputs have the null part m scores 1 for each N >= 2, and one that returns the HR image scores 0. A network that
also sees what lies around the patch can tell more patches apart than the groups do, and scores between the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dec_kernels.coo.groups import LEVELS, Groups, measure
from dec_kernels.coo.linear import split
from dec_kernels.reference import patch_rows
from dec_kernels.spec import Spec, integer, real

MAX_THRESHOLD = 100.0  # dB; far above this the rounding of float64 would decide which LR patches are alike
MAX_SEED = 2**64 - 1  # of torch.Generator
INFORMATIVE = 0.5 / LEVELS  # of an HR patch and the center: nearer ones are the same in 8 bits


@dataclass(frozen=True, kw_only=True)
class Settings:
    r"""What patches are, and which of them form a group.

    Attributes:
        scale: high-resolution size / low-resolution size, at least 2.
        patch_size: P of the HR patches, a multiple of `scale`; None stands for 2 * `scale`, so that an LR patch has
            2 x 2 pixels, and an HR patch of scale 4 the 8 x 8 of the loss.
        threshold: PSNR in dB from which two LR patches cannot be told apart, 0 to 100.
        theta: $\Theta$, the number of patches from which a group is taken for a Gaussian, at least 2. The paper leaves
            it open.
        max_patches: if there are more, so many are drawn at random, and only these are measured and compared.
        seed: of the random samples of patches and of groups, 0 to 2**64 - 1.

    Raises:
        TypeError: one is no number, or no int where an int is wanted.
        ValueError: one is out of its range.
    """

    scale: int
    patch_size: int | None = None
    threshold: float = Spec.threshold
    theta: int = 30
    max_patches: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("scale", "patch_size", "theta", "max_patches", "seed"):
            if (value := getattr(self, name)) is not None or name != "patch_size":
                object.__setattr__(self, name, integer(name, value))
        object.__setattr__(self, "threshold", real("threshold", self.threshold))
        if self.scale < 2:
            raise ValueError(f"scale must be at least 2, since nothing is lost otherwise, got {self.scale}")
        if self.patch_size is not None and (self.patch_size < self.scale or self.patch_size % self.scale):
            raise ValueError(f"patch_size must be a multiple of scale {self.scale}, got {self.patch_size}")
        if not 0 <= self.threshold <= MAX_THRESHOLD:
            raise ValueError(f"threshold must be 0 to {MAX_THRESHOLD:g} dB, got {self.threshold}")
        if self.theta < 2:
            raise ValueError(f"theta must be at least 2, got {self.theta}")
        if self.max_patches < 1:
            raise ValueError(f"max_patches must be at least 1, got {self.max_patches}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be 0 to 2**64 - 1, got {self.seed}")

    @property
    def patch(self) -> int:
        """P."""
        return 2 * self.scale if self.patch_size is None else self.patch_size


@dataclass(frozen=True)
class OverSmoothing:
    r"""How near outputs are to the centers of their groups, compared with their HR patches: 0 at HR, 1 at the center.

    Patches that are the same as their center in 8 bits say nothing and are left out; all patches are that are alone in
    their group.

    Attributes:
        score: of all images together; NaN where all patches are left out.
        image_scores: of each image, (k,).
        nearer_center: of each image, the share of its patches that are nearer to the center than to HR, (k,).
        informative: of each image, the share of its patches that are not left out, (k,).
        place: t of each patch, (m,); NaN where it is left out.
        square_error: $|\hat I - I_y|^2$ of each patch, (m,).
    """

    score: float
    image_scores: Tensor
    nearer_center: Tensor
    informative: Tensor
    place: Tensor
    square_error: Tensor


@dataclass(frozen=True)
class CenterProblem:
    """The groups of the patches of HR images; `examine` makes it.

    Attributes:
        settings: what patches and groups are.
        shapes: (C, H, W) of each image, without what `examine` leaves out.
        index: which patches were measured, (m,) int64, ascending, counted through all images, each in rows of patches.
        hr: their pixels, (m, n) float64 in [0, 1], n = C * P * P.
        groups: their groups.
    """

    settings: Settings
    shapes: list[tuple[int, int, int]]
    index: Tensor
    hr: Tensor
    groups: Groups

    @property
    def image(self) -> Tensor:
        """Which image each patch is from, (m,) int64."""
        ends = torch.tensor([rows * columns for rows, columns in self.grids]).cumsum(0)
        return torch.searchsorted(ends, self.index, right=True)

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Rows and columns of patches of each image."""
        return [_grid(shape, self.settings.patch) for shape in self.shapes]

    def maps(self, values: Tensor) -> list[Tensor]:
        """Values of the patches, (m, ...), as pictures of the images, (rows, columns, ...), NaN where there is none."""
        counts = [rows * columns for rows, columns in self.grids]
        filled = values.new_full((sum(counts), *values.shape[1:]), math.nan)
        filled[self.index] = values
        parts = filled.split(counts)
        return [part.unflatten(0, grid) for part, grid in zip(parts, self.grids, strict=True)]

    def score(self, sr: Sequence[Tensor]) -> OverSmoothing:
        """Scores a network's outputs.

        Args:
            sr: an image for each HR image, of the kind and size that `examine` takes: the size of HR, or that
                cropped to multiples of the scale.

        Raises:
            TypeError, ValueError: as `examine`, or SR does not go with HR.
        """
        if len(sr) != len(self.shapes):
            raise ValueError(f"sr must hold an image for each of the {len(self.shapes)} HR images, got {len(sr)}")
        rows = []
        places = _per_image(self.index, self.grids)
        for i, (image, (channels, height, width), own) in enumerate(zip(sr, self.shapes, places, strict=True)):
            left_over = [got - wanted for got, wanted in zip(image.shape[1:], (height, width), strict=False)]
            if image.shape[:-2] != (channels,) or not all(0 <= more < self.settings.scale for more in left_over):
                raise ValueError(
                    f"sr[{i}] must be as large as its HR image, {(channels, height, width)}, got {tuple(image.shape)}"
                )
            rows.append(_patches(_pixels(f"sr[{i}]", image)[:, :height, :width], self.settings.patch)[own])
        return self._score(torch.cat(rows))

    def _score(self, sr: Tensor) -> OverSmoothing:
        error, to_center = sr - self.hr, self.groups.to_center
        along, square = (error * to_center).sum(1), to_center.square().sum(1)
        informative = square >= self.hr.shape[1] * INFORMATIVE**2
        along, square = along * informative, square * informative
        count = torch.zeros(len(self.shapes), dtype=torch.float64)
        sums = [
            count.index_add(0, self.image, each.double())
            for each in (along, square, along > square / 2, informative, torch.ones_like(along))
        ]
        return OverSmoothing(
            score=(along.sum() / square.sum()).item(),
            image_scores=sums[0] / sums[1],
            nearer_center=sums[2] / sums[3],
            informative=sums[3] / sums[4],
            place=along / square,
            square_error=error.square().sum(1),
        )


def examine(hr: Sequence[Tensor], scale: int, **settings: Any) -> CenterProblem:
    """Measures the groups of HR patches whose LR patches a model cannot tell apart (section 3).

    Each image is degraded as a whole (`dec_kernels.coo.linear`), then HR, null part and LR are cut into patches that do
    not overlap. Patches of all images are compared with each other.

    Args:
        hr: images (C, H, W) with the same C, floating-point in [0, 1], or uint8 or uint16, which are divided by their
            largest value. Their last H mod `scale` rows and W mod `scale` columns are left out, as in training, and
            then what is left over of whole patches.
        scale: high-resolution size / low-resolution size, at least 2.
        **settings: the others of `Settings`.

    Raises:
        TypeError: an image has another dtype, a setting another type, or there is no such setting.
        ValueError: a setting is out of its range, an image is smaller than a patch or holds NaN, or C differs.
    """
    chosen = Settings(scale=scale, **settings)
    patch_size = chosen.patch
    if not len(hr):
        raise ValueError("hr must hold at least one image, got none")
    shapes = [_shape(f"hr[{i}]", image, scale, patch_size) for i, image in enumerate(hr)]
    for i, shape in enumerate(shapes):
        if shape[0] != shapes[0][0]:
            raise ValueError(f"all images must have the same channels, got {shapes[0][0]} and {shape[0]} in hr[{i}]")
    grids = [_grid(shape, patch_size) for shape in shapes]
    shuffled = torch.randperm(sum(map(math.prod, grids)), generator=torch.Generator().manual_seed(chosen.seed))
    drawn = shuffled[: chosen.max_patches].sort().values
    rows = []
    for i, (image, (_, height, width), own) in enumerate(zip(hr, shapes, _per_image(drawn, grids), strict=True)):
        pixels = _pixels(f"hr[{i}]", image)[:, :height, :width]
        parts = split(pixels, scale)
        of_each = (pixels, patch_size), (parts.null, patch_size), (parts.low, patch_size // scale)
        rows.append([_patches(picture, size)[own] for picture, size in of_each])
    patches, null, low = (torch.cat(each) for each in zip(*rows, strict=True))
    groups = measure(low, null, threshold=chosen.threshold, theta=chosen.theta, seed=chosen.seed)
    return CenterProblem(chosen, shapes, drawn, patches, groups)


def over_smoothing(sr: Sequence[Tensor], hr: Sequence[Tensor], scale: int, **settings: Any) -> OverSmoothing:
    """How far a network's outputs are over-smoothed: `examine(hr, scale, **settings).score(sr)`.

    To score several networks, call `examine` once.

    Example:
        ```python
        import torch

        from dec_kernels.coo import over_smoothing

        hr = torch.rand(1, 3, 64, 64)  # B, C, H, W in [0, 1]
        print(over_smoothing(hr, hr, scale=4, threshold=10).score)  # 0.0: an output that is the HR image
        ```
    """
    return examine(hr, scale, **settings).score(sr)


def _shape(name: str, image: Tensor, scale: int, patch_size: int) -> tuple[int, int, int]:
    """(C, H, W), cropped to multiples of the scale."""
    if image.dim() != 3 or not image.numel():
        raise ValueError(f"{name} must be (C, H, W) and not empty, got shape {tuple(image.shape)}")
    channels, height, width = image.shape
    if min(height, width) < patch_size:
        least = f"{patch_size} x {patch_size}"
        raise ValueError(f"{name} must be at least as large as a patch, {least} (H x W), got {height} x {width}")
    return channels, height - height % scale, width - width % scale


def _pixels(name: str, image: Tensor) -> Tensor:
    """(C, H, W) float64."""
    if image.dtype in (torch.uint8, torch.uint16):
        return image.double() / torch.iinfo(image.dtype).max
    if not image.is_floating_point():
        raise TypeError(f"{name} must be floating-point, uint8 or uint16, got {image.dtype}")
    low, high = (value.item() for value in torch.aminmax(image))
    if not (low >= -1 and high <= 2):
        raise ValueError(
            f"{name} must hold values in [0, 1], give or take what an output overshoots, got {low:g} to {high:g}"
        )
    return image.detach().double()


def _grid(shape: tuple[int, ...], patch_size: int) -> tuple[int, int]:
    return shape[1] // patch_size, shape[2] // patch_size


def _per_image(index: Tensor, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Patches, counted through all images, as those of each image, counted in it."""
    ends = torch.tensor([0, *map(math.prod, grids)]).cumsum(0)
    places = torch.searchsorted(index, ends)
    return [index[places[i] : places[i + 1]] - ends[i] for i in range(len(grids))]


def _patches(image: Tensor, patch_size: int) -> Tensor:
    return patch_rows(image[None], patch_size)[0]
