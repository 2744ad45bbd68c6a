"""Training crops and whole images, for Lightning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypedDict

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dec_kernels.images import SUFFIXES, max_pixels, read_image, some_of
from dec_kernels.trainer.data.cache import DiskCache, MemoryCache, Reader
from dec_kernels.trainer.data.crops import CropLoader, CropSampler, RandomCrops
from dec_kernels.trainer.data.degradation.base import Degradation
from dec_kernels.trainer.data.pairs import Facts, ImagePairs, Pair, inspect
from dec_kernels.trainer.data.sources import MEAN, Photo, Source, find_photos
from dec_kernels.trainer.metrics import border_of
from dec_kernels.trainer.pixels import to_float
from dec_kernels.trainer.ranges import NonNegativeInt, PositiveInt, Scale, check_arguments

_LISTED = 10  # how many bad files a message names


class EvaluationBatch(TypedDict):
    """One whole image: lr (1, 3, h, w) and hr (1, 3, scale * h, scale * w), float32 in [0, 1], and its name."""

    lr: Tensor
    hr: Tensor
    name: list[str]


class WholeImages(Dataset[dict[str, Tensor | str]]):
    """Each photograph whole, in order."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        pair = self.pairs[index]
        return {"lr": to_float(pair.lr), "hr": to_float(pair.hr), "name": pair.name}


