"""The CUDA path of `csrc/` on the CPU: `cuda_on_cpu/` compiles its sources as they are and runs their kernels.

That leaves to `backends/test_gpu.py` what only a device can show. Tiles are smaller here: few rows need several.
"""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import cpp_extension

from dec_kernels.backends import cpp
from dec_kernels.backends import torch as torch_backend
from dec_kernels.patches import Batch, Patches, prepare
from dec_kernels.spec import Constants, Spec
from tests.oracle import error, evaluate, images, threshold

ROOT = Path(__file__).parent.parent
SHIM = ROOT / "tests" / "cuda_on_cpu"
TILE = 272  # a block of 256 threads takes a second turn
PATCHES = {12: (3, 2), 48: (3, 4), 192: (3, 8)}  # D = C * P * P
# Of P x P pixels: 280 rows are two tiles, the second one ragged. Of groups of 150 rows three fit into the stack.
SIZES = {"batch": (2, 10, 14), "image": (4, 10, 15)}

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None or sys.platform != "linux", reason="it takes Linux and a C++ compiler"
)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cpp_extension.load(
        "dec_cuda_on_cpu",
        str(SHIM / "walk.cpp"),
        extra_cflags=["-std=c++20", "-O2", "-Wall", "-Werror", "-U_FORTIFY_SOURCE", f"-DDEC_CUDA_TILE={TILE}"],
        extra_include_paths=[str(SHIM), str(ROOT / "csrc")],
        build_directory=str(tmp_path_factory.mktemp("cuda_on_cpu")),
        is_python_module=False,
    )
    return torch.ops.dec_cuda_on_cpu


