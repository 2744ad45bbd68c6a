"""What `facts.py` makes of groups whose sizes and entropies are known."""

import math

import pytest
import torch
from torch import Tensor

from dec_kernels.coo import CenterProblem, Settings
from dec_kernels.coo.facts import Facts, gather
from dec_kernels.coo.groups import measure


def facts(sizes: list[int], flat: list[bool], theta: int = 30) -> tuple[Facts, Tensor]:
    """The facts about groups of these sizes, and the entropies of all patches; patches of a flat group are equal."""
    generator = torch.Generator().manual_seed(0)
    low = torch.linspace(0, 1, len(sizes), dtype=torch.float64).repeat_interleave(torch.tensor(sizes))
    null = 0.05 * torch.randn(len(low), 16, generator=generator, dtype=torch.float64)
    null[torch.tensor(flat).repeat_interleave(torch.tensor(sizes))] = 0.01
    groups = measure(low[:, None].expand(-1, 4), null, threshold=90, theta=theta, seed=0)
    settings, shape = Settings(scale=2, theta=theta), (1, 4 * len(low), 4)
    problem = CenterProblem(settings, [shape], torch.arange(len(low)), 0.5 + null, groups)
    return gather(problem, None, ["image"], []), groups.entropy


def test_no_bin_mixes_entropies_of_both_sides_of_theta() -> None:
    found, entropy = facts([20, 29, 30, 32, 40], [False] * 5)
    assert [one["sizes"] for one in found["by_size"]] == ["20-29", "30-32", "40"]
    assert [one["groups"] for one in found["by_size"]] == [49, 62, 40]
    assert [one["gaussian"] > 0 for one in found["by_size"]] == [False, True, True]
    assert found["by_size"][0]["entropy"] == pytest.approx(math.log(29))  # the median of 20 and 29 patches
    assert found["by_size"][1]["entropy"] == pytest.approx(entropy[49 : 49 + 62].nanmedian().item())
    assert not any(one["flat"] for one in found["by_size"])


@pytest.mark.parametrize("theta", [2, 3, 5, 6, 10**6])
def test_every_group_is_in_one_bin(theta: int) -> None:
    found, _ = facts(list(range(1, 11)), [False] * 10, theta)
    assert sum(one["groups"] for one in found["by_size"]) == 55
    for one in found["by_size"]:
        low, _, high = one["sizes"].partition("-")
        assert int(high or low) < theta or int(low) >= theta
    assert found["by_size"][0]["sizes"] == "1"


def test_flat_groups_are_counted() -> None:
    found, _ = facts([3, 40], [False, True])
    assert [(one["entropy"] is None, one["flat"]) for one in found["by_size"]] == [(False, 0), (True, 40)]


def test_of_groups_of_like_spread_an_entropy_is_given_only_on_one_side_of_theta() -> None:
    mixed, _ = facts([3, 40], [False, False])
    assert {one["entropy"] for one in mixed["by_spread"] if one["sizes"] == "3-40"} == {None}
    small, _ = facts([3, 4], [False, False])
    assert all(one["entropy"] is not None for one in small["by_spread"])
