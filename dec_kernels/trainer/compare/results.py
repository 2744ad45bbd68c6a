"""Finds the results that belong to high-resolution images, and checks them all before the first is decoded."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dec_kernels.images import (
    UnreadableImageError,
    by_name,
    list_images,
    other_than_srgb,
    printable,
    read_header,
    some_of,
)
from dec_kernels.trainer.data.sources import MEAN
from dec_kernels.trainer.wording import first_few

GROUND_TRUTH = "HR"
"""What pictures call the high-resolution image."""

_SHOWN = 5  # problems in one message


class ComparisonError(ValueError):
    """Results cannot be compared; the message says which, and why."""


class Entry(NamedTuple):
    """A high-resolution image and the result of each method.

    Attributes:
        data_set: name of the data set.
        name: path of the image in the data set's folder, without suffix.
        hr: the high-resolution file.
        results: method -> its result file.
        size: height and width of what is compared: those of `hr`, cropped to multiples of the scale.
    """

    data_set: str
    name: str
    hr: Path
    results: dict[str, Path]
    size: tuple[int, int]


class Found(NamedTuple):
    """The images to compare, and what the user should know about files that are not used, or not wholly."""

    entries: list[Entry]
    notes: list[str]


def named_folders(texts: Iterable[str], option: str) -> dict[str, Path]:
    """Name -> folder, of texts `NAME=DIR`.

    Raises:
        ComparisonError: a text has another form, a name comes twice, or there is no such folder.
    """
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ComparisonError(f"{option} must be NAME=DIR, got {text!r}")
        name = os.fsencode(name).decode("utf-8", "backslashreplace")  # as `printable` writes paths
        if name in folders:
            raise ComparisonError(f"{option} names {name!r} twice: {folders[name]} and {folder}")
        if name == GROUND_TRUTH:
            raise ComparisonError(f"{option}: {name!r} is the name of the ground truth: choose another one")
        folders[name] = _folder(folder, option)
    return folders


def data_sets(texts: Sequence[str]) -> tuple[dict[str, Path], bool]:
    """The folders of high-resolution images by name, and whether each method has a subfolder for each of them.

    Args:
        texts: one folder alone, whose data set is named after it, and whose results lie in the methods' folders
            themselves; or `SET=DIR` for each data set, whose results lie in the methods' subfolders SET. A text is a
            folder if there is a path separator, or nothing, before the first equals sign.

    Raises:
        ComparisonError: see `named_folders`; or there are several folders, and one has no name.
    """
    nameless = [text for text in texts if "=" not in text or re.search(r"[/\\]|^=", text.partition("=")[0])]
    if not nameless:
        return named_folders(texts, "--hr"), True
    if len(texts) > 1:
        raise ComparisonError(f"--hr: each of several data sets needs a name, SET=DIR, got {nameless[0]!r}")
    folder = _folder(texts[0], "--hr")
    return {Path(os.path.abspath(folder)).name: folder}, False


def _folder(text: str, option: str) -> Path:
    folder = Path(os.path.expanduser(text))
    if not os.path.isdir(folder):
        raise ComparisonError(f"{option}: there is no folder {str(folder)!r}")
    return folder


def find_results(
    sets: Mapping[str, Path], methods: Mapping[str, Path], subfolders: bool, scale: int, smallest: int
) -> Found:
    """The files to compare.

    The result of `deep/a.png` at scale 4 is `deep/a` or `deep/ax4`, or one of both followed by a suffix that begins
    with `_`, `-`, `.` or a space, as `deep/a_ESRGAN.png`. All results in a folder are named in one way: the plain name
    before `x4`, and both before a suffix. A folder with results for all images in two ways with suffixes is ambiguous.

    Args:
        sets: data set -> folder of its high-resolution images.
        methods: method -> folder of its results.
        subfolders: whether the results of a data set lie in the subfolder of its name.
        scale: results may have the size of their high-resolution image, or that cropped to multiples of `scale`.
        smallest: pixels that each side must have at least.

    Raises:
        ComparisonError: results are missing or ambiguous, or files cannot be read or have other sizes. The message
            lists all such files of a folder that is incomplete, or else of all folders, as far as there is room.
        FileNotFoundError: a folder holds no image.
        ValueError: two high-resolution images have the same name.
    """
    entries: list[Entry] = []
    notes: list[str] = []
    for data_set, folder in sets.items():
        listing = list_images(str(folder))
        if listing.passed_over:
            notes.append(f"passed over in {folder}: {some_of(listing.passed_over)}, in formats that are not read")
        images = by_name(listing.images, folder)
        for name, path in images.items():
            if printable(name) == MEAN:
                raise ComparisonError(f"{path}: tables call the mean {MEAN!r}, so no image can have this name")
        results = {}
        for method, place in methods.items():
            place = place / data_set if subfolders else place
            results[method], unused = _match(images, place, f"{method}: {data_set}", scale)
            if unused:
                notes.append(f"{method}: not used of {place}: {some_of(unused)}")
        for name, path in images.items():
            files = {method: found[name] for method, found in results.items()}
            entries.append(Entry(data_set, printable(name), path, files, (0, 0)))
    sizes, transparent, profiled = _inspect(entries, scale, smallest)
    if transparent:
        notes.append(f"compared without the alpha channel: {some_of(transparent)}")
    if profiled:
        notes.append(f"compared without their ICC profile, which is not sRGB: {some_of(profiled)}")
    return Found([entry._replace(size=size) for entry, size in zip(entries, sizes, strict=True)], notes)


def _match(images: Mapping[Path, Path], folder: Path, subject: str, scale: int) -> tuple[dict[Path, Path], list[Path]]:
    """The result of each image in `folder`, and the image files in there that are none."""
    listing = list_images(str(_folder(str(folder), subject)))
    ways: dict[str, dict[Path, list[Path]]] = defaultdict(lambda: defaultdict(list))  # tail -> image -> files
    for path in listing.images:
        inner = path.relative_to(folder).with_suffix("")
        for length in range(1, len(inner.name) + 1):
            image, tail = inner.with_name(inner.name[:length]), inner.name[length:]
            if image in images and re.fullmatch(rf"(x{scale})?([_\-. ].*)?", tail, re.DOTALL):
                ways[tail][image].append(path)
    # Of the ways that name the most images: the plain one, that with the scale, and those with suffixes.
    ranked = sorted(ways, key=lambda tail: (-len(ways[tail]), ["", f"x{scale}", tail].index(tail)))
    chosen = ways[ranked[0]] if ranked else {}
    if missing := [printable(name) for name in images if name not in chosen]:
        way = f", named as {printable(next(iter(chosen.values()))[0])} is" if chosen else ""
        raise ComparisonError(
            f"{subject}: {folder} has no result for {len(missing)} of {len(images)} images{way}: {first_few(missing)}"
        )
    rivals = [tail for tail in ranked[1:] if len(ways[tail]) == len(images) and ranked[0] not in ("", f"x{scale}")]
    if rivals:
        names = [printable(next(iter(ways[tail].values()))[0]) for tail in (ranked[0], *rivals)]
        raise ComparisonError(f"{subject}: {folder} has several results for each image: {first_few(names)}")
    if several := [files for files in chosen.values() if len(files) > 1]:
        raise ComparisonError(f"{subject}: one image has several results: {first_few(several[0])}")
    results = {image: files[0] for image, files in chosen.items()}
    used = set(results.values())
    return results, [path for path in listing.images if path not in used] + listing.passed_over


def _inspect(
    entries: Sequence[Entry], scale: int, smallest: int
) -> tuple[list[tuple[int, int]], list[Path], list[Path]]:
    """The size to compare each entry at, and the files with an alpha channel and with a profile other than sRGB."""
    sizes: list[tuple[int, int]] = []
    problems: list[str] = []
    transparent: list[Path] = []
    profiled: list[Path] = []
    for entry in entries:
        found = {}
        for path in (entry.hr, *entry.results.values()):
            try:
                header = read_header(path)
            except UnreadableImageError as error:
                problems.append(str(error))
                continue
            found[path] = header.size
            if header.alpha:
                transparent.append(path)
            if other_than_srgb(header.profile) is not None:
                profiled.append(path)
        if entry.hr not in found:
            continue
        height, width = found.pop(entry.hr)
        size = height - height % scale, width - width % scale
        sizes.append(size)
        if min(size) < smallest:
            problems.append(f"{entry.hr} has {height} x {width} pixels, too few: at least {smallest} are needed a side")
        cropped = f", or {size[0]} x {size[1]} for scale {scale}" if size != (height, width) else ""
        problems += [
            f"{path} has {given[0]} x {given[1]} pixels, but must have the {height} x {width} of {entry.hr}{cropped}"
            for path, given in found.items()
            if given not in ((height, width), size)
        ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ComparisonError("; ".join(problems[:_SHOWN]) + more)
    return sizes, transparent, profiled
