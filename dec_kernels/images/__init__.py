"""Finds and reads image files, in the same way for the trainer, `predict` and the doctor.

`find` lists files, `match` pairs those of two folders, `header` reads what is known of a file before its pixels are
decoded, `read` decodes the pixels, and `icc` interprets ICC profiles. `notes` says what is left out or changed.
"""

from dec_kernels.images.find import SKIMAGE, SUFFIXES, Listing, find_images, list_images, printable, some_of
from dec_kernels.images.header import (
    MAX_PIXELS,
    Header,
    UnreadableImageError,
    has_alpha,
    icc_profile,
    image_size,
    max_pixels,
    read_header,
)
from dec_kernels.images.icc import is_for_rgb, other_than_srgb
from dec_kernels.images.match import by_name, match_folders
from dec_kernels.images.notes import header_notes, listing_notes
from dec_kernels.images.read import READER, read_image

__all__ = [
    "MAX_PIXELS",
    "READER",
    "SKIMAGE",
    "SUFFIXES",
    "Header",
    "Listing",
    "UnreadableImageError",
    "by_name",
    "find_images",
    "has_alpha",
    "header_notes",
    "icc_profile",
    "image_size",
    "is_for_rgb",
    "list_images",
    "listing_notes",
    "match_folders",
    "max_pixels",
    "other_than_srgb",
    "printable",
    "read_header",
    "read_image",
    "some_of",
]
