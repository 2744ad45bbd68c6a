import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

# Without a GPU the Triton kernels run in Triton's interpreter, which has to be asked for before they are imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session", autouse=True)
def bf16_is_bf16() -> Iterator[None]:
    """The tests of precision="bf16" see rounded products on every CPU, whether it gains by them or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dec_kernels.backends.precision.cpu_gains_by_bf16", lambda: True)
        yield


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data/imresize_and_metrics.npz") as arrays:
        return dict(arrays)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes minutes begins first, so that no process of the run has it left when the others are done.
    items.sort(key=lambda item: item.get_closest_marker("compiles_table") is None)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


on_the_interpreter = pytest.mark.skipif(
    torch.cuda.is_available(), reason="Triton's interpreter is off where there is a GPU; test_gpu.py runs the kernels"
)
TRITON = pytest.param("triton", marks=on_the_interpreter)


@pytest.fixture(params=["torch", "cpp", TRITON])
def tiled(request: pytest.FixtureRequest) -> str:
    """The names of the tiled backends."""
    return request.param


@pytest.fixture(params=["reference", "torch", "cpp", TRITON])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["torch", "cpp"])
def compiled(request: pytest.FixtureRequest) -> str:
    """The names of the tiled backends that are fast on a CPU."""
    return request.param


@pytest.fixture(params=["reference", "torch", "cpp"])
def float64_backend(request: pytest.FixtureRequest) -> str:
    """The names of the backends that compute in float64."""
    return request.param
