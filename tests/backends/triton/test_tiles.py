"""The tile table is whole, and every device has a row."""

import itertools

import pytest

from dec_kernels.backends.triton import tiles


def test_the_table_has_a_row_for_everything() -> None:
    architectures = ("sm_80", "sm_90", "sm_100", "sm_120")
    assert set(tiles.TABLE) == set(itertools.product(architectures, tiles.WIDTHS, tiles.PRECISIONS))
    for width, precision in itertools.product(tiles.WIDTHS, tiles.PRECISIONS):
        shape = tiles.shape_of(width, precision, "sm_90")
        assert shape["CHUNKS"] * shape["CHUNK"] == width
        assert shape["CHUNKS"] % shape["OWNED"] == 0
        assert shape["OWNED"] == shape["CHUNKS"] or not shape["RESIDENT"]


@pytest.mark.parametrize(
    ("capability", "row"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_120"),
        ((8, 9), "sm_120"),
        ((9, 0), "sm_90"),
        ((10, 3), "sm_100"),
        ((12, 0), "sm_120"),
    ],
)
def test_each_device_has_a_row(capability: tuple[int, int], row: str) -> None:
    assert tiles.architecture_of(capability) == row
