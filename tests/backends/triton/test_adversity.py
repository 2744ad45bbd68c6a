"""The Triton kernels in Triton's interpreter, with programs in any order and memory that is full of anything."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch
from tests.conftest import on_the_interpreter
from tests.oracle import evaluate, images, threshold
from tests.test_distributed import sums_and_gradient

pytestmark = on_the_interpreter


@contextmanager
def programs_in_any_order(seed: int) -> Iterator[list[int]]:
    """The interpreter runs the programs of every launch in an order drawn by chance; it is in the list it gives."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    builder = getattr(interpreter, "interpreter_builder", None)
    if not hasattr(builder, "set_grid_idx"):
        pytest.skip("the interpreter of this Triton does not say which program it runs by set_grid_idx")
    chance, order = random.Random(seed), []
    set_grid_dim, set_grid_idx = builder.set_grid_dim, builder.set_grid_idx

    def draw(x: int, y: int, z: int) -> None:
        order[:] = chance.sample(range(x), x)
        set_grid_dim(x, y, z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "set_grid_dim", draw)
        patch.setattr(builder, "set_grid_idx", lambda x, y, z: set_grid_idx(order[x], y, z))
        yield order


@contextmanager
def memory_full_of_anything() -> Iterator[None]:
    """Tensors that are made empty are full of NaNs, and of the largest integer; PyTorch has that for such tests."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def images_to_gradient(scope: str, precision: str) -> tuple[Tensor, ...]:
    sr, hr = images(3, 3, 20, 28, 4, torch.float32)
    arguments = {"patch_size": 4, "threshold": threshold("l2", 3, 4), "scope": scope, "reduction": "none"}
    weights = torch.linspace(0.5, 1.5, 105)
    return evaluate(sr, hr, weights, backend="triton", precision=precision, **arguments)


def rows_of_one_rank() -> tuple[Tensor, ...]:
    sr, hr = images(3, 3, 20, 28, 4, torch.float32)
    return sums_and_gradient("triton", Batch(sr[1:2], sr, hr, 1), 4)


CASES = {f"{p}-{s}": partial(images_to_gradient, s, p) for p in tiles.PRECISIONS for s in ("batch", "image")}
CASES["ranks"] = rows_of_one_rank


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    # So small that every launch has several programs, and tiles on both sides of a band.
    monkeypatch.setattr(tiles, "INTERPRETED", Tiles(*4 * [Tile(32, 64, 4, 1)]))
    expected = CASES[case]()
    assert all(x.isfinite().all() for x in expected)
    with memory_full_of_anything(), programs_in_any_order(seed=list(CASES).index(case)) as order:
        found = CASES[case]()
    assert order != sorted(order)
    assert all(map(torch.equal, found, expected))
