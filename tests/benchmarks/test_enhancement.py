"""The whole command with few patches, and what docs/enhancement.md says of the recorded figures."""

import json
from itertools import pairwise

import pytest
import torch

from benchmarks import enhancement
from benchmarks.compare import RESULTS


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["enhancement", "--n", "256", "--out", str(tmp_path)])
    enhancement.main()
    results = json.loads((tmp_path / "enhancement.json").read_text())
    assert [r["mu"] for r in results["records"]] == [None, *enhancement.MUS]
    assert (tmp_path / "enhancement.png").read_bytes().startswith(b"\x89PNG")


def test_the_share_beyond_what_low_resolution_holds():
    index = torch.arange(64)
    slow = torch.cos(2 * torch.pi * 8 * index / 64).expand(1, 1, 64, 64)  # an eighth of a cycle a pixel
    fast = torch.cos(2 * torch.pi * 9 * index / 64).expand(1, 1, 64, 64)
    for wave, share in ((slow, 0), (fast, 1), (fast.mT, 1), (slow + fast, 0.5)):
        assert enhancement.share_beyond_lr(wave) == pytest.approx(share, abs=1e-6)


def test_a_smaller_mu_moves_the_gradient_to_higher_frequencies():
    recorded = json.loads((RESULTS / "enhancement.json").read_text())["records"]
    measured = enhancement.measure(256, (32.0, 64.0, None))
    for loss in enhancement.LOSSES:
        for records in ((*recorded[1:], recorded[0]), measured):
            shares = [r[loss]["share_beyond_lr"] for r in records]
            assert all(smaller > larger for smaller, larger in pairwise(shares))
