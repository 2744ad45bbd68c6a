import importlib.util

import pytest
from torch import Tensor

from dec_kernels.doctor import costs
from dec_kernels.spec import Spec

SPEC = Spec(patch_size=4, threshold=30.0, distance="rmse")


def test_costs_say_why_a_backend_was_not_timed(photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> dict[str, costs.Cost]:
        return {cost["backend"]: cost for cost in costs.costs(*photo, SPEC)}

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    measured = found()
    assert measured["triton"]["seconds"] is None
    expected = "interpreted" if importlib.util.find_spec("triton") else "not installed"
    assert expected in (measured["triton"]["reason"] or "")
    for name in ("torch", "reference"):
        assert measured[name]["reason"] is None
        assert 1e-5 < (measured[name]["seconds"] or 0) < 10
    monkeypatch.setattr(costs, "MAX_DENSE_PATCHES", 83)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    measured = found()
    assert "84" in (measured["reference"]["reason"] or "")
    assert "CUDA" in (measured["triton"]["reason"] or "")
