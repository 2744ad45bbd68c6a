"""What an ICC profile means."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC's colour spaces as Pillow calls them
_TOLERANCE = 3  # of 255: profiles of sRGB differ by so much in how they are rounded and cut off near black


@lru_cache(maxsize=256)  # files of one camera have one profile
def other_than_srgb(profile: bytes | None) -> str | None:
    """The name of an ICC profile by which colours differ from those of sRGB; None if there is none, or it is sRGB's."""
    if profile is None:
        return None
    try:
        found = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(found).strip()
        mode = _MODES[found.profile.xcolor_space.strip()]
        image = _all_colours().convert(mode)
        srgb = ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(image, found, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    except Exception:  # a damaged one, or one of another colour space
        return "one that cannot be read"
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(image.convert("RGB")))
    return None if difference.max() <= _TOLERANCE else name


def is_for_rgb(profile: bytes | None) -> bool:
    """Whether there is an ICC profile, and the pixels that it is for are RGB."""
    return profile is not None and profile[16:20] == b"RGB "  # ICC's header has the kind of pixels there


def _all_colours() -> Image.Image:
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, len(levels), 3))
