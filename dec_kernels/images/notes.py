"""Says what reading images leaves out or changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dec_kernels.images.find import SUFFIXES, Listing, some_of
from dec_kernels.images.header import Header
from dec_kernels.images.icc import other_than_srgb


def listing_notes(listing: Listing) -> list[str]:
    """A sentence about the files in formats that are not read, if there are any."""
    if not listing.passed_over:
        return []
    return [f"Skipped {some_of(listing.passed_over)}; only {', '.join(SUFFIXES)} are read."]


def header_notes(headers: Mapping[Path, Header], pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    """A sentence for each kind of change that `read_image` makes, with the number of files and the first file.

    Args:
        headers: of all files.
        pairs: the SR and HR files among them that are compared.
    """
    profiles = {path: other_than_srgb(header.profile) for path, header in headers.items()}
    transparent = [path for path, header in headers.items() if header.alpha]
    turned = [path for path, header in headers.items() if header.orientation != 1]
    named = [path for path in headers if profiles[path]]
    differing = [hr for sr, hr in pairs if profiles[sr] != profiles[hr]]
    notes = []
    if transparent:
        notes.append(f"{some_of(transparent)}: the alpha channel is dropped.")
    if turned:
        notes.append(f"{some_of(turned)}: rotated or mirrored as EXIF or XMP says.")
    if named:
        what = f"the ICC profile is not sRGB ({profiles[named[0]]})"
        notes.append(f"{some_of(named)}: {what}. It is not applied; the stored values are used.")
    if differing:
        notes.append(
            f"{some_of(differing)}: the ICC profile differs from that of SR, so equal colours have different values."
        )
    return notes
