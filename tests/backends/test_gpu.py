"""The backends on a CUDA device. They need one, and are collected and skipped elsewhere."""

import pytest
import torch

from dec_kernels.backends import choose, explain
from dec_kernels.spec import Spec
from tests.oracle import error, evaluate, images, threshold, truth

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["torch", "cpp", "auto"])
def on_cuda(request: pytest.FixtureRequest) -> str:
    device = torch.device("cuda")
    if request.param == "cpp" and choose("auto", device, torch.float32) != "cpp":
        pytest.skip(f"the C++ backend does not run here:\n{explain(device, torch.float32)}")
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_against_the_truth(on_cuda: str, distance: str, temperature: str, scope: str, dtype: torch.dtype) -> None:
    spec = Spec(4, threshold(distance, 3, 4), 0.4, 1.3, distance=distance, temperature=temperature, scope=scope)
    sr, hr = images(3, 3, 37, 45, 4, dtype)
    true, plain = truth(sr, hr, spec), truth(sr, hr, spec, torch.float32)
    ours = evaluate(sr.cuda(), hr.cuda(), **(vars(spec) | {"backend": on_cuda, "precision": "ieee"}))
    assert ours.loss.device.type == ours.gradient.device.type == "cuda"
    if dtype == torch.float64:
        assert error(ours.gradient.cpu(), true.gradient) < 1e-12
    else:
        # The device's exp is good to 2 ulps, where the CPU's is good to 1.
        assert error(ours.gradient.cpu(), true.gradient) <= 4 * error(plain.gradient, true.gradient)


def test_more_rows_than_a_tile(on_cuda: str) -> None:
    sr, hr = images(2, 1, 200, 204, 4, torch.float32)
    cuda = evaluate(sr.cuda(), hr.cuda(), patch_size=4, threshold=threshold("l2", 1, 4), backend=on_cuda)
    cpu = evaluate(sr, hr, patch_size=4, threshold=threshold("l2", 1, 4))
    torch.testing.assert_close(cuda.loss.cpu(), cpu.loss, rtol=1e-6, atol=0)
    assert error(cuda.gradient.cpu(), cpu.gradient) < 1e-5


def test_50_runs_give_the_same_bits(on_cuda: str) -> None:
    sr, hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32))
    first = evaluate(sr, hr, patch_size=4, backend=on_cuda)
    for _ in range(49):
        again = evaluate(sr, hr, patch_size=4, backend=on_cuda)
        assert torch.equal(again.loss, first.loss)
        assert torch.equal(again.gradient, first.gradient)
