import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

# Without a GPU the Triton kernels run in Triton's interpreter, which has to be asked for before they are imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


# Compiles for minutes on both cores. So it begins with the first test, behind the tests, and is asked for last.
GATE = "test_every_configuration_compiles_without_spills_within_shared_memory_and_with_wgmma"


@pytest.fixture(scope="session", autouse=True)
def compilation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen, str] | None]:
    """The process that compiles the tile table, and the file that it prints to, if its test is to run."""
    if not any(item.name == GATE for item in request.session.items):
        yield None
        return
    output = tmp_path_factory.mktemp("aot") / "output.txt"
    # It needs the kernels as they are, where the tests interpret them.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "dec_kernels.backends.triton.aot"]
    with (
        output.open("w") as file,
        subprocess.Popen(command, env=environment, stdout=file, preexec_fn=lambda: os.nice(19)) as process,
    ):
        yield process, str(output)
        process.kill()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name == GATE)
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
