from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from dec_kernels.trainer.data import (
    EpochCounter,
    Pair,
    RandomCrops,
    SRDataModule,
    find_images,
    load_pairs,
    make_pair,
    read_image,
)
from dec_kernels.trainer.metrics import to_uint8
from dec_kernels.trainer.resize import imresize


@pytest.fixture
def pairs(photographs: Path) -> list[Pair]:
    return load_pairs([str(photographs)], scale=4)


def test_finds_files_folders_and_shipped_photographs(photographs: Path) -> None:
    assert [path.name for path in find_images(str(photographs))] == ["a.png", "b.png", "c.PNG"]
    assert find_images(str(photographs / "a.png")) == [photographs / "a.png"]
    for name in ("astronaut", "motorcycle_left", "ihc", "rocket", "chelsea", "coffee"):
        (path,) = find_images(f"skimage:{name}")
        assert path.stem == name


def test_names_what_it_cannot_find_or_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ships no image 'nobody'; it ships .*astronaut"):
        find_images("skimage:nobody")
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'astronaut'.*skimage:NAME"):
        find_images("astronaut")
    with pytest.raises(FileNotFoundError, match=r"holds no image; looked for \.bmp"):
        find_images(str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(ValueError, match=r"cannot read .*broken\.png as an image"):
        read_image(tmp_path / "broken.png")


def test_low_resolution_is_rounded_matlab_bicubic() -> None:
    image = torch.randint(0, 256, (3, 43, 50), dtype=torch.uint8)
    pair = make_pair("x", image, scale=4)
    assert torch.equal(pair.hr, image[:, :40, :48])
    assert torch.equal(pair.lr, to_uint8(imresize(pair.hr / 255, 1 / 4)))
    with pytest.raises(ValueError, match="x has 3 x 9 pixels: too small for scale 4"):
        make_pair("x", image[:, :3, :9], scale=4)


def test_sample_depends_on_seed_and_number_alone(pairs: list[Pair]) -> None:
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
    pair = Pair("x", lr.repeat_interleave(4, 1).repeat_interleave(4, 2), lr)
    crops = RandomCrops([pair], crop_size=24, seed=0)
    orientations = set()
    for k in range(64):
        sample = crops[k]
        assert sample["lr"].shape == (3, 6, 6)
        assert torch.equal(sample["hr"], sample["lr"].repeat_interleave(4, 1).repeat_interleave(4, 2))
        corners = sample["lr"][0, [0, 0, -1, -1], [0, -1, 0, -1]]
        orientations.add(tuple(corners.argsort().tolist()))
    assert len(orientations) == 8


def test_epochs_go_on_counting() -> None:
    sampler = EpochCounter(3)
    assert list(sampler) == [0, 1, 2]
    sampler.set_epoch(2)
    assert list(sampler) == [6, 7, 8]


def test_workers_do_not_change_the_data(pairs: list[Pair]) -> None:
    crops = RandomCrops(pairs, crop_size=32, seed=0)
    alone, helped = (
        list(DataLoader(crops, batch_size=2, sampler=EpochCounter(4), num_workers=workers)) for workers in (0, 1)
    )
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a["hr"], b["hr"])


def test_data_module(photographs: Path) -> None:
    data = SRDataModule(
        [str(photographs)], [str(photographs / "a.png")], crop_size=32, batch_size=3, batches_per_epoch=2
    )
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [batch["lr"].shape for batch in batches] == [(3, 3, 8, 8)] * 2
    assert all(batch["hr"].min() >= 0 and batch["hr"].max() <= 1 for batch in batches)
    (whole,) = data.val_dataloader()
    assert whole["hr"].shape == (1, 3, 48, 64)
    with pytest.raises(ValueError, match=r"data\.test names no image"):
        data.setup("test")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("crop_size", 30, "crop_size must be a multiple of scale 4, got 30"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("batches_per_epoch", 0, "batches_per_epoch must be at least 1, got 0"),
        ("scale", 0, "scale must be at least 1, got 0"),
        ("seed", -1, "seed must be at least 0, got -1"),
    ],
)
def test_refuses_bad_numbers(name: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SRDataModule(["a"], ["b"], **{name: value})


def test_refuses_a_crop_larger_than_a_photograph(photographs: Path) -> None:
    data = SRDataModule([str(photographs)], [str(photographs)], crop_size=44)
    data.setup("fit")
    with pytest.raises(ValueError, match="crop_size is 44, but b has only 40 x 40 pixels"):
        data.train_dataloader()
