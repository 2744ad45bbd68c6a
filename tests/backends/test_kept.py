"""What the C++ backend keeps of few rows from the forward to the backward."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss
from dec_kernels.backends import cpp
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.oracle import error, images

# One block, blocks that come out even, a ragged last one; and of 128 with the bf16 preset.
COLUMNS = [1, 63, 64, 65, 128, 200, 297, cpp.FEW]


def in_a_line(count: int, dtype: torch.dtype = torch.float32, batch: int = 1) -> tuple[Tensor, Tensor]:
    """SR and HR with so many patches of 2 x 2 an image."""
    return images(batch, 3, 2, 2 * count, 2, dtype)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, "ieee"), (torch.float32, "bf16"), (torch.float64, "ieee")]
)
@pytest.mark.parametrize("columns", COLUMNS)
def test_restored_as_prepared(columns: int, dtype: torch.dtype, precision: str, per_image: bool, center: bool) -> None:
    """Python says how much memory it takes, C++ lays it out: it raises where the two differ."""
    constants = Spec(patch_size=2, center=center).constants(12, precision)
    sr, hr = in_a_line(max(1, columns // 3), dtype, batch=3) if per_image else in_a_line(columns, dtype)
    batch, arguments = Batch.alone(sr, hr), (2, per_image, constants, dtype)
    rows = cpp.BACKEND.prepare(batch, *arguments)
    sums = cpp.BACKEND.forward(rows, constants)
    assert rows.kept.numel() == cpp.BACKEND.kept_bytes(sr, sums.shape[1], *arguments) > 0
    restored = cpp.BACKEND.restore(rows.kept.clone(), batch, sr, sums.shape[1], *arguments)
    for name in ("z", "p", "x", "h_scale", "column_order", "column_of_row", "z_scale", "first", "last", "order"):
        assert torch.equal(getattr(restored, name), getattr(rows, name)), name
    assert torch.equal(restored.sketch, rows.sketch)
    assert torch.equal(restored.reach, rows.reach)
    weights = torch.tensor([[-1.0], [1.0]], dtype=sums.dtype).expand_as(sums).contiguous()
    first, second = (cpp.BACKEND.backward(each, constants, weights) for each in (rows, restored))
    assert torch.equal(first, second)


def test_of_many_columns_nothing_is_kept() -> None:
    constants = Spec(patch_size=2).constants(12, "ieee")
    for per_image in (False, True):
        for more, kept in ((0, True), (1, False)):
            batch = Batch.alone(*in_a_line(cpp.FEW // 2 + more, batch=2))
            rows = cpp.BACKEND.prepare(batch, 2, per_image, constants, torch.float32)
            assert (rows.kept.numel() > 0) == kept


def test_a_second_backward_finds_what_the_first_one_found(two_threads: None) -> None:
    sr, hr = in_a_line(297)
    sr.requires_grad_()
    loss = DECLoss(patch_size=2, backend="cpp")(sr, hr)
    first, second = (torch.autograd.grad(loss, sr, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
def test_another_number_of_threads_in_the_backward(precision: str, two_threads: None) -> None:
    sr, hr = in_a_line(297)
    sr.requires_grad_()
    criterion = DECLoss(patch_size=2, backend="cpp", precision=precision)
    (expected,) = torch.autograd.grad(criterion(sr, hr), sr)
    loss = criterion(sr, hr)
    torch.set_num_threads(1)
    (found,) = torch.autograd.grad(loss, sr)
    assert error(found, expected) < (1e-6 if precision == "ieee" else 1e-2)
