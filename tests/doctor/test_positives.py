import pytest
import torch
from torch import Tensor

from dec_kernels import reference
from dec_kernels.doctor import positives
from dec_kernels.spec import Spec


@pytest.mark.parametrize("per_image", [False, True])
def test_counts_of_a_constructed_image(per_image: bool) -> None:
    """Flat gray patches: rmse is the difference of the grays, 0.0315 at 30 dB; l2 is 4 sqrt(3) times that."""
    grays = torch.tensor([[0.5, 0.53, 0.56, 0.1], [0.1, 0.5, 0.504, 0.9]])
    hr = grays[:, None, None, :].repeat_interleave(4, 3).expand(2, 3, 4, 16)
    spec = Spec(patch_size=4, threshold=30.0, distance="rmse", scope="image" if per_image else "batch")
    found, counts = positives.examine(hr, spec, (20.0, 40.0), 0)
    # batch: 0.1 0.1 | 0.5 0.5 0.504 0.53 | 0.53 0.56 | 0.9; image: 0.5 0.53, 0.53 0.56, and 0.5 0.504
    expected = {"1": 3, "2": 4, "3-4": 1} if per_image else {"1": 1, "2": 3, "3-4": 3, "5-8": 1}
    assert found["histogram"] == expected
    assert found["rows"] == 8
    assert found["alone"]["rmse"] == expected["1"] / 8
    assert found["alone"]["l2"] == (6 / 8 if per_image else 3 / 8)
    assert [len(each) for each in counts.values()] == [2, 2]


@pytest.mark.parametrize("scope", ["batch", "image"])
def test_counts_are_the_row_sums_of_the_mask(scope: str, photo: tuple[Tensor, Tensor]) -> None:
    _, hr = photo
    groups = positives.groups(hr, 4, scope == "image")
    p = reference.patch_rows(hr.double(), 4)
    p = p if scope == "image" else p.flatten(0, 1)[None]
    for db in (20.0, 30.0, 45.0):
        radius = Spec(patch_size=4, threshold=db, distance="rmse").radius(48)
        counts = positives.count(groups, [radius, 1e-9], 0)
        truth = reference.positives(p, radius).sum(-1)
        assert counts[0].sort().values.tolist() == truth.flatten().sort().values.tolist()


def test_a_sample_of_rows_sees_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positives, "MAX_PAIRS", 300)
    counts = positives.count(positives.groups(torch.zeros(1, 1, 40, 40), 4, False), [0.1], 0)
    assert counts.tolist() == [[100, 100, 100]]


def test_the_band_covers_every_tile_with_a_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positives, "TILE", 2)
    grays = torch.tensor([0.0, 0.01, 0.5, 0.51, 0.52, 0.9, 0.91])
    hr = grays[None, None, None].repeat_interleave(2, 3).expand(1, 1, 2, 14)
    groups = positives.groups(hr, 2, False)
    # Tiles of rows (0 0.01) (0.5 0.51) (0.52 0.9) (0.91): 1, 2, 1 + 1 + 1 and 2 tiles of columns reach them.
    assert positives.band_share(groups, 2 * 0.015) == (1 + 2 + 3 + 2) / 16
    assert positives.band_share(groups, 2 * 2.0) == 1


def test_the_histogram_doubles_its_bins() -> None:
    assert positives.histogram(torch.tensor([1, 2, 2, 3, 5, 8, 9])) == {"1": 1, "2": 2, "3-4": 1, "5-8": 2, "9-16": 1}
