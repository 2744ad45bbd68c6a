import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from dec_kernels.coo import CenterProblem, Settings, examine, over_smoothing
from dec_kernels.coo.groups import measure
from dec_kernels.coo.linear import split
from dec_kernels.resize import imresize


@pytest.fixture(scope="module")
def photographs() -> list[Tensor]:
    """Parts of two, (3, 200, 240) and (3, 160, 200), float64."""
    coffee, rocket = (
        torch.from_numpy(image).permute(2, 0, 1).double() / 255 for image in (data.coffee(), data.rocket())
    )
    return [coffee[:, 100:300, 200:440], rocket[:, 100:260, 200:400]]


@pytest.fixture(scope="module")
def problem(photographs: list[Tensor]) -> CenterProblem:
    return examine(photographs, 4)


def centers(problem: CenterProblem) -> list[Tensor]:
    """The images of the centers."""
    rows = problem.maps(problem.hr + problem.groups.to_center)
    return [
        F.fold(values.flatten(0, 1).T[None], shape[1:], problem.settings.patch, stride=problem.settings.patch)[0]
        for values, shape in zip(rows, problem.shapes, strict=True)
    ]


def smoothed(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="reflect"), 3, stride=1)[0]


def test_hr_scores_0_and_the_centers_1(photographs: list[Tensor], problem: CenterProblem) -> None:
    same = problem.score(photographs)
    assert same.score == 0
    assert not same.image_scores.any()
    assert not same.nearer_center.any()
    assert not same.square_error.any()
    wanted = torch.ones(2, dtype=torch.float64)
    at_center = problem.score(centers(problem))
    torch.testing.assert_close(at_center.image_scores, wanted)
    torch.testing.assert_close(at_center.nearer_center, wanted)
    torch.testing.assert_close(at_center.square_error, problem.groups.to_center.square().sum(1))
    between = problem.score([0.7 * hr + 0.3 * center for hr, center in zip(photographs, centers(problem), strict=True)])
    torch.testing.assert_close(between.image_scores, 0.3 * wanted)
    torch.testing.assert_close(between.place.nanmedian().item(), 0.3)
    assert not between.nearer_center.any()


def test_smoother_outputs_score_higher(photographs: list[Tensor], problem: CenterProblem) -> None:
    outputs = {
        "sharpened": [2 * image - smoothed(image) for image in photographs],
        "smoothed": [smoothed(image) for image in photographs],
        "bicubic": [imresize(imresize(image, 1 / 4), 4.0) for image in photographs],
    }
    scores = {name: problem.score(images) for name, images in outputs.items()}
    for image in range(2):
        figures = {name: score.image_scores[image].item() for name, score in scores.items()}
        assert figures["sharpened"] < -0.2
        assert 0.3 < figures["smoothed"] < figures["bicubic"]
        assert 0.8 < figures["bicubic"] < 1.2
    assert (scores["bicubic"].nearer_center > scores["smoothed"].nearer_center).all()
    assert scores["smoothed"].score == pytest.approx(
        scores["smoothed"].image_scores.mean().item(), abs=scores["smoothed"].image_scores.diff().abs().item()
    )


def test_noise_is_not_over_smoothing(photographs: list[Tensor], problem: CenterProblem) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = [image + 0.03 * torch.randn(image.shape, generator=generator, dtype=torch.float64) for image in photographs]
    assert problem.score(noisy).score == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_the_true_mean_scores_1_for_groups_of_any_size(size: int) -> None:
    """800 groups with the same null part on average, and one output for all: that mean."""
    generator = torch.Generator().manual_seed(0)
    null = 0.02 + 0.05 * torch.randn(800 * size, 16, generator=generator, dtype=torch.float64)
    low = torch.linspace(0, 1, 800, dtype=torch.float64)[:, None].expand(800, 4).repeat_interleave(size, 0)
    groups = measure(low, null, threshold=90, theta=10**6, seed=0)
    settings, height = Settings(scale=2), 4 * len(null)
    synthetic = CenterProblem(settings, [(1, height, 4)], torch.arange(len(null)), 0.5 + null, groups)
    output = torch.full((1, height, 4), 0.5 + 0.02, dtype=torch.float64)
    assert synthetic.score([output]).score == pytest.approx(1, abs=0.03)


def test_the_parts_of_an_image_are_what_the_groups_are_made_of(photographs: list[Tensor]) -> None:
    alone = examine(photographs, 4, threshold=100)
    assert (alone.groups.size == 1).double().mean() > 0.9
    single = alone.groups.size == 1
    null = [split(image, 4).null for image in photographs]
    rows = torch.cat([F.unfold(image[None], 8, stride=8)[0].T for image in null])
    torch.testing.assert_close(alone.groups.length[single], rows.norm(dim=1)[single])
    assert not alone.groups.entropy[single].any()


def test_one_patch_says_nothing() -> None:
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = examine([image], 4)
    assert found.groups.size.tolist() == [1]
    score = found.score([image / 2])
    assert math.isnan(score.score)
    assert score.image_scores.isnan().all()
    assert score.nearer_center.isnan().all()
    assert score.informative.tolist() == [0]
    assert score.place.isnan().all()


def test_a_flat_image_says_nothing() -> None:
    found = examine([torch.full((3, 80, 80), 0.3)], 4)
    assert (found.groups.size == 100).all()
    assert found.groups.spread.max() < 1e-20
    assert (found.groups.entropy == -math.inf).all()
    assert math.isnan(found.score([torch.rand(3, 80, 80)]).score)