class SRDataModule(LightningDataModule):
    """Training crops, and whole images to validate and test on.

    A source of images is one of

    - an image file, or `skimage:NAME` for a photograph that scikit-image ships, for which nothing is downloaded;
    - a folder of high-resolution images, searched at any depth;
    - the folder of a known dataset: one that holds `DIV2K_train_HR` or `DIV2K_valid_HR`, `Flickr2K_HR`, or, as copies
      of the benchmarks do, `HR` or `GTmod12`; or, for scale 1, SIDD or GoPro as they are published or as HINet's
      authors and MPRNet's prepare them; or RealSR in version 3, or DRealSR's test part. Training takes its training
      part, validation and test its validation part, of GoPro its test part. If the low-resolution images for `scale`
      are there too, as `DIV2K_train_LR_bicubic/X4` is beside `DIV2K_train_HR`, they are used;
    - a mapping `{hr: FOLDER, lr: FOLDER}`. The partner of `hr`'s a/b.png is `lr`'s a/b or, for scale 4, a/bx4,
      with any suffix.

    A low-resolution image that has no file is made from the high-resolution one, by `degradation` or else by MATLAB's
    bicubic, rounded to its 8 or 16 bits; naming `DIV2K_train_HR` itself asks for that. `find_images` tells what files
    of a folder are read, and `read_image` how they become RGB. Images whose sides are not multiples of `scale` are
    cropped at the bottom and right.

    `pairs` holds, after `setup`, the photographs of each split as a sequence of `Pair`. Evaluation batches are
    `EvaluationBatch`; names are unique, see `find_photos`. Every process of a distributed evaluation sees all images.

    Args:
        train: sources of the training images.
        val: sources of the images that training is watched on.
        test: sources of the images for `dec-train test`.
        scale: high-resolution size / low-resolution size, 1 to 11; the network's.
        crop_size: height and width of a high-resolution training crop, in pixels; a multiple of `scale`.
        batch_size: training crops in a batch of one process.
        batches_per_epoch: how many batches make an epoch; crops are random, so the data has no end of its own.
        seed: of the crops and degradations, at least 0. Another stage of a training should take another seed.
        num_workers: processes that read training crops ahead; with `cache: memory` few are needed.
        bad_files: what to do about files that cannot be read, are too small, or have no partner or one of another size.
            "refuse" raises an error that names them, before the training if the header tells and at the first crop if
            not; "skip" warns, and goes on without them.
        cache: where the pixels of decoded images are kept. "memory": each process reads all images first, and keeps
            them, which for DIV2K is 7 GB and for Flickr2K 22 GB; its workers share them. "disk": in `cache_dir`, as
            large, written as images are first needed and shared by all processes and runs. "none": nowhere; each crop
            decodes its image anew.
        cache_dir: folder of the "disk" cache, made if need be; it may be deleted between runs.
        degradation: how the low-resolution images that have no file are made; None for MATLAB's bicubic. That of a
            training crop is a function of `seed` and the crop's number, that of an image to validate or test on a
            function of `seed` and the image's name.

    Raises:
        TypeError: `train`, `val` or `test` is not a list of sources, or `degradation` not a `Degradation`.
        ValueError: a number or a choice is out of its range.
    """

    def __init__(
        self,
        train: list[Source],
        val: list[Source],
        test: list[Source] | None = None,
        scale: Scale = 4,
        crop_size: PositiveInt = 128,
        batch_size: PositiveInt = 32,
        batches_per_epoch: PositiveInt = 1000,
        seed: NonNegativeInt = 0,
        num_workers: NonNegativeInt = 0,
        bad_files: Literal["refuse", "skip"] = "refuse",
        cache: Literal["memory", "disk", "none"] = "memory",
        cache_dir: str = "~/.cache/dec-kernels",
        degradation: Degradation | None = None,
    ) -> None:
        super().__init__()
        check_arguments(SRDataModule.__init__, locals())
        self.sources = {"train": train, "val": val, "test": test or []}
        for split, sources in self.sources.items():
            if not isinstance(sources, list) or not all(map(_is_source, sources)):
                raise TypeError(
                    f"{split} must be a list of sources, each a string or {{hr: FOLDER, lr: FOLDER}}, got {sources!r}"
                )
        if not isinstance(degradation, Degradation | None):
            raise TypeError(f"degradation must be a Degradation or None, got {degradation!r}")
        if crop_size % scale:
            raise ValueError(f"crop_size must be a multiple of scale {scale}, got {crop_size}")
        self.scale = scale
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.seed = seed
        self.num_workers = num_workers
        self.bad_files = bad_files
        self.cache = cache
        self.degradation = degradation
        self.pairs: dict[str, ImagePairs] = {}
        self._read: Reader = read_image
        if cache == "memory":
            self._read = MemoryCache()
        if cache == "disk":
            self._read = DiskCache(_in_home(cache_dir))

    def setup(self, stage: str) -> None:
        """Finds and checks the images that `stage` (fit, validate or test) needs.

        Training images are read here only if they are to stay in memory. The others are read here in any case, so that
        a broken one is found now rather than hours later.

        Raises:
            FileNotFoundError: a source is not there, or holds no image.
            ValueError: there are bad files and `bad_files` is "refuse", or no image is left; or, at scale 1, an image
                has neither a degraded file nor a degradation that makes one; or two images to
                evaluate on have one name, or one is called "mean"; or `DEC_KERNELS_MAX_PIXELS` is no number, or
                `trainer.overfit_batches` is set.
        """
        if self.trainer and self.trainer.overfit_batches > 0:  # type: ignore[attr-defined]
            raise ValueError(
                "trainer.overfit_batches cannot be used: crops are drawn at random and without an end, so that there "
                "are no batches to repeat. Name one or a few images in data.train to overfit to them"
            )
        for split in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]:
            if split not in self.pairs:
                self.pairs[split] = self._find(split)

    def _find(self, split: str) -> ImagePairs:
        max_pixels()  # a wrong one is to be said once, and not of each file
        photos, problems, passed_over = find_photos(self.sources[split], split, self.scale)
        if passed_over:
            rank_zero_info(f"data.{split} passes over {some_of(passed_over)}: only {', '.join(SUFFIXES)} are read")
        if self.scale == 1 and self.degradation is None:
            for photo in photos:
                if photo.lr is None:
                    raise ValueError(
                        f"data.{split}: at data.scale 1, the degraded image of {photo.hr} has to be a file (name the "
                        "folders as {hr: ..., lr: ...}), or data.degradation has to make it: there is neither"
                    )
        count = len(photos) + len(problems)
        # Metrics leave out a border, and SSIM compares 11 x 11 of the other pixels at a time.
        smallest = self.crop_size if split == "train" else 2 * border_of(self.scale) + 11
        facts: dict[Photo, Facts] = {}

        def check(photo: Photo) -> str | None:
            try:
                facts[photo] = inspect(photo, self.scale, smallest)
                if split != "train" or self.cache == "memory":
                    for path in (photo.hr, photo.lr):
                        if path is not None:
                            self._read(path)
            except ValueError as error:
                return str(error)
            return None

        with ThreadPoolExecutor() as pool:
            checked = dict(zip(photos, pool.map(check, photos), strict=True))
        problems += [problem for problem in checked.values() if problem is not None]
        if problems:
            self._report(split, problems, count)
        # A training image with a good header stays, whether it was read or not: samples do not depend on the cache.
        usable = [photo for photo in photos if photo in facts and (split == "train" or checked[photo] is None)]
        if not usable:
            raise ValueError(f"data.{split} has no image to use: give files, folders or skimage:NAME")
        if split != "train":
            _check_names(split, usable)
        if split == "train" and self.degradation and (kept := [photo.lr for photo in usable if photo.lr is not None]):
            rank_zero_warn(
                f"data.degradation leaves {some_of(kept)}, as they are: they lie beside the images of data.train. To "
                "degrade those images, name their folder itself"
            )
        _say_profiles(split, [facts[photo] for photo in usable])
        sizes = [facts[photo].size for photo in usable]
        return ImagePairs(usable, sizes, self.scale, self._read, self.degradation, self.seed)

    def _report(self, split: str, problems: Sequence[str], count: int) -> None:
        listed = "".join(f"\n  {problem}" for problem in problems[:_LISTED])
        more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        message = f"{len(problems)} of {count} images of data.{split} cannot be used:{listed}{more}"
        if self.bad_files == "refuse":
            raise ValueError(f"{message}\nwith data.bad_files: skip they would be left out")
        rank_zero_warn(f"{message}\nthey are left out")

    def train_dataloader(self) -> CropLoader:
        self._refuse_other_samplers()
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return CropLoader(
            RandomCrops(self.pairs["train"], self.crop_size, self.seed, skip_unreadable=self.bad_files == "skip"),
            batch_size=self.batch_size,
            sampler=CropSampler(self.batch_size, self.batches_per_epoch, rank, world_size, self._progress),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.accelerator.is_available(),
        )

    def val_dataloader(self) -> DataLoader[dict[str, Tensor | str]]:
        self._refuse_other_samplers()
        return DataLoader(WholeImages(self.pairs["val"]))

    def test_dataloader(self) -> DataLoader[dict[str, Tensor | str]]:
        self._refuse_other_samplers()
        return DataLoader(WholeImages(self.pairs["test"]))

    def _progress(self) -> tuple[int, int]:
        """Batches that the training, with the runs that it resumes, has behind it: in all and in this epoch."""
        if self.trainer is None:
            return 0, 0
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return progress.total.completed, progress.current.completed

    def _refuse_other_samplers(self) -> None:
        trainer = self.trainer
        if not trainer or trainer.world_size == 1:
            return
        if trainer._accelerator_connector.use_distributed_sampler:  # noqa: SLF001  Lightning tells it nowhere else
            raise ValueError(
                "the trainer of several processes must be made with use_distributed_sampler=False: the data module "
                "deals the training crops out itself, and Lightning would deal them out a second time"
            )


