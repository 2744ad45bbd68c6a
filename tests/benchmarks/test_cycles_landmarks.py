import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cycles
from benchmarks.cycles import landmarks
from benchmarks.cycles.gpus import GPUS
from benchmarks.cycles.walk import band
from benchmarks.workload import images
from dec_kernels.backends import triton
from dec_kernels.backends.triton import far
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.conftest import on_the_interpreter


@on_the_interpreter
def test_multiply_adds_are_those_that_pytorch_makes() -> None:
    n, dim, count = 256, 48, 16
    sr, hr = images(n, 4)
    constants = Spec(patch_size=4, landmarks=count).constants(dim, "tf32", count)
    with FlopCounterMode(display=False) as counter:
        rows = triton.BACKEND.prepare(Batch.alone(sr, hr), 4, False, constants, torch.float32)
        with FlopCounterMode(display=False) as choice:
            far.chosen(rows, constants)
        far.sums(rows, rows.far)
        far.gradient(rows, rows.far, "tf32", torch.ones_like(rows.mean), 1.0)
    asked = landmarks.products(n, dim, count, "tf32")
    of_landmarks = count * count * rows.z.shape[-1]
    made = counter.get_total_flops() - 2 * choice.get_total_flops()  # which the counter saw twice
    assert made == 2 * (asked.rounded + asked.float32 + of_landmarks)


def test_bands_are_those_of_the_rows_and_wider() -> None:
    found, rows = landmarks.bands(1024, 192, "l2"), band(1024, 192)
    # Those of a CPU have a wider margin.
    assert (rows.first <= found.own.first).all()
    assert (rows.last >= found.own.last).all()
    assert (rows.last - rows.first).sum() < 1.05 * (found.own.last - found.own.first).sum()
    assert (found.widened.first <= found.own.first).all()
    assert (found.widened.last >= found.own.last).all()
    assert not (found.widened.first % 32).any()


def test_the_stored_bands_take_the_stored_seconds() -> None:
    at = landmarks.bands(1024, 192, "l2").own
    for kernel in cycles.WALKS:
        found = landmarks.seconds_of_kernels("H100 SXM", 192, "bf16", at, at, [kernel])
        stored = cycles.stored("H100 SXM", landmarks.STORED, 192, "bf16")[kernel].seconds
        assert found == pytest.approx(stored)


def test_products_take_the_longer_of_their_rate_and_their_bytes() -> None:
    gpu = GPUS["H100 SXM"]
    assert landmarks.seconds_of_products(gpu, landmarks.Products(494.7e12 / 2, 0, 0), "tf32") == pytest.approx(1)
    assert landmarks.seconds_of_products(gpu, landmarks.Products(0, 0, 3.35e12), "bf16") == pytest.approx(1)
    slow = landmarks.seconds_of_products(gpu, landmarks.Products(494.7e12 / 2, 0, 0), "tf32x3")
    assert slow == pytest.approx(494.7e12 / 2 / (128 * 132 * 1.83e9))


def test_the_command_says_that_it_predicts(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["landmarks", "--n", "1024", "--precision", "bf16"])
    landmarks.main()
    assert cycles.PREDICTED in capsys.readouterr().out
