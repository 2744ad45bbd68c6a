"""Reads the images that the command names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from dec_kernels.images import (
    SKIMAGE,
    Header,
    find_images,
    header_notes,
    list_images,
    listing_notes,
    match_folders,
    printable,
    read_header,
    read_image,
    some_of,
)


class Photo(NamedTuple):
    """An HR image, and the network's output where there is one; (3, H, W) uint8 or uint16."""

    name: str
    hr: Tensor
    sr: Tensor | None


class _Files(NamedTuple):
    name: str
    hr: Path
    sr: Path | None


def read(hr: Sequence[str], sr: Sequence[str] | None, scale: int, patch_size: int) -> tuple[list[Photo], list[str]]:
    """The images, and sentences about what is left out or changed.

    Args:
        hr: files, folders, or `skimage:NAME`.
        sr: for each of `hr` the same kind; files of two folders are matched by `match_folders`. None for HR alone.
        scale, patch_size: as for `examine`.

    Raises:
        OSError: a file or folder does not exist or cannot be read.
        ValueError: a file is no image, HR and SR do not match, or an image is smaller than a patch.
    """
    if sr is not None and len(sr) != len(hr):
        raise ValueError(f"--sr must name a file or folder for each of HR, got {len(sr)} for {len(hr)}")
    files, notes = [], list[str]()
    for i, source in enumerate(hr):
        files += _alone(source, notes) if sr is None else _paired(source, sr[i], notes)
    pairs = [(each.sr, each.hr) for each in files if each.sr is not None]
    headers = {path: read_header(path) for each in files for path in (each.hr, each.sr) if path is not None}
    for each in files:
        _check_sizes(each, headers, scale, patch_size)
    notes += header_notes(headers, pairs)
    ragged = [each.hr for each in files if any(side % scale for side in headers[each.hr].size)]
    if ragged:
        notes.append(f"{some_of(ragged)}: HR is cropped to multiples of {scale}.")
    photos = [Photo(name, read_image(one), None if other is None else read_image(other)) for name, one, other in files]
    return photos, notes


def _alone(hr: str, notes: list[str]) -> list[_Files]:
    folder, listing = Path(hr), list_images(hr)
    notes += listing_notes(listing)
    return [_Files(_name(path, folder if folder.is_dir() else path.parent), path, None) for path in listing.images]


def _paired(hr: str, sr: str, notes: list[str]) -> list[_Files]:
    folders = Path(sr), Path(hr)
    if all(folder.is_dir() for folder in folders):
        pairs, left_out = match_folders(*folders)
        notes += left_out
        return [_Files(_name(one, folders[1]), one, other) for other, one in pairs]
    if any(folder.is_dir() for folder in folders):
        raise ValueError(f"HR and SR must be two files or two folders (or {SKIMAGE}NAME and a file), got {hr} and {sr}")
    (one,), (other,) = find_images(hr), find_images(sr)
    return [_Files(_name(one, one.parent), one, other)]


def _name(path: Path, folder: Path) -> str:
    return printable(path.relative_to(folder).with_suffix(""))


def _check_sizes(files: _Files, headers: Mapping[Path, Header], scale: int, patch_size: int) -> None:
    height, width = headers[files.hr].size
    if min(height, width) < patch_size:
        least = f"{patch_size} x {patch_size}"
        raise ValueError(f"{files.hr} must be at least as large as a patch, {least} (H x W), got {height} x {width}")
    wanted = (height, width), (height - height % scale, width - width % scale)
    if files.sr is not None and (got := headers[files.sr].size) not in wanted:
        raise ValueError(
            f"SR and HR must have the same size (SR is the network's output), got {files.sr} with {got[0]} x {got[1]} "
            f"and {files.hr} with {height} x {width} pixels (H x W)"
        )