@pytest.mark.parametrize("shape", [(3, 81, 83), (3, 83, 88)])
def test_rows_and_columns_that_are_left_over_do_not_count(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    height, width = (side - side % 4 for side in shape[1:])
    found, wanted = examine([image], 4, threshold=10), examine([image[:, :height, :width]], 4, threshold=10)
    assert found.shapes == [(3, height, width)]
    torch.testing.assert_close(found.groups, wanted.groups)
    for output in (image / 2, image[:, :height, :width] / 2):
        torch.testing.assert_close(found.score([output]).place, wanted.score([image / 2]).place)


def test_images_of_whole_values_are_scaled(photographs: list[Tensor]) -> None:
    whole = [(255 * image).round() for image in photographs]
    wanted = examine([image / 255 for image in whole], 4).groups
    torch.testing.assert_close(examine([image.byte() for image in whole], 4).groups, wanted, equal_nan=True)
    sixteen = [(257 * image).to(torch.uint16) for image in whole]
    torch.testing.assert_close(examine(sixteen, 4).groups, wanted, equal_nan=True)


def test_of_many_patches_some_are_drawn(photographs: list[Tensor], problem: CenterProblem) -> None:
    found = examine(photographs, 4, max_patches=200, seed=3)
    assert len(found.groups.size) == len(found.index) == 200
    assert torch.equal(found.hr, problem.hr[found.index])
    assert problem.image.bincount().tolist() == [25 * 30, 20 * 25]
    assert torch.equal(found.image, problem.image[found.index])
    pictures = found.maps(found.groups.size.double())
    assert [tuple(picture.shape) for picture in pictures] == [(25, 30), (20, 25)]
    assert sum((~picture.isnan()).sum().item() for picture in pictures) == 200
    flat = torch.cat([picture.flatten() for picture in pictures])
    assert torch.equal(flat[found.index], found.groups.size.double())
    assert not torch.equal(examine(photographs, 4, max_patches=200, seed=4).index, found.index)
    assert found.score(photographs).score == 0


def test_over_smoothing_is_both_at_once(photographs: list[Tensor], problem: CenterProblem) -> None:
    outputs = [smoothed(image) for image in photographs]
    assert over_smoothing(outputs, photographs, 4).score == problem.score(outputs).score
    assert over_smoothing(outputs, photographs, 4, threshold=28.0).score != problem.score(outputs).score


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"scale": 1}, "scale .*1"),
        ({"patch_size": 6}, "patch_size .*4.*6"),
        ({"patch_size": 0}, "patch_size .*4.*0"),
        ({"threshold": -1.0}, "threshold .*-1"),
        ({"threshold": 101.0}, "threshold .*101"),
        ({"threshold": math.nan}, "threshold .*nan"),
        ({"theta": 1}, "theta .*1"),
        ({"max_patches": 0}, "max_patches .*0"),
        ({"seed": -1}, "seed .*-1"),
        ({"seed": 2**64}, "seed .*18446744073709551616"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        examine([torch.rand(3, 16, 16)], **({"scale": 4} | settings))


@pytest.mark.parametrize("name", ["scale", "patch_size", "theta", "max_patches", "seed"])
@pytest.mark.parametrize("value", [8.0, 8.5, True, "8"])
def test_settings_that_must_be_integers_are_named(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} .*int.*{value}"):
        examine([torch.rand(3, 16, 16)], **({"scale": 4} | {name: value}))


def test_a_threshold_that_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match=r"^threshold .*34"):
        examine([torch.rand(3, 16, 16)], 4, threshold="34")


def test_integers_of_numpy_are_integers() -> None:
    settings = Settings(scale=np.int64(4), patch_size=np.int32(8), seed=2**64 - 1)
    assert settings == Settings(scale=4, patch_size=8, seed=2**64 - 1)
    assert type(settings.scale) is int
    assert len(examine([torch.rand(3, 16, 16)], **vars(settings)).index) == 4


IMAGE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "error", "wanted"),
    [
        ([], ValueError, "hr"),
        ([IMAGE[0]], ValueError, r"hr\[0\].*\(16, 16\)"),
        ([IMAGE[:0]], ValueError, r"hr\[0\].*\(0, 16, 16\)"),
        ([IMAGE, IMAGE[:, :7]], ValueError, r"hr\[1\].*8 x 8.*7 x 16"),
        ([IMAGE, IMAGE[:1]], ValueError, r"3 and 1 in hr\[1\]"),
        ([IMAGE.int()], TypeError, r"hr\[0\].*int32"),
        ([IMAGE, 255 * IMAGE], ValueError, r"hr\[1\].*254"),
        ([IMAGE.clone().fill_(math.nan)], ValueError, r"hr\[0\].*nan"),
    ],
)
def test_images_that_cannot_be_examined_are_named(images: list[Tensor], error: type[Exception], wanted: str) -> None:
    with pytest.raises(error, match=wanted):
        examine(images, 4)


@pytest.mark.parametrize(
    ("images", "error", "wanted"),
    [
        ([], ValueError, "1 HR images, got 0"),
        ([IMAGE[:, :12]], ValueError, r"sr\[0\].*\(3, 16, 16\).*\(3, 12, 16\)"),
        ([IMAGE.repeat(1, 2, 1)], ValueError, r"sr\[0\].*\(3, 32, 16\)"),
        ([IMAGE[:1]], ValueError, r"sr\[0\].*\(1, 16, 16\)"),
        ([IMAGE[0]], ValueError, r"sr\[0\].*\(16, 16\)"),
        ([IMAGE.int()], TypeError, r"sr\[0\].*int32"),
        ([255 * IMAGE], ValueError, r"sr\[0\].*254"),
    ],
)
def test_outputs_that_do_not_go_with_hr_are_named(images: list[Tensor], error: type[Exception], wanted: str) -> None:
    problem = examine([IMAGE], 4)
    with pytest.raises(error, match=wanted):
        problem.score(images)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(TypeError, match="tetha"):
        examine([IMAGE], 4, tetha=3)
