"""Images in, training crops out.

A source of images is a string: an image file, a folder (searched at any depth), or ``skimage:NAME`` for one of the
photographs that scikit-image ships, for which nothing is downloaded. Low-resolution images are made from the whole
high-resolution ones by MATLAB's bicubic and rounded to 8 bits, as in the benchmarks' files, so that a crop's border is
computed from the pixels that really lie beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import skimage
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dec_kernels.trainer.metrics import to_float, to_uint8
from dec_kernels.trainer.resize import imresize

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_SKIMAGE = "skimage:"
_SKIMAGE_FOLDER = Path(skimage.__file__).parent / "data"


class Pair(NamedTuple):
    """A photograph at both resolutions: hr (3, scale * h, scale * w) and lr (3, h, w), uint8."""

    name: str
    hr: Tensor
    lr: Tensor


class Batch(TypedDict):
    """What a step receives: lr (B, 3, h, w) and hr (B, 3, scale * h, scale * w), float32 in [0, 1]."""

    lr: Tensor
    hr: Tensor


def find_images(source: str) -> list[Path]:
    """The image files that a source names, sorted.

    Raises:
        FileNotFoundError: there is no such file, folder or shipped photograph, or the folder holds no image.
    """
    if source.startswith(_SKIMAGE):
        name = source.removeprefix(_SKIMAGE)
        found = [path for path in _images_in(_SKIMAGE_FOLDER) if path.stem == name]
        if not found:
            shipped = ", ".join(path.stem for path in _images_in(_SKIMAGE_FOLDER))
            raise FileNotFoundError(f"scikit-image ships no image {name!r}; it ships {shipped}")
        return found
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"no file or folder {source!r} (a photograph of scikit-image is written {_SKIMAGE}NAME)"
        )
    found = _images_in(path)
    if not found:
        raise FileNotFoundError(f"folder {source!r} holds no image; looked for {', '.join(SUFFIXES)}")
    return found


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read_image(path: Path) -> Tensor:
    """An image file as (3, H, W) uint8 RGB.

    Raises:
        ValueError: Pillow cannot read the file; the message names it.
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"cannot read {path} as an image: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def make_pair(name: str, image: Tensor, scale: int) -> Pair:
    """Crop (3, H, W) uint8 at the bottom and right to multiples of ``scale``, and make its low-resolution image."""
    height, width = (size // scale * scale for size in image.shape[-2:])
    if not (height and width):
        raise ValueError(f"{name} has {image.shape[-2]} x {image.shape[-1]} pixels: too small for scale {scale}")
    hr = image[:, :height, :width].contiguous()
    return Pair(name, hr, to_uint8(imresize(to_float(hr), 1 / scale)))


def load_pairs(sources: Sequence[str], scale: int) -> list[Pair]:
    """Read every image of every source; 8-bit pixels of all of them stay in memory."""
    paths = [path for source in sources for path in find_images(source)]
    return [make_pair(path.stem, read_image(path), scale) for path in paths]


class RandomCrops(Dataset[Batch]):
    """An endless, reproducible stream of training crops.

    Sample k (which photograph, where, mirrored and transposed or not) is a function of (seed, k) alone, neither of the
    samples drawn before it nor of who draws it: any number of workers, processes or resumed runs see the same data.

    Args:
        pairs: the photographs, each with a high-resolution side of at least ``crop_size``.
        crop_size: height and width of a high-resolution crop, a multiple of the pairs' scale.
        seed: at least 0.
    """

    def __init__(self, pairs: Sequence[Pair], crop_size: int, seed: int) -> None:
        self.pairs = pairs
        self.scale = pairs[0].hr.shape[-1] // pairs[0].lr.shape[-1]
        self.size = crop_size // self.scale
        self.seed = seed
        for pair in pairs:
            if min(pair.hr.shape[-2:]) < crop_size:
                size = " x ".join(str(n) for n in pair.hr.shape[-2:])
                raise ValueError(f"crop_size is {crop_size}, but {pair.name} has only {size} pixels")

    def __getitem__(self, k: int) -> Batch:
        # Philox is a counter-based generator: k as its counter's highest word starts an independent stream.
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, k]))
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        top, left = (int(rng.integers(size - self.size + 1)) for size in pair.lr.shape[-2:])
        flips = [dim for dim in (1, 2) if rng.integers(2)]
        transpose = bool(rng.integers(2))

        def crop(image: Tensor, scale: int) -> Tensor:
            rows = slice(top * scale, (top + self.size) * scale)
            columns = slice(left * scale, (left + self.size) * scale)
            view = image[:, rows, columns].flip(flips)
            return to_float(view.mT if transpose else view)

        return {"lr": crop(pair.lr, 1), "hr": crop(pair.hr, self.scale)}


class EpochCounter(Sampler[int]):
    """Sample numbers that go on counting from epoch to epoch; Lightning tells the epoch by ``set_epoch``."""

    def __init__(self, samples_per_epoch: int) -> None:
        self.samples_per_epoch = samples_per_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.samples_per_epoch
        return iter(range(start, start + self.samples_per_epoch))


class WholeImages(Dataset[Batch]):
    """Each photograph whole, in order."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Batch:
        pair = self.pairs[index]
        return {"lr": to_float(pair.lr), "hr": to_float(pair.hr)}


class SRDataModule(LightningDataModule):
    """Training crops, and whole images to validate and test on.

    Args:
        train: sources of the training images: files, folders, ``skimage:NAME``.
        val: sources of the images that training is watched on.
        test: sources of the images for ``dec-train test``.
        scale: high-resolution size / low-resolution size; the network's.
        crop_size: height and width of a high-resolution training crop, in pixels; a multiple of ``scale``.
        batch_size: training crops in a batch.
        batches_per_epoch: how many batches make an epoch; crops are random, so the data has no end of its own.
        seed: of the crops. Another stage of a training should take another seed.
        num_workers: processes that read ahead; 0 is right as long as the crops come from memory and cores are few.
    """

    def __init__(
        self,
        train: list[str],
        val: list[str],
        test: list[str] | None = None,
        scale: int = 4,
        crop_size: int = 128,
        batch_size: int = 32,
        batches_per_epoch: int = 1000,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, count in (
            ("scale", scale),
            ("crop_size", crop_size),
            ("batch_size", batch_size),
            ("batches_per_epoch", batches_per_epoch),
        ):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if crop_size % scale:
            raise ValueError(f"crop_size must be a multiple of scale {scale}, got {crop_size}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.sources = {"train": train, "val": val, "test": test or []}
        self.scale = scale
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.seed = seed
        self.num_workers = num_workers

    def setup(self, stage: str) -> None:
        """Read the images that ``stage`` needs."""
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
        self.pairs = {split: load_pairs(self.sources[split], self.scale) for split in splits}
        for split, pairs in self.pairs.items():
            if not pairs:
                raise ValueError(f"data.{split} names no image: give files, folders or {_SKIMAGE}NAME")

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(
            RandomCrops(self.pairs["train"], self.crop_size, self.seed),
            batch_size=self.batch_size,
            sampler=EpochCounter(self.batch_size * self.batches_per_epoch),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.accelerator.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(WholeImages(self.pairs["val"]))

    def test_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(WholeImages(self.pairs["test"]))
