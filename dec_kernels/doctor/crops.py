"""Pairs of any sizes -> one batch of crops, as a training step sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from dec_kernels.doctor.arguments import WHOLE
from dec_kernels.doctor.read import Pair, Source
from dec_kernels.spec import Spec

# For image files; saved tensors are batches already.
CROP, CROPS = (128, 128), 32


class Input(TypedDict):
    """What was read and what became of it.

    Attributes:
        pairs, pairs_used: that were found, and that crops come from.
        sizes: "H x W" -> number of pairs, as found.
        crop: (H, W) of the crops, pixels.
        patches, patch_values: n and D of the batch.
        notes: sentences on what was changed or left out, and on what looks odd.
    """

    pairs: int
    pairs_used: int
    sizes: dict[str, int]
    crops: int
    crop: tuple[int, int]
    patches: int
    patch_values: int
    notes: list[str]


class Batch(NamedTuple):
    """sr, hr: (B, C, H, W) float32."""

    sr: Tensor
    hr: Tensor
    facts: Input

    def to(self, device: torch.device) -> Batch:
        return self._replace(sr=self.sr.to(device), hr=self.hr.to(device))


def cut(source: Source, crop: tuple[int, int] | None, crops: int | None, seed: int, spec: Spec) -> Batch:
    """Crops of the pairs, taken from them in turn, no two of which overlap; deterministic in `seed`.

    Args:
        source: what was found.
        crop: (H, W) in pixels, `WHOLE` for whole images; None for the default, `CROP`, or whole saved tensors.
        crops: how many at most; None for the default, `CROPS`, or all saved tensors.
        seed: of the positions, and of the choice among more pairs than crops.
        spec: says what a patch is.

    Raises:
        ValueError: whole images of several sizes, or fewer than two patches to compare.
    """
    pairs, notes = source.pairs, list(source.notes)
    sizes = Counter(pair.size for pair in pairs)
    if crop is None:
        crop = WHOLE if source.saved else CROP
    if crops is None:
        crops = len(pairs) if source.saved else CROPS
    generator = torch.Generator().manual_seed(seed)

    used = pairs
    if len(pairs) > crops:
        used = [pairs[i] for i in sorted(torch.randperm(len(pairs), generator=generator)[:crops].tolist())]
        notes.append(f"{crops} of {len(pairs)} pairs were drawn, one crop of each (seed {seed}).")
    window = _window(crop, sizes, notes)
    counts = _in_turn([(p.size[0] // window[0]) * (p.size[1] // window[1]) for p in used], crops)
    cut_pairs = [
        both
        for pair, count in zip(used, counts, strict=True)
        for both in _crops(pair, window, count, generator)
    ]  # fmt: skip
    sr, hr = (torch.stack(side).contiguous() for side in zip(*cut_pairs, strict=True))
    notes += _leftover_notes(window, spec.patch_size) + _value_notes(sr, hr, spec.max_val)
    patches = patches_of(sr, spec.patch_size)
    compared = patches // (len(sr) if spec.scope == "image" else 1)
    if compared < 2:
        raise ValueError(
            f"the loss compares patches with each other, and patch_size={spec.patch_size} leaves {compared} of them "
            f"{'in each image' if spec.scope == 'image' else 'in all'}: {len(sr)} crops of {window[0]} x {window[1]}"
        )
    return Batch(
        sr,
        hr,
        {
            "pairs": len(pairs),
            "pairs_used": len(used),
            "sizes": {f"{height} x {width}": count for (height, width), count in sizes.items()},
            "crops": len(sr),
            "crop": window,
            "patches": patches,
            "patch_values": sr.shape[1] * spec.patch_size**2,
            "notes": notes,
        },
    )


def patches_of(images: Tensor, patch_size: int) -> int:
    """How many patches images (B, C, H, W) have."""
    return images.shape[0] * (images.shape[2] // patch_size) * (images.shape[3] // patch_size)


def window_of(sr: Tensor, hr: Tensor, patch_size: int, most: int) -> tuple[Tensor, Tensor]:
    """The first images of a batch, or a window of the first, with at most `most` patches; at least one."""
    height, width = (side // patch_size for side in sr.shape[2:])
    if height * width <= most:
        images = most // (height * width)
        return sr[:images], hr[:images]
    rows = min(height, int(most**0.5))
    columns = min(width, most // rows)
    inside = (slice(1), slice(None), slice(rows * patch_size), slice(columns * patch_size))
    return sr[inside], hr[inside]


def _window(crop: tuple[int, int], sizes: Counter[tuple[int, int]], notes: list[str]) -> tuple[int, int]:
    if crop == WHOLE:
        if len(sizes) > 1:
            listed = ", ".join(f"{height} x {width}" for height, width in sizes)
            raise ValueError(f"crop=whole takes images of one size, got {listed} (H x W)")
        return next(iter(sizes))
    height, width = (min(wanted, *(size[axis] for size in sizes)) for axis, wanted in enumerate(crop))
    if (height, width) != crop:
        notes.append(f"Crops are {height} x {width} instead of {crop[0]} x {crop[1]}: the smallest image has no more.")
    return height, width


def _in_turn(room: list[int], total: int) -> list[int]:
    """How many of `total` go to each, one at a time in turn, to none more than it has room for."""
    counts = [0] * len(room)
    while sum(counts) < min(total, sum(room)):
        for index, limit in enumerate(room):
            if counts[index] < limit and sum(counts) < total:
                counts[index] += 1
    return counts


def _crops(
    pair: Pair, window: tuple[int, int], count: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """`count` cells of a grid of windows that is moved at random within the image, cells drawn at random."""
    sr, hr = pair.load()
    cells = [side // step for side, step in zip(pair.size, window, strict=True)]
    slack = [side % step for side, step in zip(pair.size, window, strict=True)]
    top, left = (int(torch.randint(s + 1, (), generator=generator)) for s in slack)
    for cell in torch.randperm(cells[0] * cells[1], generator=generator)[:count].sort().values.tolist():
        y, x = top + cell // cells[1] * window[0], left + cell % cells[1] * window[1]
        inside = (slice(None), slice(y, y + window[0]), slice(x, x + window[1]))
        yield sr[inside], hr[inside]


def _leftover_notes(window: tuple[int, int], patch_size: int) -> list[str]:
    rows, columns = (side % patch_size for side in window)
    if not (rows or columns):
        return []
    return [
        f"Of each crop {rows} rows and {columns} columns of pixels are outside of all patches: "
        f"patch_size={patch_size} does not divide {window[0]} x {window[1]}."
    ]


def _value_notes(sr: Tensor, hr: Tensor, max_val: float) -> list[str]:
    notes = []
    for name, images in (("SR", sr), ("HR", hr)):
        low, high = images.min().item(), images.max().item()
        if low < 0 or high > max_val:
            notes.append(f"{name} has values from {low:.4g} to {high:.4g}, outside of [0, max_val={max_val:g}].")
    if hr.max().item() < max_val / 50:
        notes.append(f"No value of HR is above {hr.max().item():.3g}: is max_val={max_val:g} right?")
    if torch.equal(sr, hr):
        notes.append("SR and HR are identical in every pixel, so L1 and MSE have no gradient to compare with.")
    return notes
