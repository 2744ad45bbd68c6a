import pytest
import torch

from dec_kernels.doctor import crops, pairs
from dec_kernels.spec import Spec


def source(*sizes: tuple[int, int]) -> pairs.Source:
    """HR pixels are all different, and SR is HR + 1000."""
    numbers = torch.arange(200_000.0)
    found = []
    for height, width in sizes:
        hr, numbers = numbers[: height * width].view(1, height, width), numbers[height * width :]
        found.append(pairs.Pair("pair", (height, width), lambda hr=hr: (hr + 1000, hr)))
    return pairs.Source(found, [], saved=False)


def test_no_pixel_comes_twice_and_sr_and_hr_are_cut_alike() -> None:
    batch = crops.cut(source((50, 70), (33, 40)), (16, 20), 100, 3, Spec(patch_size=4))
    assert batch.hr.shape == (3 * 3 + 2 * 2, 1, 16, 20)
    assert batch.hr.unique().numel() == batch.hr.numel()
    assert torch.equal(batch.sr, batch.hr + 1000)
    assert ((batch.hr[..., 1:] - batch.hr[..., :-1]) == 1).all()


def test_pairs_give_crops_in_turn() -> None:
    batch = crops.cut(source((16, 16), (64, 64), (64, 64)), (16, 16), 6, 0, Spec(patch_size=4))
    first, second = 16 * 16, 16 * 16 + 64 * 64
    owner = torch.bucketize(batch.hr[:, 0, 0, 0].contiguous(), torch.tensor([first, second]), right=True)
    assert owner.bincount().tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    ("sizes", "crop"), [([(90, 90)], 80), ([(90, 90)], 15), ([(16, 16)] * 3, 16)], ids=["shift", "cell", "pair"]
)
def test_the_seed_decides(sizes: list[tuple[int, int]], crop: int) -> None:
    def first_pixel(seed: int) -> float:
        return crops.cut(source(*sizes), (crop, crop), 1, seed, Spec(patch_size=4)).hr[0, 0, 0, 0].item()

    assert first_pixel(1) == first_pixel(1)
    assert len({first_pixel(seed) for seed in range(8)}) > 1


def test_crops_are_shifted_in_both_directions() -> None:
    first = [
        int(crops.cut(source((90, 90)), (80, 80), 1, seed, Spec(patch_size=4)).hr[0, 0, 0, 0]) for seed in range(8)
    ]
    assert len({pixel // 90 for pixel in first}) > 1
    assert len({pixel % 90 for pixel in first}) > 1


def test_what_was_changed_is_said() -> None:
    batch = crops.cut(source((50, 70), (22, 100)), (128, 64), 1, 0, Spec(patch_size=4))
    assert batch.facts["crop"] == (22, 64)
    notes = batch.facts["notes"]
    for note, parts in zip(
        notes,
        (("1 of 2",), ("22 x 64", "128 x 64"), ("2 rows", "patch_size=4"), ("SR", "max_val=1"), ("HR", "max_val=1")),
        strict=True,
    ):
        assert all(part in note for part in parts), note
    assert batch.facts["patches"] == 5 * 16


def test_a_window_holds_at_most_as_many_patches() -> None:
    images = torch.zeros(5, 3, 17, 33)
    for most, shape in ((200, (5, 3, 17, 33)), (70, (2, 3, 17, 33)), (31, (1, 3, 16, 28)), (1, (1, 3, 4, 4))):
        assert crops.window_of(images, images, 4, most)[0].shape == shape