@pytest.fixture(autouse=True)
def cuda(extension: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The C++ backend calls the CUDA path for tensors on the CPU, and memory is full of NaN until it is written to."""
    # Without what the forward keeps for the backward, which it does on a CPU alone.
    walk = {
        "forward_cpu": lambda *arguments: extension.forward(*arguments[:-1]),
        "backward_cpu": lambda *arguments: extension.backward(*arguments[:-1]),
    }
    monkeypatch.setattr(cpp, "extension", SimpleNamespace(**(vars(cpp.extension) | walk)))
    torch.use_deterministic_algorithms(True)
    yield extension
    torch.use_deterministic_algorithms(False)


class Sums(NamedTuple):
    qpos: Tensor
    qneg: Tensor
    dz: Tensor


def sums(backend: Any, rows: Patches, constants: Constants) -> Sums:
    # Weights of both signs, of a size of their own for each row and class.
    generator = torch.Generator().manual_seed(1)
    alpha, beta = torch.randn(2, *rows.h_scale.shape, generator=generator).to(rows.z.dtype)
    ours = backend.BACKEND
    return Sums(*ours.sums(rows, constants), ours.gradients(rows, constants, alpha, 0.1 * beta))


def in_float64(rows: Patches) -> Patches:
    p = rows.p.double()
    return replace(rows, z=rows.z.double(), p=p, x=p, h_scale=rows.h_scale.double())


def case(
    dim: int, distance: str, temperature: str, scope: str, dtype: torch.dtype, precision: str = "ieee"
) -> tuple[Patches, Constants]:
    channels, patch_size = PATCHES[dim]
    eta = threshold(distance, channels, patch_size)
    spec = Spec(
        patch_size=patch_size, threshold=eta, t_pos=0.4, t_neg=1.3, distance=distance, temperature=temperature
    )  # fmt: skip
    batch, height, width = SIZES[scope]
    sr, hr = images(batch, channels, height * patch_size, width * patch_size, patch_size, dtype)
    hr[0, :, :patch_size, :patch_size] = 0  # a row of norm zero
    constants = spec.constants(dim, precision)
    return prepare(Batch.alone(sr, hr), patch_size, scope == "image", constants, dtype), constants


@pytest.mark.parametrize("scope", SIZES)
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
@pytest.mark.parametrize("dim", PATCHES)
def test_float32_is_as_good_as_plain_float32(dim: int, distance: str, temperature: str, scope: str) -> None:
    rows, constants = case(dim, distance, temperature, scope, torch.float32)
    true = sums(torch_backend, in_float64(rows), constants)
    plain = sums(torch_backend, rows, constants)
    for ours, theirs, exact in zip(sums(cpp, rows, constants), plain, true, strict=True):
        assert error(ours, exact) <= 2 * error(theirs, exact) + torch.finfo(torch.float32).eps


@pytest.mark.parametrize("scope", SIZES)
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_float64(distance: str, temperature: str, scope: str) -> None:
    rows, constants = case(48, distance, temperature, scope, torch.float64)
    for ours, exact in zip(sums(cpp, rows, constants), sums(torch_backend, rows, constants), strict=True):
        assert error(ours, exact) < 1e-14


@pytest.mark.parametrize("scope", SIZES)
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("dim", [48, 192])
def test_bf16_rounds_operands_and_nothing_else(dim: int, temperature: str, scope: str) -> None:
    rows, constants = case(dim, "l2", temperature, scope, torch.float32, "bf16")
    true = sums(torch_backend, in_float64(rows), constants)
    # On the CPU that one rounds the results of the products, too.
    plain = sums(torch_backend, rows, constants)
    for ours, theirs, exact in zip(sums(cpp, rows, constants), plain, true, strict=True):
        assert 2.0**-20 < error(ours, exact) < error(theirs, exact)


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
@pytest.mark.parametrize("dim", [12, 192])
def test_rows_of_one_rank_among_the_columns_of_all(dim: int, precision: str) -> None:
    channels, patch_size = PATCHES[dim]
    sr, hr = images(3, channels, 10 * patch_size, 14 * patch_size, patch_size, torch.float32)
    constants = Spec(patch_size=patch_size, threshold=threshold("l2", channels, patch_size)).constants(dim, precision)
    own = prepare(Batch(sr[1:], sr, hr, 1), patch_size, False, constants, torch.float32)
    whole = prepare(Batch.alone(sr, hr), patch_size, False, constants, torch.float32)
    # Sums have another order where tiles begin elsewhere; bf16 products are summed in another order too.
    tolerance = 1e-6 if precision == "ieee" else 1e-3
    for ours, theirs in zip(sums(cpp, own, constants), sums(cpp, whole, constants), strict=True):
        assert error(ours, own.of_rows(theirs)) < tolerance


def nan_in_hr(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    hr[0, 0, 5, 5] = torch.nan
    return sr, hr


def infinity_in_sr(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    sr[0, 0, 5, 5] = torch.inf
    return sr, hr


def all_equal(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(sr, 0.3), torch.full_like(hr, 0.7)


def one_row(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    return sr[:1, :, :4, :4], hr[:1, :, :4, :4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("change", [nan_in_hr, infinity_in_sr, all_equal, one_row])
def test_degenerate_rows(change: Any, dtype: torch.dtype) -> None:
    sr, hr = change(*images(1, 3, 32, 32, 4, dtype))
    constants = Spec(patch_size=4).constants(48, "ieee")
    rows = prepare(Batch.alone(sr, hr), 4, False, constants, dtype)
    for ours, theirs in zip(sums(cpp, rows, constants), sums(torch_backend, rows, constants), strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_the_loss_and_its_gradient() -> None:
    """Through the operator, with the arguments that the backend passes to CUDA devices, but for the stream."""
    sr, hr = images(2, 3, 17, 21, 4, torch.float64)
    cuda = evaluate(sr, hr, patch_size=4, backend="cpp")
    reference = evaluate(sr, hr, patch_size=4, backend="reference")
    assert error(cuda.loss, reference.loss) < 1e-14
    assert error(cuda.gradient, reference.gradient) < 1e-12


def test_two_runs_give_the_same_bits() -> None:
    rows, constants = case(48, "l2", "outside", "batch", torch.float32)
    for first, second in zip(sums(cpp, rows, constants), sums(cpp, rows, constants), strict=True):
        assert torch.equal(first, second)


def test_a_launch_that_fails_is_an_error(cuda: Any) -> None:
    rows, constants = case(12, "l2", "outside", "batch", torch.float32)
    cuda.fail_launches(True)
    try:
        with pytest.raises(RuntimeError, match="dec_kernels was not launched: invalid configuration argument"):
            cpp.BACKEND.forward(rows, constants)
    finally:
        cuda.fail_launches(False)
    cpp.BACKEND.forward(rows, constants)
