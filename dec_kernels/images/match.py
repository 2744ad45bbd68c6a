"""Pairs the images of two folders by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dec_kernels.images.find import list_images, printable
from dec_kernels.images.notes import listing_notes


def by_name(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Path in the folder, without the suffix -> file.

    Args:
        paths: files in the folder.
        folder: the folder.

    Raises:
        ValueError: two files have the same path without the suffix.
    """
    named: dict[Path, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("")
        if name in named:
            raise ValueError(f"{named[name]} and {path} have the same name without the suffix: rename one of them")
        named[name] = path
    return named


def match_folders(sr: Path, hr: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs the image files of two folders whose paths in the folders are the same without the suffix.

    Returns:
        The pairs (SR, HR) in the order of their names, and sentences about the files that are left out.

    Raises:
        FileNotFoundError: a folder holds no image.
        ValueError: no names are the same, or two files of a folder have the same name without the suffix.
    """
    listings = [list_images(str(folder)) for folder in (sr, hr)]
    notes = [note for listing in listings for note in listing_notes(listing)]
    sides = [by_name(listing.images, folder) for listing, folder in zip(listings, (sr, hr), strict=True)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        examples = " and ".join(f"{next(iter(side.values()))}" for side in sides)
        raise ValueError(f"no image in {sr} has the same name as one in {hr} (without the suffix), got {examples}")
    for folder, side in zip((sr, hr), sides, strict=True):
        if alone := sorted(side.keys() - set(common)):
            notes.append(
                f"{len(alone)} images of {printable(folder)} have no counterpart and are left out; the first is "
                f"{printable(alone[0])}."
            )
    return [(sides[0][name], sides[1][name]) for name in common], notes
