import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import lanes

# Without a GPU the Triton kernels run in Triton's interpreter, which has to be asked for before they are imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session", autouse=True)
def compilations(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[subprocess.Popen, Path]]]:
    """Lane -> the process that compiles the tile table with its Triton, and the file that it prints to.

    It compiles for minutes on both cores. So it begins with the first test, behind all tests, if one of those that are
    to run has the marker `compiles_table`; and these come last.
    """
    wanted = [item.callspec.params["lane"] for item in request.session.items if _compiles_table(item)]
    folder = tmp_path_factory.mktemp("aot")
    with contextlib.ExitStack() as stack:
        processes = {}
        for lane in wanted if lanes.OLDEST.exists() else set(wanted) - {"oldest"}:
            output = folder / f"{lane}.txt"
            process = subprocess.Popen(
                [sys.executable, "-m", "dec_kernels.backends.triton.aot", "--width", *map(str, lanes.WIDTHS[lane])],
                env=lanes.environment(lane), stdout=stack.enter_context(output.open("w")),
                preexec_fn=lambda: os.nice(19), process_group=0,  # in a session of its own, being nice would not count
            )  # fmt: skip
            processes[lane] = (stack.enter_context(process), output)
            stack.callback(_end, process)
        yield processes


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


def _end(process: subprocess.Popen) -> None:
    """Ends it and its workers, which would wait for it for ever."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _compiles_table(item: pytest.Item) -> bool:
    return item.get_closest_marker("compiles_table") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_compiles_table)
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
