"""Cuts pairs of images of any size into one batch of crops, as a training step gets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from dec_kernels.doctor.options import WHOLE
from dec_kernels.doctor.pairs import Pair, Source
from dec_kernels.spec import Spec

# Defaults for image files. Saved tensors are a batch already.
CROP, CROPS = (128, 128), 32


class Input(TypedDict):
    """What was read and how it was cut.

    Attributes:
        pairs: number of pairs that were found.
        pairs_used: number of pairs that were cut into crops.
        sizes: "H x W" of the images -> number of pairs.
        crops: number of crops.
        crop: (H, W) of the crops, in pixels.
        patches: n of the batch.
        patch_values: D of the batch.
        notes: sentences about what was changed or left out, and about unusual values.
    """

    pairs: int
    pairs_used: int
    sizes: dict[str, int]
    crops: int
    crop: tuple[int, int]
    patches: int
    patch_values: int
    notes: list[str]


class Crops(NamedTuple):
    """Crops at the same places of SR and HR images.

    Attributes:
        sr, hr: (B, C, H, W) float32, contiguous.
        facts: where they come from.
    """

    sr: Tensor
    hr: Tensor
    facts: Input

    def to(self, device: torch.device) -> Crops:
        """The same crops with both tensors on `device`."""
        return self._replace(sr=self.sr.to(device), hr=self.hr.to(device))


def cut(source: Source, crop: tuple[int, int] | None, crops: int | None, seed: int, spec: Spec) -> Crops:
    """Cuts crops that do not overlap, one from each pair in turn; deterministic in `seed`.

    Args:
        source: the pairs.
        crop: (H, W) in pixels, or `WHOLE` for whole images. None means `CROP` for image files and `WHOLE` for saved
            tensors.
        crops: the largest number of crops. None means `CROPS` for image files, all of them for saved tensors.
        seed: of the positions, and of the choice among the pairs if there are more pairs than crops.
        spec: the arguments of the loss: patch_size, scope and max_val are used.

    Raises:
        ValueError: whole images have several sizes, or there are fewer than two patches to compare.
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
        notes.append(f"{crops} of {len(pairs)} pairs were drawn at random, with one crop of each (seed {seed}).")
    window = _window(crop, sizes, notes)
    counts = _in_turn([(p.size[0] // window[0]) * (p.size[1] // window[1]) for p in used], crops)
    cuts = [cut for pair, count in zip(used, counts, strict=True) for cut in _cut(pair, window, count, generator)]
    sr, hr = (torch.stack(side).contiguous() for side in zip(*cuts, strict=True))
    notes += _leftover_notes(window, spec.patch_size) + _value_notes(sr, hr, spec.max_val)
    patches = patches_of(sr, spec.patch_size)
    compared = patches // (len(sr) if spec.scope == "image" else 1)
    if compared < 2:
        raise ValueError(
            f"the loss compares at least 2 patches with each other, but patch_size={spec.patch_size} leaves {compared} "
            f"{'in each image' if spec.scope == 'image' else 'in all'}, with {len(sr)} crops of {window[0]} x "
            f"{window[1]} pixels (H x W)"
        )
    return Crops(
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
    """The number of patches of images (B, C, H, W)."""
    return images.shape[0] * (images.shape[2] // patch_size) * (images.shape[3] // patch_size)


def window_of(sr: Tensor, hr: Tensor, patch_size: int, max_patches: int) -> tuple[Tensor, Tensor]:
    """The first images of a batch, or a window of the first image, with 1 to `max_patches` patches."""
    height, width = (side // patch_size for side in sr.shape[2:])
    if height * width <= max_patches:
        images = max_patches // (height * width)
        return sr[:images], hr[:images]
    rows = min(height, int(max_patches**0.5))
    columns = min(width, max_patches // rows)
    inside = (slice(1), slice(None), slice(rows * patch_size), slice(columns * patch_size))
    return sr[inside], hr[inside]


def _window(crop: tuple[int, int], sizes: Counter[tuple[int, int]], notes: list[str]) -> tuple[int, int]:
    if crop == WHOLE:
        if len(sizes) > 1:
            listed = ", ".join(f"{height} x {width}" for height, width in sizes)
            raise ValueError(f"--crop whole needs images of one size, got {listed} (H x W)")
        return next(iter(sizes))
    height, width = (min(wanted, *(size[axis] for size in sizes)) for axis, wanted in enumerate(crop))
    if (height, width) != crop:
        notes.append(
            f"Crops are {height} x {width} instead of {crop[0]} x {crop[1]}, as the smallest image is no larger."
        )
    return height, width


def _in_turn(room: list[int], total: int) -> list[int]:
    """Deals out `total` one at a time in turn, to each no more than its room."""
    counts = [0] * len(room)
    while sum(counts) < min(total, sum(room)):
        for index, limit in enumerate(room):
            if counts[index] < limit and sum(counts) < total:
                counts[index] += 1
    return counts


def _cut(
    pair: Pair, window: tuple[int, int], count: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """SR and HR in `count` random cells of a grid of windows, whose origin in the image is random."""
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
        f"No patch covers {rows} rows and {columns} columns of pixels of each crop, because patch_size={patch_size} "
        f"does not divide {window[0]} x {window[1]}."
    ]


def _value_notes(sr: Tensor, hr: Tensor, max_val: float) -> list[str]:
    notes = []
    for name, images in (("SR", sr), ("HR", hr)):
        low, high = images.min().item(), images.max().item()
        if low < 0 or high > max_val:
            notes.append(f"{name} has values from {low:.4g} to {high:.4g}, outside [0, max_val={max_val:g}].")
    if hr.max().item() < max_val / 50:
        notes.append(f"The largest value of HR is {hr.max().item():.3g}: check that max_val={max_val:g} is right.")
    if torch.equal(sr, hr):
        notes.append("SR and HR are identical, so L1 and MSE have no gradient to compare with.")
    return notes
