import pytest

from dec_kernels.backends.triton import tiles
from tests.backends.triton.cases import SMALL


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", SMALL[0])
