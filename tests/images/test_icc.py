import struct

import pytest
from PIL import ImageCms

from dec_kernels.images import other_than_srgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_other_primaries(profile: bytes) -> bytes:
    """Red for blue and blue for red, and another name, in the table of the profile's parts."""
    table = profile[128 : 128 + 4 + 12 * struct.unpack_from(">I", profile, 128)[0]]
    swapped = table.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    return (profile[:128] + swapped + profile[128 + len(table) :]).replace(
        "sRGB".encode("utf-16-be"), "Else".encode("utf-16-be")
    )


def test_names_a_profile_by_which_colours_differ() -> None:
    assert other_than_srgb(with_other_primaries(SRGB)) == "Else built-in"


def test_srgb_is_none_whatever_its_name() -> None:
    assert other_than_srgb(None) is None
    assert other_than_srgb(SRGB) is None
    assert other_than_srgb(SRGB.replace("sRGB".encode("utf-16-be"), "Mine".encode("utf-16-be"))) is None


@pytest.mark.parametrize(
    "profile", [b"", b"damaged", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_a_profile_that_says_nothing_of_an_image_is_not_srgb(profile: bytes) -> None:
    assert other_than_srgb(profile) == "one that cannot be read"