def _is_source(source: object) -> bool:
    if isinstance(source, dict):
        return source.keys() == {"hr", "lr"} and all(isinstance(folder, str) for folder in source.values())
    return isinstance(source, str)


def _say_profiles(split: str, facts: Sequence[Facts]) -> None:
    found = {path: name for each in facts for path, name in each.profiles.items()}
    if found:
        name = next(iter(found.values()))
        rank_zero_info(
            f"data.{split}: an ICC profile other than sRGB ({name}) in {some_of([*found])}; "
            "values are taken as they are stored"
        )


def _check_names(split: str, photos: Sequence[Photo]) -> None:
    for name, count in Counter(photo.name for photo in photos).items():
        if count > 1:
            files = ", ".join(str(photo.hr) for photo in photos if photo.name == name)
            raise ValueError(f"data.{split} has {count} images by the name {name!r}: {files}")
        if name == MEAN:
            (path,) = (photo.hr for photo in photos if photo.name == name)
            raise ValueError(f"data.{split} has an image called {name!r}, as tables call the mean: rename {path}")


def _in_home(cache_dir: str) -> Path:
    try:
        return Path(cache_dir).expanduser()
    except RuntimeError as error:
        raise ValueError(f"there is no home folder for cache_dir {cache_dir}: name another one") from error
