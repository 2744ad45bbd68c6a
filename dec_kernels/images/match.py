"""Pairs the images of two folders by their names."""

from __future__ import annotations

from pathlib import Path

from dec_kernels.images.find import SUFFIXES, list_images, printable, some_of


def match_folders(sr: Path, hr: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs the image files of two folders whose paths in the folders are the same without the suffix.

    Returns:
        The pairs (SR, HR) in the order of their names, and sentences about the files that are left out.

    Raises:
        FileNotFoundError: a folder holds no image.
        ValueError: no names are the same, or two files of a folder have the same name without the suffix.
    """
    notes: list[str] = []
    sides = [_images_in(folder, notes) for folder in (sr, hr)]
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


def _images_in(folder: Path, notes: list[str]) -> dict[Path, Path]:
    """Path in the folder, without the suffix -> image file."""
    listing = list_images(str(folder))
    if listing.passed_over:
        notes.append(f"Skipped {some_of(listing.passed_over)}; only {', '.join(SUFFIXES)} are read.")
    found: dict[Path, Path] = {}
    for path in listing.images:
        name = path.relative_to(folder).with_suffix("")
        if name in found:
            raise ValueError(
                f"{path} and {found[name]} have the same name without the suffix, so only one can be there"
            )
        found[name] = path
    return found
