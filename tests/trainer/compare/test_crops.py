from itertools import combinations

import pytest
import torch
from torch import Tensor

from dec_kernels.trainer.compare.crops import Place, check_crops, most_different, parse_crop
from dec_kernels.trainer.compare.results import ComparisonError
from dec_kernels.trainer.samples import Crop


def difference(images: list[Tensor], top: int, left: int, size: int) -> float:
    tiles = [image[:, top : top + size, left : left + size].double() for image in images]
    return torch.stack([((a - b) ** 2).mean() for a, b in combinations(tiles, 2)]).mean().item()


def test_the_squares_that_differ_most() -> None:
    images = [torch.randint(0, 256, (3, 23, 30), dtype=torch.uint8) for _ in range(4)]
    best, second, *_ = most_different(images, size=7, border=2, count=9)
    everywhere = {
        (top, left): difference(images, top, left, 7) for top in range(2, 23 - 8) for left in range(2, 30 - 8)
    }
    assert (best.top, best.left) == max(everywhere, key=everywhere.__getitem__)
    assert best.difference == pytest.approx(everywhere[best.top, best.left], rel=1e-14)
    apart = {
        place: value
        for place, value in everywhere.items()
        if abs(place[0] - best.top) >= 7 or abs(place[1] - best.left) >= 7
    }
    assert (second.top, second.left) == max(apart, key=apart.__getitem__)
    assert second.difference == pytest.approx(apart[second.top, second.left], rel=1e-14)


def test_squares_do_not_overlap_and_leave_the_border() -> None:
    images = [torch.randint(0, 256, (3, 40, 52), dtype=torch.uint8) for _ in range(2)]
    places = most_different(images, size=11, border=3, count=100)
    assert 4 <= len(places) <= 12
    covered = torch.zeros(40, 52, dtype=torch.int)
    for _, top, left, size in places:
        covered[top : top + size, left : left + size] += 1
    assert covered.max() == 1
    assert covered[3:-3, 3:-3].sum() == covered.sum()
    assert [place.difference for place in places] == sorted((place.difference for place in places), reverse=True)


def test_equal_squares_and_small_images() -> None:
    black = torch.zeros(3, 20, 16, dtype=torch.uint8)
    assert most_different([black, black], size=50, border=2, count=3) == [Place(0.0, 2, 2, 12)]
    assert most_different([black, black + 255], size=8, border=0, count=1) == [Place(255.0**2, 0, 0, 8)]
    assert most_different([black, black], size=8, border=0, count=0) == []


def test_crops_by_hand() -> None:
    assert parse_crop("Set5/a:b:1,22,33") == Crop("Set5/a:b", 1, 22, 33)
    for text in ("a", "a:1,2", "a:1,2,-3", ":1,2,3", "a:1,2,3,4", "a:1.5,2,3"):
        with pytest.raises(ComparisonError, match=text):
            parse_crop(text)
    sizes = {"butterfly": (40, 50)}
    check_crops([Crop("butterfly", 29, 39, 11), Crop("butterfly", 0, 0, 40)], sizes, 11)
    for crop, words in (
        (Crop("buterfly", 0, 0, 11), "'buterfly'.* Did you mean 'butterfly'?"),
        (Crop("butterfly", 30, 0, 11), "rows 30 to 41 .* 40 x 50"),
        (Crop("butterfly", 0, 40, 11), "columns 40 to 51"),
        (Crop("butterfly", 0, 0, 10), "at least 11, got 10"),
    ):
        with pytest.raises(ComparisonError, match=words):
            check_crops([crop], sizes, 11)
