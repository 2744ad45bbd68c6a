"""What a config names as data: photographs, each a high-resolution file and, if there is one, its LR file."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from dec_kernels.images import SKIMAGE, find_images, list_images, printable


class PairFolders(TypedDict):
    """A folder of high-resolution images and one of their low-resolution images."""

    hr: str
    lr: str


Source = str | PairFolders

MEAN = "mean"
"""What tables call the mean over all images, so that no image can have the name."""


class Photo(NamedTuple):
    """The files of a photograph. Without `lr` the low-resolution image is to be made from `hr`."""

    name: str
    hr: Path
    lr: Path | None


class Part(NamedTuple):
    """Where a dataset keeps its images, relative to its folder: two folders, or two patterns of paths without suffix.

    In patterns, each `*` stands for a part of a file's or folder's name, in `lr` for the same as in `hr`.
    """

    hr: str
    lr: str

    def at(self, scale: int) -> Part:
        return Part(self.hr.format(scale=scale), self.lr.format(scale=scale))

    def is_in(self, folder: Path) -> bool:
        if "*" in self.hr:
            return next(folder.glob(f"{self.hr}.*"), None) is not None
        return (folder / self.hr).is_dir()


_EVERY = ("train", "val", "test")
_HELD_OUT = ("val", "test")
_DIV2K_TRAIN = Part("DIV2K_train_HR", "DIV2K_train_LR_bicubic/X{scale}")
_DIV2K_VALID = Part("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X{scale}")
# The layouts of known datasets: split -> part. The first layout that has the split's part is taken.
_LAYOUTS: tuple[dict[str, Part], ...] = (
    {"train": _DIV2K_TRAIN} | dict.fromkeys(_HELD_OUT, _DIV2K_VALID),
    {"train": Part("Flickr2K_HR", "Flickr2K_LR_bicubic/X{scale}")},
    dict.fromkeys(_EVERY, Part("HR", "LR_bicubic/X{scale}")),  # the benchmarks, as EDSR's authors share them
    dict.fromkeys(_EVERY, Part("GTmod12", "LRbicx{scale}")),  # the benchmarks, as BasicSR's authors share them
    # SIDD cut into crops, as HINet's authors do it, and SIDD_Medium_Srgb as it is published.
    {"train": Part("train/gt_crops", "train/input_crops")}
    | dict.fromkeys(_HELD_OUT, Part("val/gt_crops", "val/input_crops")),
    {"train": Part("Data/*/*_GT_SRGB_*", "Data/*/*_NOISY_SRGB_*")},
    # GoPro cut into crops, as HINet's authors do it; as MPRNet's authors share it; and as it is published, of whose two
    # kinds of blur MPRNet's authors have taken this one.
    {"train": Part("train/sharp_crops", "train/blur_crops")},
    {"train": Part("train/target", "train/input")} | dict.fromkeys(_HELD_OUT, Part("test/target", "test/input")),
    {"train": Part("train/*/sharp/*", "train/*/blur/*")}
    | dict.fromkeys(_HELD_OUT, Part("test/*/sharp/*", "test/*/blur/*")),
    # RealSR version 3, the folder of one camera or that of both; and DRealSR.
    {"train": Part("Train/{scale}/*_HR", "Train/{scale}/*_LR{scale}")}
    | dict.fromkeys(_HELD_OUT, Part("Test/{scale}/*_HR", "Test/{scale}/*_LR{scale}")),
    {"train": Part("*/Train/{scale}/*_HR", "*/Train/{scale}/*_LR{scale}")}
    | dict.fromkeys(_HELD_OUT, Part("*/Test/{scale}/*_HR", "*/Test/{scale}/*_LR{scale}")),
    dict.fromkeys(_HELD_OUT, Part("Test_x{scale}/test_HR/*_x{scale}", "Test_x{scale}/test_LR/*_x1")),
)
_LOW = re.compile(r"_LR\d*$")  # how names of low-resolution images end that lie beside the others


class Found(NamedTuple):
    """What sources name.

    Attributes:
        photos: the photographs, in the order of the sources.
        problems: what is wrong with each high-resolution file that has no low-resolution one to go with it.
        passed_over: images in formats that are not read.
    """

    photos: list[Photo]
    problems: list[str]
    passed_over: list[Path]


def find_photos(sources: Sequence[Source], split: str, scale: int) -> Found:
    """The photographs that `sources` name, in their order.

    A photograph of a folder is named by its path in that folder, without suffix; where there are several folders, by
    its path from the deepest folder that holds them all, which leaves Set5/baby and Set14/baboon. A file that is a
    source by itself is named by its stem. Bytes of a name that are not UTF-8 are written as `\\xe9` is.

    Args:
        sources: see `SRDataModule`.
        split: train, val or test: which part of a known dataset is meant.
        scale: which low-resolution images are meant.

    Raises:
        FileNotFoundError: a file or folder is not there, or holds no image; or a dataset has no part for `split`.
        ValueError: a folder mixes high-resolution and low-resolution images; or a pair of folders has other keys than
            hr and lr; or a list is in brackets of its own.
    """
    parts = [_find(source, split, scale) for source in sources]
    placed = [photo for part in parts for photo in part.photos]
    folders = [os.path.abspath(photo.folder) for photo in placed if photo.folder]
    above = os.path.commonpath(folders) if folders else ""
    return Found(
        photos=[Photo(_name(photo, above), photo.hr, photo.lr) for photo in placed],
        problems=[problem for part in parts for problem in part.problems],
        passed_over=[path for part in parts for path in part.passed_over],
    )


class _Placed(NamedTuple):
    folder: Path | None  # that the config names, if it names one
    inner: Path  # the file's path in it, without suffix
    hr: Path
    lr: Path | None


class _Result(NamedTuple):
    photos: list[_Placed]
    problems: list[str]
    passed_over: list[Path]


def _name(photo: _Placed, above: str) -> str:
    folder = os.path.relpath(photo.folder, above) if photo.folder else ""
    return printable(Path(folder, photo.inner))


def _find(source: Source, split: str, scale: int) -> _Result:
    if not isinstance(source, str):
        hr, lr = (Path(os.path.expanduser(source[key])) for key in ("hr", "lr"))
        return _matched(hr, hr, lr, scale)
    folder = Path(os.path.expanduser(source))
    exists = os.path.exists(folder)
    if source.lstrip("[ ").startswith("{") and not exists:  # with another key, the parser takes it for text
        raise ValueError(f"data.{split}: a pair of folders is written {{hr: FOLDER, lr: FOLDER}}, got {source!r}")
    if source.startswith("[") and not exists:  # so does it with what is no text in the list
        raise ValueError(
            f"data.{split}: a list of names is written [NAME, NAME], and a name that is a number, or that holds "
            f'brackets, commas, colons or #, in quotes, as ["2024", "a [b], c"]; got {source!r}'
        )
    if source.startswith(SKIMAGE) or not os.path.isdir(folder):
        return _Result([_Placed(None, Path(path.stem), path, None) for path in find_images(source)], [], [])
    layouts = [{name: part.at(scale) for name, part in layout.items()} for layout in _LAYOUTS]
    for layout in layouts:
        if split in layout and layout[split].is_in(folder):
            return _of_dataset(folder, layout[split], scale)
    if others := {part.hr for layout in layouts for part in layout.values() if part.is_in(folder)}:
        raise FileNotFoundError(f"data.{split}: {source!r} has no part to use here, it has {', '.join(sorted(others))}")
    return _alone(folder, folder)


def _of_dataset(folder: Path, part: Part, scale: int) -> _Result:
    if "*" in part.hr:
        return _side_by_side(folder, part)
    hr, lr = folder / part.hr, folder / part.lr
    return _matched(folder, hr, lr, scale) if lr.is_dir() else _alone(folder, hr)


def _alone(folder: Path, hr: Path) -> _Result:
    listing = list_images(str(hr))
    found = [_Placed(folder, _inner(path, hr), path, None) for path in listing.images]
    for photo in found:
        *above, name = photo.inner.parts
        for part in (*above, *_LOW.findall(name)):
            if part.startswith("LR") or "_LR" in part:
                raise ValueError(
                    f"{str(hr)!r} is to be a folder of high-resolution images, but {photo.hr} seems to have a low "
                    "resolution: name the folders as {hr: ..., lr: ...}, or the one of the high-resolution images alone"
                )
    return _Result(found, [], listing.passed_over)


def _matched(folder: Path, hr: Path, lr: Path, scale: int) -> _Result:
    for path in (hr, lr):
        if not os.path.isdir(path):
            raise FileNotFoundError(f"no folder {str(path)!r}")
    high, low = (list_images(str(side)) for side in (hr, lr))

    def partners(inner: Path) -> tuple[Path, ...]:
        return inner, inner.with_name(f"{inner.name}x{scale}")

    found = {side: {path: _inner(path, side) for path in listing.images} for side, listing in ((hr, high), (lr, low))}
    return _paired(folder, found[hr], found[lr], partners, lr, high.passed_over + low.passed_over)


def _side_by_side(folder: Path, part: Part) -> _Result:
    """A dataset that keeps the images of both resolutions in one folder, or in pairs of folders within one."""
    fixed = os.path.commonpath([pattern.partition("*")[0].rpartition("/")[0] for pattern in part])
    root = folder / fixed
    hr, lr = (pattern.removeprefix(f"{fixed}/") for pattern in part)
    is_hr = re.compile("([^/]*)".join(map(re.escape, hr.split("*"))))
    listing = list_images(str(root))
    inner = {path: _inner(path, root) for path in listing.images}

    def partners(path: Path) -> tuple[Path, ...]:
        parts = is_hr.fullmatch(path.as_posix())
        assert parts
        return (Path(lr.replace("*", "{}").format(*parts.groups())),)

    high = {path: name for path, name in inner.items() if is_hr.fullmatch(name.as_posix())}
    low = {path: name for path, name in inner.items() if path not in high}
    return _paired(folder, high, low, partners, root, listing.passed_over)


def _paired(
    folder: Path,
    high: Mapping[Path, Path],
    low: Mapping[Path, Path],
    partners: Callable[[Path], tuple[Path, ...]],
    where: Path,
    passed_over: list[Path],
) -> _Result:
    """Pairs files, each given with its inner path, by the inner paths that the partner of one may have."""
    files: dict[Path, list[Path]] = defaultdict(list)
    for path, inner in low.items():
        files[inner].append(path)
    found, lonely = [], []
    for path, inner in high.items():
        names = partners(inner)
        matches = [file for name in names for file in files[name]]
        if len(matches) == 1:
            found.append(_Placed(folder, inner, path, matches[0]))
        elif matches:
            lonely.append(f"{path} has several low-resolution partners: {', '.join(map(str, matches))}")
        else:
            lonely.append(f"{path} has no low-resolution partner: {where} does not hold {' or '.join(map(str, names))}")
    return _Result(found, lonely, passed_over)


def _inner(path: Path, folder: Path) -> Path:
    return path.relative_to(folder).with_suffix("")
