"""The whole command at a tiny size, with a network that nobody trained."""

import json

import pytest
import torch.nn.functional as F

from benchmarks import landmarks
from benchmarks.landmarks import KINDS, Case, of_cases

COUNTS = (16, 32, 128)


def upscale(lr):
    return F.interpolate(lr, scale_factor=4, mode="bilinear")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["landmarks", "--n", "64", "--steps", "1", "--out", str(folder)])
        patch.setattr(landmarks, "COUNTS", COUNTS)
        patch.setattr(landmarks, "PATCH_SIZES", (8,))
        patch.setattr(landmarks, "T_NEGS", (0.5,))
        patch.setattr(landmarks, "trained_network", lambda steps: upscale)
        landmarks.main()
    return folder


@pytest.fixture(scope="module")
def results(written):
    return json.loads((written / "landmarks.json").read_text())


def test_writes_a_plot(written):
    assert (written / "landmarks.png").read_bytes().startswith(b"\x89PNG")


def test_every_case_has_every_number_of_landmarks(results):
    errors = of_cases(results, "gradient")
    assert len(errors) == len(KINDS) * (1 + 1) + 4
    assert all(list(of_case) == [*COUNTS, "ieee", "bf16"] for of_case in errors.values())


def test_more_landmarks_are_more_exact(results):
    for kind in ("qneg_rms", "qneg_largest", "loss", "gradient"):
        for case, errors in of_cases(results, kind).items():
            assert errors[128] < errors[16], (kind, case)
    for case, errors in of_cases(results, "gradient").items():
        if case.n <= 64:  # as many landmarks as there are SR and HR patches: every pair is computed
            assert errors[128] == errors["ieee"] < 1e-5
        assert 1e-4 < errors["bf16"] < 5e-2


def test_kinds_are_different_images(results):
    errors = of_cases(results, "gradient")
    assert len({errors[Case(kind, 64)][32] for kind in KINDS}) == len(KINDS)


def test_the_network_is_the_demos():
    network = landmarks.trained_network(1)
    lr = landmarks.images(64, 8)[1][:, :, ::4, ::4]
    assert network(lr).shape == (1, 3, 64, 64)
    assert not network.training
