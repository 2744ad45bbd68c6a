import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


@pytest.fixture(params=["torch", "cpp"])
def tiled(request: pytest.FixtureRequest) -> str:
    """The names of the tiled backends."""
    return request.param


@pytest.fixture(params=["reference", "torch", "cpp"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param
