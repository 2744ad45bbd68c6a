import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dec_kernels.resize import downscale
from dec_kernels.trainer.data import CropSampler, ImagePairs, Photo, RandomCrops, UnreadableImageError, make_pair
from dec_kernels.trainer.pixels import to_float


class Files(dict[Path, Tensor]):
    """Image files that are not on a disk. Those that are missing cannot be read."""

    def __call__(self, path: Path) -> Tensor:
        if path not in self:
            raise UnreadableImageError(f"cannot read {path} as an image")
        return self[path]


def pairs_of(*images: Tensor, lr: Tensor | None = None, scale: int = 4, broken: tuple[int, ...] = ()) -> ImagePairs:
    photos = [Photo(f"{i}", Path(f"{i}.png"), Path("lr.png") if lr is not None else None) for i in range(len(images))]
    files = Files({photos[i].hr: image for i, image in enumerate(images) if i not in broken})
    if lr is not None:
        files[Path("lr.png")] = lr
    sizes = [(image.shape[-2] // scale, image.shape[-1] // scale) for image in images]
    return ImagePairs(photos, sizes, scale, files)


def noise(height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, torch.iinfo(dtype).max + 1, (height, width, 3)).to(dtype).permute(2, 0, 1)


@pytest.fixture
def pairs() -> ImagePairs:
    return pairs_of(noise(48, 64), noise(40, 40), noise(51, 43))


def test_a_whole_pair_is_cropped_to_the_scale() -> None:
    image = noise(43, 50)
    pair = make_pair("x", image, scale=4)
    assert torch.equal(pair.hr, image[:, :40, :48])
    assert torch.equal(pair.lr, downscale(image, 4))
    (same,) = pairs_of(image)
    assert torch.equal(same.hr, pair.hr)
    assert torch.equal(same.lr, pair.lr)
    with pytest.raises(ValueError, match=r"x has 3 x 9.*scale 4"):
        make_pair("x", image[:, :3, :9], scale=4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_crop_is_what_the_whole_pair_holds_there(dtype: torch.dtype) -> None:
    image = noise(51, 66, dtype)
    for given in (None, noise(12, 16, dtype)):
        pairs = pairs_of(image, lr=given)
        (whole,) = pairs
        if given is not None:
            assert torch.equal(whole.lr, given)
        for top, left in ((0, 0), (3, 5), (12 - 7, 16 - 7)):
            hr, lr = pairs.crop(0, top, left, 7, 7, np.random.default_rng(0))
            assert torch.equal(lr, whole.lr[:, top : top + 7, left : left + 7])
            assert torch.equal(hr, whole.hr[:, 4 * top : 4 * (top + 7), 4 * left : 4 * (left + 7)])


def test_sample_depends_on_seed_and_number_alone(pairs: ImagePairs) -> None:
    crops = RandomCrops(pairs, crop_size=32, seed=5)
    seen = [crops[k] for k in range(20)]
    again = RandomCrops(pairs, crop_size=32, seed=5)
    for k in (13, 2, 19):
        assert torch.equal(again[k]["hr"], seen[k]["hr"])
        assert torch.equal(again[k]["lr"], seen[k]["lr"])
    other = RandomCrops(pairs, crop_size=32, seed=6)
    assert not any(torch.equal(other[k]["hr"], seen[k]["hr"]) for k in range(20))
    assert len({sample["hr"].numpy().tobytes() for sample in seen}) == 20


def test_crops_of_both_resolutions_show_the_same_place() -> None:
    # Each 4 x 4 block of hr has the value of its lr pixel, so that a wrong offset, flip or transposition shows.
    lr = torch.arange(3 * 14 * 12, dtype=torch.uint8).view(3, 14, 12)
    pairs = pairs_of(lr.repeat_interleave(4, 1).repeat_interleave(4, 2), lr=lr)
    crops = RandomCrops(pairs, crop_size=24, seed=0)
    orientations, places = set(), set()
    for k in range(300):
        sample = crops[k]
        assert sample["lr"].shape == (3, 6, 6)
        assert torch.equal(sample["hr"], sample["lr"].repeat_interleave(4, 1).repeat_interleave(4, 2))
        corners = sample["lr"][0, [0, 0, -1, -1], [0, -1, 0, -1]]
        orientations.add(tuple(corners.argsort().tolist()))
        places.add(round(float(corners.min() * 255)))
    assert len(orientations) == 8
    assert places == {12 * top + left for top in range(14 - 6 + 1) for left in range(12 - 6 + 1)}


def test_crops_of_16_bits_keep_them() -> None:
    image = noise(32, 32, torch.uint16)
    crop = RandomCrops(pairs_of(image), crop_size=32, seed=0)[0]["hr"]
    assert torch.equal(crop.flatten().sort().values, to_float(image).flatten().sort().values)
    assert crop.dtype == torch.float32


def test_a_broken_file_is_named(pairs: ImagePairs) -> None:
    crops = RandomCrops(pairs_of(noise(32, 32), noise(32, 32), broken=(1,)), crop_size=32, seed=0)
    with pytest.raises(UnreadableImageError, match=r"cannot read 1\.png"):
        [crops[k] for k in range(20)]


def test_a_broken_file_is_skipped_by_drawing_again() -> None:
    images = noise(32, 32), noise(36, 44), noise(40, 36)
    whole = RandomCrops(pairs_of(*images), crop_size=32, seed=0)
    broken = pairs_of(*images, broken=(1,))
    first = RandomCrops(broken, crop_size=32, seed=0, skip_unreadable=True)
    with pytest.warns(UserWarning, match=r"left out of the training: cannot read 1\.png") as caught:
        seen = [first[k]["hr"] for k in range(40)]
    assert len(caught) == 1
    # Whether the file is already known to be broken makes no difference, nor in which order samples are drawn.
    second = RandomCrops(broken, crop_size=32, seed=0, skip_unreadable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = [second[k]["hr"] for k in reversed(range(40))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(seen, again, strict=True))
    same = [torch.equal(whole[k]["hr"], seen[k]) for k in range(40)]
    drawn = [int(np.random.Generator(np.random.Philox(key=0, counter=[0, 0, 0, k])).integers(3)) for k in range(40)]
    assert same == [index != 1 for index in drawn]


def test_gives_up_when_no_file_can_be_read() -> None:
    crops = RandomCrops(pairs_of(noise(32, 32), broken=(0,)), crop_size=32, seed=0, skip_unreadable=True)
    with pytest.raises(UnreadableImageError, match=r"cannot read 0\.png"):
        crops[0]


def test_epochs_go_on_counting_from_the_progress() -> None:
    at = (0, 0)
    sampler = CropSampler(batch_size=2, batches_per_epoch=3, progress=lambda: at)
    assert list(sampler) == [0, 1, 2, 3, 4, 5]
    assert len(sampler) == 6
    at = (3, 0)
    assert list(sampler) == [6, 7, 8, 9, 10, 11]
    at = (5, 2)
    assert list(sampler) == [10, 11]


def test_processes_share_the_batches_of_one() -> None:
    def batches(batch_size: int, rank: int, world_size: int) -> list[list[int]]:
        sampler = CropSampler(batch_size, 4, rank, world_size, progress=lambda: (9, 1))
        return Tensor(list(sampler)).int().view(-1, batch_size).tolist()

    alone = batches(6, 0, 1)
    ranks = [batches(2, rank, 3) for rank in range(3)]
    assert [[*first, *second, *third] for first, second, third in zip(*ranks, strict=True)] == alone
    assert alone[0] == [54, 55, 56, 57, 58, 59]


def test_workers_do_not_change_the_data(pairs: ImagePairs) -> None:
    crops = RandomCrops(pairs, crop_size=32, seed=0)
    alone, helped = (
        list(DataLoader(crops, batch_size=2, sampler=CropSampler(2, 2), num_workers=workers)) for workers in (0, 1)
    )
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a["hr"], b["hr"])
