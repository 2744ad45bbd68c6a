"""Training crops: an endless stream of samples, and who reads which of them when.

PyTorch's samplers draw from the random state of a process, which no checkpoint holds for each worker. Here a sample is
a function of the seed and its number, so that a resumed or distributed run sees the same data, and there is no state to
keep.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dec_kernels.images import UnreadableImageError
from dec_kernels.trainer.data.degradation.base import sample_stream
from dec_kernels.trainer.data.pairs import ImagePairs
from dec_kernels.trainer.pixels import to_float


class TrainingBatch(TypedDict):
    """What a training step receives: lr (B, 3, h, w) and hr (B, 3, scale * h, scale * w), float32 in [0, 1]."""

    lr: Tensor
    hr: Tensor


class RandomCrops(Dataset[TrainingBatch]):
    """An endless, reproducible stream of training crops.

    Sample k (which photograph, where, how degraded, mirrored and transposed or not) is a function of (seed, k) alone,
    neither of the samples drawn before it nor of who draws it: any number of workers, processes or resumed runs see the
    same data.

    Args:
        pairs: the photographs, each with a high-resolution side of at least `crop_size`.
        crop_size: height and width of a high-resolution crop, a multiple of the pairs' scale.
        seed: at least 0.
        skip_unreadable: instead of raising an error at a photograph whose file turns out to be broken, warn, and draw
            photograph and place again: the next numbers of sample k's own stream, so that it still depends on nothing
            but (seed, k).
    """

    def __init__(self, pairs: ImagePairs, crop_size: int, seed: int, skip_unreadable: bool = False) -> None:
        self.pairs = pairs
        self.size = crop_size // pairs.scale
        self.seed = seed
        self.skip_unreadable = skip_unreadable
        self._unreadable: set[int] = set()

    def __getitem__(self, k: int) -> TrainingBatch:
        rng = sample_stream(self.seed, k)
        crop = None
        while crop is None:
            index = int(rng.integers(len(self.pairs)))
            top, left = (int(rng.integers(size - self.size + 1)) for size in self.pairs.sizes[index])
            crop = self._read(index, top, left, rng)
        flips = [dim for dim in (1, 2) if rng.integers(2)]
        transpose = bool(rng.integers(2))

        def turn(image: Tensor) -> Tensor:
            view = to_float(image).flip(flips)
            return view.mT if transpose else view

        hr, lr = crop
        return {"lr": turn(lr), "hr": turn(hr)}

    def _read(self, index: int, top: int, left: int, rng: np.random.Generator) -> tuple[Tensor, Tensor] | None:
        if index in self._unreadable:
            return None
        try:
            return self.pairs.crop(index, top, left, self.size, self.size, rng)
        except UnreadableImageError as error:
            self._unreadable.add(index)
            if not self.skip_unreadable or len(self._unreadable) == len(self.pairs):
                raise
            warnings.warn(f"left out of the training: {error}", stacklevel=2)
            return None


class CropSampler(Sampler[int]):
    """The numbers of the samples that one of several processes draws in an epoch, going on counting between epochs.

    Batch b of a training with W processes and B samples for each is samples b * B * W to (b + 1) * B * W - 1; the
    process of rank r takes the r-th B of them. So W processes see what one process with batches of B * W sees.

    Args:
        batch_size: B.
        batches_per_epoch: all of them full.
        rank: r.
        world_size: W.
        progress: batches that the training has behind it, in all and in this epoch, asked when an iteration begins: the
            iteration goes on from there.
    """

    def __init__(
        self,
        batch_size: int,
        batches_per_epoch: int,
        rank: int = 0,
        world_size: int = 1,
        progress: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.rank = rank
        self.world_size = world_size
        self.progress = progress

    def __len__(self) -> int:
        return self.batch_size * self.batches_per_epoch

    def __iter__(self) -> Iterator[int]:
        in_all, in_epoch = self.progress()
        for batch in range(in_all, in_all + self.batches_per_epoch - in_epoch):
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)


class CropLoader(DataLoader[TrainingBatch]):
    """A loader that a resumed training may go on with in the middle of an epoch.

    Lightning makes the loader's iterator, and with it workers that read ahead, before it has settled at which batch of
    which epoch to go on. This one waits until the first batch is asked for, so that its sampler finds the truth.
    """

    def __iter__(self) -> Iterator[TrainingBatch]:  # type: ignore[override]
        yield from super().__iter__()

    # Lightning takes loaders that have these two for resumable. All there is to keep is its own count of batches.
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
