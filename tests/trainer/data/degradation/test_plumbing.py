"""Where a degradation is used, and which random numbers it gets."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.data import CropSampler, Degradation, ImagePairs, Photo, RandomCrops, SRDataModule
from dec_kernels.trainer.data.degradation import BSRGAN
from dec_kernels.trainer.data.degradation.base import image_stream, sample_stream
from dec_kernels.trainer.pixels import to_float


class Noise(Degradation):
    """Every scale-th pixel, with the top bit drawn anew."""

    def __init__(self, context: int = 0) -> None:
        self.context = context

    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        lr = hr[:, ::scale, ::scale].numpy()
        half = np.iinfo(lr.dtype).max // 2 + 1
        return torch.from_numpy((lr % half + half * rng.integers(0, 2, lr.shape)).astype(lr.dtype))


class Places(Degradation):
    """The size of what is degraded, and every scale-th pixel of it."""

    def __init__(self, context: int) -> None:
        self.context = context
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        self.seen.append(tuple(hr.shape))
        return hr[:, ::scale, ::scale]


class Wrong(Degradation):
    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        self.make = make

    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        return self.make(hr[:, ::scale, ::scale])


def pairs_of(
    *images: Tensor, degradation: Degradation, seed: int = 0, lr: Tensor | None = None, scale: int = 4
) -> ImagePairs:
    photos = [Photo(f"{i}", Path(f"{i}.png"), Path("lr.png") if lr is not None else None) for i in range(len(images))]
    files = {photo.hr: image for photo, image in zip(photos, images, strict=True)}
    if lr is not None:
        files[Path("lr.png")] = lr
    sizes = [(image.shape[-2] // scale, image.shape[-1] // scale) for image in images]
    return ImagePairs(photos, sizes, scale, files.__getitem__, degradation, seed)


def noise(height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, torch.iinfo(dtype).max + 1, (height, width, 3)).to(dtype).permute(2, 0, 1)


@pytest.fixture
def images() -> tuple[Tensor, ...]:
    return noise(48, 64), noise(40, 40), noise(51, 43)


def test_a_sample_is_a_function_of_seed_and_number(images: tuple[Tensor, ...]) -> None:
    crops = RandomCrops(pairs_of(*images, degradation=Noise(context=6)), crop_size=32, seed=5)
    seen = [crops[k]["lr"] for k in range(12)]
    again = RandomCrops(pairs_of(*images, degradation=Noise(context=6)), crop_size=32, seed=5)
    assert all(torch.equal(again[k]["lr"], seen[k]) for k in reversed(range(12)))
    other = RandomCrops(pairs_of(*images, degradation=Noise(context=6)), crop_size=32, seed=6)
    assert not any(torch.equal(other[k]["lr"], seen[k]) for k in range(12))


def test_a_place_is_degraded_anew_each_time_that_it_is_drawn() -> None:
    crops = RandomCrops(pairs_of(noise(32, 32), degradation=Noise()), crop_size=32, seed=0)
    orientations = {crops[k]["hr"].numpy().tobytes() for k in range(40)}
    assert len(orientations) <= 8
    assert len({crops[k]["lr"].numpy().tobytes() for k in range(40)}) == 40


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_a_resumed_run_see_the_same_degradations(images: tuple[Tensor, ...], workers: int) -> None:
    crops = RandomCrops(pairs_of(*images, degradation=Noise()), crop_size=32, seed=0)

    def batches(num_workers: int, done: int) -> list[Tensor]:
        sampler = CropSampler(2, 4, progress=lambda: (done, done))
        return [batch["lr"] for batch in DataLoader(crops, batch_size=2, sampler=sampler, num_workers=num_workers)]

    alone, helped, resumed = batches(0, 0), batches(workers, 0), batches(workers, 2)
    assert len(alone) == len(helped) == 4
    assert all(map(torch.equal, alone, helped))
    assert len(resumed) == 2
    assert all(map(torch.equal, alone[2:], resumed))


def test_a_whole_image_is_a_function_of_seed_and_name(images: tuple[Tensor, ...]) -> None:
    pairs = pairs_of(*images, degradation=Noise())
    seen = [pair.lr for pair in pairs]
    assert all(torch.equal(pairs[index].lr, seen[index]) for index in (2, 0, 1))
    assert not torch.equal(pairs_of(*images, degradation=Noise(), seed=1)[0].lr, seen[0])
    # The second image by the name of the first, alone in its list.
    assert not torch.equal(pairs_of(images[1], degradation=Noise())[0].lr, seen[1])
    twins = pairs_of(images[0], images[0], degradation=Noise())
    assert not torch.equal(twins[0].lr, twins[1].lr)


def test_streams_are_the_same_in_every_process() -> None:
    # Philox's raw numbers, which no version of NumPy changes.
    raw = [stream.bit_generator.random_raw() for stream in (sample_stream(3, 5), image_stream(3, "baby"))]
    assert raw == [6931631680644316426, 5688219174659754265]


def test_names_that_are_not_text_have_streams_too() -> None:
    assert image_stream(0, "\udce9").integers(1 << 62) != image_stream(0, "e").integers(1 << 62)


def test_low_resolution_files_are_kept(images: tuple[Tensor, ...]) -> None:
    lr = noise(12, 16)
    pairs = pairs_of(images[0], degradation=Noise(), lr=lr)
    assert torch.equal(pairs[0].lr, lr)
    sample = RandomCrops(pairs, crop_size=48, seed=0)[0]["lr"]
    assert set(sample.unique().tolist()) <= set(to_float(lr).unique().tolist())


def test_a_crop_is_degraded_with_what_lies_around_it() -> None:
    image = noise(102, 133)
    places = Places(context=6)
    pairs = pairs_of(image, degradation=places)
    height, width = 25, 33
    for top, left in ((0, 0), (4, 5), (9, 10), (17, 18), (25 - 7, 33 - 7), (3, 1)):
        hr, lr = pairs.crop(0, top, left, 7, 7, np.random.default_rng(0))
        assert torch.equal(lr, hr[:, ::4, ::4])
        assert torch.equal(hr, image[:, 4 * top : 4 * (top + 7), 4 * left : 4 * (left + 7)])
        # 6 pixels are 2 of the low-resolution ones, beyond the border there is nothing, and blocks of JPEG are of 8.
        rows = min(top + 9, height) - max(top - 2, 0) // 8 * 8
        columns = min(left + 9, width) - max(left - 2, 0) // 8 * 8
        assert places.seen[-1] == (3, 4 * rows, 4 * columns)


def test_without_context_the_crop_alone_is_degraded() -> None:
    places = Places(context=0)
    pairs_of(noise(102, 133), degradation=places).crop(0, 11, 13, 7, 5, np.random.default_rng(0))
    assert places.seen == [(3, 28, 20)]


def test_whole_images_are_degraded_as_they_are_cropped_to_the_scale() -> None:
    places = Places(context=100)
    (pair,) = pairs_of(noise(43, 50, torch.uint16), degradation=places)
    assert places.seen == [(3, 40, 48)]
    assert pair.lr.dtype == torch.uint16


@pytest.mark.parametrize(
    "make", [lambda lr: lr[:, 1:], lambda lr: lr[:1], lambda lr: lr.to(torch.uint16), lambda lr: lr.float()]
)
def test_a_degradation_that_makes_another_kind_of_image_is_named(make: Callable[[Tensor], Tensor]) -> None:
    pairs = pairs_of(noise(32, 32), degradation=Wrong(make))
    with pytest.raises(ValueError, match=r"degradation Wrong .*\(3, 8, 8\)"):
        pairs[0]


def test_the_data_module_uses_it_everywhere(photographs: Path) -> None:
    sources = [str(photographs)]
    data = SRDataModule(sources, sources, sources, crop_size=32, seed=7, degradation=Noise())
    for stage in ("fit", "test"):
        data.setup(stage)
    train = RandomCrops(data.pairs["train"], 32, seed=7)
    whole = ImagePairs(data.pairs["val"].photos, data.pairs["val"].sizes, 4, data.pairs["val"].read, Noise(), seed=7)
    first = next(iter(data.train_dataloader()))
    assert torch.equal(first["lr"][3], train[3]["lr"])
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert all(
            torch.equal(batch["lr"], to_float(pair.lr)[None])  # type: ignore[arg-type]
            for batch, pair in zip(loader, whole, strict=True)
        )


def test_low_resolution_files_of_the_training_that_are_kept_are_told(tmp_path: Path) -> None:
    for name, side in (("HR/a.png", 32), ("LR_bicubic/X4/ax4.png", 8)):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (side, side)).save(tmp_path / name)
    with pytest.warns(UserWarning, match=r"data\.degradation leaves 1 file.*ax4\.png"):
        SRDataModule([str(tmp_path)], [str(tmp_path)], crop_size=32, degradation=Noise()).setup("fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SRDataModule([], [], [str(tmp_path)], degradation=Noise()).setup("test")
        SRDataModule([str(tmp_path / "HR")], [str(tmp_path)], crop_size=32, degradation=Noise()).setup("fit")


def test_a_config_names_it(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def named(*settings: str) -> Degradation | None:
        out = f"--out={tmp_path / 'out'}"
        return TrainerCLI(["--config", str(tiny_config), out, *settings], run=False).datamodule.degradation

    assert named() is None
    degradation = named("--data.degradation=BSRGAN", "--data.degradation.jpeg_range=[5, 9]")
    assert isinstance(degradation, BSRGAN)
    assert degradation.jpeg_range == (5, 9)
    (tmp_path / "own.yaml").write_text(f"""
data:
  degradation:
    class_path: {__name__}.Noise
    init_args: {{context: 3}}
""")
    degradation = named("--config", str(tmp_path / "own.yaml"))
    assert isinstance(degradation, Noise)
    assert degradation.context == 3
    for wrong, message in (
        ("jpeg_range=[9, 5]", "ascending"),
        ("jpeg_rnge=[5, 9]", "jpeg_range"),
        ("context=-1", "-1"),
    ):
        with pytest.raises((SystemExit, ValueError)) as raised:
            named("--data.degradation=BSRGAN", f"--data.degradation.{wrong}")
        assert message in capsys.readouterr().err + str(raised.value)


def test_what_is_no_degradation_is_refused(photographs: Path) -> None:
    with pytest.raises(TypeError, match=r"degradation.*Degradation.*'real_esrgan'"):
        SRDataModule([str(photographs)], [], degradation="real_esrgan")  # type: ignore[arg-type]
