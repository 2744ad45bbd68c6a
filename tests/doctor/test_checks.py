import pytest
import torch
from torch import Tensor

from dec_kernels.backends import torch as torch_backend
from dec_kernels.doctor import checks, examine
from dec_kernels.spec import Spec
from tests.oracle import error, truth

SPEC = Spec(patch_size=4, threshold=30.0, distance="rmse")


def test_errors_are_those_of_the_oracle(photo: tuple[Tensor, Tensor]) -> None:
    sr, hr = photo
    found = {check["backend"]: check for check in checks.checks(sr, hr, SPEC)}
    assert {"torch", "reference"} <= set(found)
    assert all(check["right"] for check in found.values())
    true = truth(sr, hr, SPEC)
    x = sr.clone().requires_grad_()
    examine.loss(x, hr, Spec(patch_size=4, threshold=30.0, distance="rmse", backend="torch")).backward()
    assert x.grad is not None
    assert found["torch"]["gradient_error"] == pytest.approx(error(x.grad, true.gradient), rel=1e-3)
    assert 0 < found["torch"]["loss_error"] < found["torch"]["loss_allowed"] < 1e-5


@pytest.mark.parametrize(("precision", "least"), [("ieee", 1e-8), ("bf16", 1e-4)])
def test_a_coarser_preset_is_right_within_its_own_error(
    precision: str, least: float, photo: tuple[Tensor, Tensor]
) -> None:
    spec = Spec(patch_size=4, threshold=30.0, distance="rmse", precision=precision)
    check = next(c for c in checks.checks(*photo, spec) if c["backend"] == "torch")
    assert check["right"]
    assert least < check["gradient_error"] < check["gradient_allowed"] < 0.5


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_wrong_backend_is_found(
    direction: str, photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(torch_backend.BACKEND, direction)

    def wrong(*inputs):
        result = right(*inputs)
        return result * 1.001 if direction == "backward" else torch.stack([result[0] * 1.001, result[1]])

    monkeypatch.setattr(torch_backend.BACKEND, direction, wrong)
    verdicts = {check["backend"]: check["right"] for check in checks.checks(*photo, SPEC)}
    assert verdicts["torch"] is False
    assert verdicts["reference"] is True
