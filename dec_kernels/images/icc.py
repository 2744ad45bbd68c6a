"""Interprets ICC profiles."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC's colour spaces -> Pillow's modes
_TOLERANCE = 3  # of 255: sRGB profiles differ by as much in their rounding and near black


@lru_cache(maxsize=256)  # the files of one camera share a profile
def other_than_srgb(profile: bytes | None) -> str | None:
    """The name of an ICC profile that gives other colours than sRGB; None for sRGB, and for None."""
    if profile is None:
        return None
    try:
        found = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(found).strip()
        mode = _MODES[found.profile.xcolor_space.strip()]
        image = _all_colours().convert(mode)
        srgb = ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(image, found, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    except Exception:  # the profile is damaged, or has another colour space
        return "one that cannot be read"
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(image.convert("RGB")))
    return None if difference.max() <= _TOLERANCE else name


def is_for_rgb(profile: bytes | None) -> bool:
    """Whether there is an ICC profile and it describes RGB pixels."""
    return profile is not None and profile[16:20] == b"RGB "  # the header's field for the colour space


def _all_colours() -> Image.Image:
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, len(levels), 3))
