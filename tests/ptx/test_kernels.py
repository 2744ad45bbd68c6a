"""The kernels as they are compiled for sm_90, against float64: the configurations of the tile table at D = 192."""

from collections.abc import Callable, Iterator

import pytest
import torch

from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.kernels.backward import backward_band, backward_plain
from dec_kernels.backends.triton.kernels.forward import forward_band, forward_plain
from dec_kernels.spec import Spec
from tests.conftest import on_the_interpreter
from tests.lanes import LANES
from tests.oracle import error, evaluate, images, threshold, truth
from tests.ptx.compiler import Compiler
from tests.ptx.kernels import Emulated, emulated
from tests.ptx.problem import Problem
from tests.ptx.run import Order

pytestmark = [pytest.mark.ptx, on_the_interpreter]

EPS = torch.finfo(torch.float32).eps
# Weights, positive here, are rounded by half a unit in the last place at most, each by itself. Of their sum over 270
# columns and more, at most an eighth of that is off (1 / sqrt(3 * 270) = 0.035 is to be expected).
ROUNDING = {"ieee": 4 * EPS, "tf32x3": 4 * EPS, "tf32": 2.0**-12 / 8, "bf16": 2.0**-9 / 8}
IN_STEP = Order(16)


@pytest.fixture(scope="module", params=LANES)
def compiler(request: pytest.FixtureRequest) -> Iterator[Compiler]:
    with Compiler(request.param) as compiler:
        yield compiler


def forward(problem: Problem, compiler: Compiler, order: Order, splits: int) -> None:
    row = tiles.TABLE["sm_90", problem.z.shape[-1], problem.precision]
    groups, r = problem.column_of_row.shape
    positive, negative = torch.full((groups, r), torch.nan), torch.full((splits, groups, r), torch.nan)
    outputs = {"positive": positive, "negative": negative}
    problem.start(Emulated(forward_plain, compiler, order), row.forward, row.forward, splits, **outputs)
    problem.start(Emulated(forward_band, compiler, order), row.forward, row.forward_band, 1, **outputs)
    true_positive, true_negative = problem.sums()
    assert error(positive, true_positive) < 4 * EPS
    assert error(negative.double().sum(0), true_negative) < 4 * EPS


def backward(problem: Problem, compiler: Compiler, order: Order, splits: int) -> None:
    row = tiles.TABLE["sm_90", problem.z.shape[-1], problem.precision]
    dz = torch.full((splits, *problem.column_of_row.shape, problem.p.shape[-1]), torch.nan)
    problem.start(Emulated(backward_plain, compiler, order), row.backward, row.backward, splits, dz=dz)
    problem.start(Emulated(backward_band, compiler, order), row.backward, row.backward_band, 1, dz=dz)
    assert error(dz.double().sum(0), problem.gradient()) < ROUNDING[problem.precision]


Direction = Callable[[Problem, Compiler, Order, int], None]
DIRECTIONS = pytest.mark.parametrize("direction", [forward, backward])
PRECISIONS = pytest.mark.parametrize("precision", ["bf16", "tf32"])


@DIRECTIONS
@PRECISIONS
def test_many_tiles(compiler: Compiler, precision: str, direction: Direction) -> None:
    """Two blocks of rows, the second with an end, six tiles of columns and an end; two parts of each walk."""
    row = tiles.TABLE["sm_90", 192, precision]
    tile = row.forward if direction is forward else row.backward
    columns = max(6 * tile.columns, 2 * tile.rows) + 9
    direction(Problem.random(1, columns, tile.rows + 12, 192, precision), compiler, IN_STEP, 2)


@DIRECTIONS
@pytest.mark.parametrize(
    ("precision", "order"), [("bf16", Order(1, "reverse", 1)), ("tf32", Order(1, "random", 2))], ids=["bf16", "tf32"]
)
def test_warps_one_by_one(compiler: Compiler, precision: str, direction: Direction, order: Order) -> None:
    """Two groups, and a temperature inside; bf16 in reverse, tf32 in no order."""
    direction(Problem.random(2, 270, 16, 192, precision, inside=True), compiler, order, 1)


@pytest.mark.parametrize(("precision", "scope"), [("bf16", "batch"), ("tf32", "image")])
def test_from_images_to_a_gradient(compiler: Compiler, precision: str, scope: str) -> None:
    """Every kernel, by the package's own launches; the bounds are those of the presets on photographs."""
    sr, hr = images(2, 3, 5 * 8, 7 * 8, 8, torch.float32)
    spec = Spec(patch_size=8, threshold=threshold("l2", 3, 8), scope=scope)
    true = truth(sr, hr, spec)
    with emulated(compiler, IN_STEP):
        ours = evaluate(sr, hr, **(vars(spec) | {"backend": "triton", "precision": precision}))
    most = {"tf32": 5e-4, "bf16": 4e-3}[precision]
    assert error(ours.gradient, true.gradient) < most
    assert error(ours.loss, true.loss) < most / 8
