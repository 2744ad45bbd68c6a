import torch

from benchmarks import shares
from dec_kernels.patches import Batch, prepare
from dec_kernels.spec import Spec
from tests.oracle import images


def test_every_pair_is_counted_as_its_definition_says() -> None:
    sr, hr = images(2, 3, 40, 44, 4, torch.float32)
    rows = prepare(Batch.alone(sr, hr), 4, True, Spec(patch_size=4).constants(48, "ieee"), torch.float32)
    column = torch.arange(110)
    band = (rows.first[..., None] <= column) & (column < rows.last[..., None])
    difference = rows.sketch[:, :, None].double() - rows.sketch[:, None].double()
    near = band & (difference.square().sum(-1) <= rows.reach.double() ** 2)
    assert shares.count(rows) == (band.sum(), near.sum())
    assert 0 < near.sum() < band.sum() < 2 * 110**2


def test_few_pairs_of_photographs_are_near() -> None:
    l2, rmse = shares.measure([1024])
    assert (l2["distance"], rmse["distance"]) == ("l2", "rmse")
    for record in (l2, rmse):
        assert 1 / 1024 <= record["near"] < record["band"] / 2
