"""The backends on a CUDA device. They need one, and are collected and skipped elsewhere."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import workload
from dec_kernels import DECLoss, dec_loss
from dec_kernels.backends import BACKENDS, resolve
from dec_kernels.backends.protocol import Backend
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants, Spec
from tests.oracle import Result, error, evaluate, images, threshold, truth

pytestmark = pytest.mark.gpu

ETA = threshold("l2", 3, 4)
# C and P for every width that rows are padded to, and every preset: each of these is compiled anew.
SIZES = [
    *((c, p, "tf32") for c, p in ((1, 2), (3, 4), (3, 6), (3, 8), (1, 16), (3, 12), (3, 16))),
    *((3, 8, precision) for precision in ("ieee", "tf32x3", "bf16")),
    *((c, p, "bf16") for c, p in ((3, 4), (3, 16))),
]


@pytest.fixture(params=["triton", "cpp", "torch"])  # what is least known comes first
def on_cuda(request: pytest.FixtureRequest) -> str:
    name = request.param
    if found := BACKENDS[name].reasons(torch.device("cuda"), torch.float32, 192):
        pytest.skip(f"{name}: {'; '.join(found)}")
    return name


def on_the_device(sr: Tensor, hr: Tensor, **arguments: object) -> Result:
    loss, gradient = evaluate(sr.cuda(), hr.cuda(), **arguments)
    assert loss.device.type == gradient.device.type == "cuda"
    return Result(loss.cpu(), gradient.cpu())


def test_auto_is_a_fused_backend_and_gives_its_result() -> None:
    name = resolve("auto", "tf32", torch.device("cuda"), torch.float32, 192, 297).backend
    assert name in ("triton", "cpp")
    assert resolve("auto", "ieee", torch.device("cuda"), torch.float64, 192, 8192).backend in ("cpp", "torch")
    sr, hr = images(3, 3, 72, 88, 8, torch.float32)
    auto, named = (on_the_device(sr, hr, backend=backend, precision="tf32") for backend in ("auto", name))
    assert torch.equal(auto.gradient, named.gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("temperature", ["outside", "inside"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_against_the_truth(on_cuda: str, distance: str, temperature: str, scope: str, dtype: torch.dtype) -> None:
    if on_cuda == "triton" and dtype == torch.float64:
        pytest.skip("the Triton kernels compute in float32")
    spec = Spec(
        patch_size=4,
        threshold=threshold(distance, 3, 4),
        t_pos=0.4,
        t_neg=1.3,
        distance=distance,
        temperature=temperature,
        scope=scope,
    )
    _compare(on_cuda, spec, *images(3, 3, 37, 45, 4, dtype), "ieee")


@pytest.mark.parametrize(("channels", "patch_size", "precision"), SIZES)
def test_every_size_in_every_preset(on_cuda: str, channels: int, patch_size: int, precision: str) -> None:
    spec = Spec(patch_size=patch_size, threshold=threshold("l2", channels, patch_size), t_pos=0.4, t_neg=1.3)
    # 2 x 11 x 13 rows: whole tiles, a band and a ragged end.
    _compare(
        on_cuda, spec, *images(2, channels, 11 * patch_size, 13 * patch_size + 1, patch_size, torch.float32), precision
    )


def _compare(backend: str, spec: Spec, sr: Tensor, hr: Tensor, precision: str) -> None:
    true, plain = truth(sr, hr, spec), truth(sr, hr, spec, torch.float32)
    ours = on_the_device(sr, hr, **(vars(spec) | {"backend": backend, "precision": precision}))
    if sr.dtype == torch.float64:
        assert error(ours.gradient, true.gradient) < 1e-12
        return
    # The device's exp is good to 2 ulps, where the CPU's is good to 1; the other presets round operands.
    budget = {"tf32": 2.0**-10, "bf16": 2.0**-7}.get(precision, 0.0)
    rounding = 0.0 if sr.dtype == torch.float32 else 2 * torch.finfo(sr.dtype).eps
    assert error(ours.gradient, true.gradient) <= 4 * error(plain.gradient, true.gradient) + budget + rounding
    assert error(ours.loss, true.loss) <= 4 * error(plain.loss, true.loss) + budget / 4 + 1e-6


@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_photographs_whole(on_cuda: str, distance: str) -> None:
    """The mask of 8192 patches of photographs, by its counts, and the loss against the CPU in float64."""
    sr, hr = workload.images(8192, 8)
    cuda = on_the_device(sr, hr, distance=distance, backend=on_cuda, precision="ieee")
    cpu = evaluate(sr.double(), hr.double(), distance=distance, backend="torch")
    assert error(cuda.loss, cpu.loss) < 1e-6
    assert error(cuda.gradient, cpu.gradient) < 1e-4

    constants = Spec(distance=distance).constants(192, "ieee")
    counts = [_positives(BACKENDS["torch"], hr, constants), _positives(BACKENDS[on_cuda], hr.cuda(), constants)]
    assert torch.equal(*counts)


def _positives(backend: Backend[Any], hr: Tensor, constants: Constants) -> Tensor:
    """How many each patch has: similarities to SR rows of zeros are 0, and e = exp 0 + 2 exp 0."""
    rows = backend.prepare(Batch.alone(torch.zeros_like(hr), hr), 8, False, constants, torch.float32)
    return (backend.forward(rows, constants)[0].double().cpu() * constants.t_pos / 3).round()


def test_more_rows_than_a_tile(on_cuda: str) -> None:
    sr, hr = images(2, 1, 200, 204, 4, torch.float32)
    arguments = {"patch_size": 4, "threshold": threshold("l2", 1, 4), "precision": "ieee"}
    cuda = on_the_device(sr, hr, backend=on_cuda, **arguments)
    cpu = evaluate(sr, hr, **arguments)
    torch.testing.assert_close(cuda.loss, cpu.loss, rtol=1e-6, atol=0)
    assert error(cuda.gradient, cpu.gradient) < 1e-5


@pytest.mark.parametrize("precision", ["tf32x3", "tf32", "bf16"])
@pytest.mark.parametrize("whole", [True, False], ids=["8192 patches", "ragged"])
def test_200_runs_give_the_same_bits(on_cuda: str, whole: bool, precision: str) -> None:
    """A race may show once in many tiles: 8192 patches of photographs are thousands of them, 297 have ragged ends."""
    if whole and on_cuda == "torch":
        pytest.skip("200 runs of tens of thousands of PyTorch's kernels take minutes, and none of these is ours")
    sr, hr = workload.images(8192, 8) if whole else images(3, 3, 36, 44, 4, torch.float32)
    arguments = {"patch_size": 8 if whole else 4, "backend": on_cuda, "precision": precision}
    sr, hr = sr.cuda(), hr.cuda()
    first = [_bits(x) for x in evaluate(sr, hr, **arguments)]
    differing = torch.zeros((), dtype=torch.int64, device="cuda")
    for _ in range(199):  # the host does not wait, so that runs follow each other as closely as they can
        again = [_bits(x) for x in evaluate(sr, hr, **arguments)]
        differing += sum((x != y).sum() for x, y in zip(again, first, strict=True))
    assert differing.item() == 0


def _bits(x: Tensor) -> Tensor:
    return x.view(torch.int32)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3", "tf32", "bf16"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_nan_and_infinity_show(on_cuda: str, which: int, bad: float, precision: str) -> None:
    pair = [x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32)]
    pair[which][0, 1, 2, 3] = bad
    assert evaluate(*pair, patch_size=4, backend=on_cuda, precision=precision).loss.isnan()


@pytest.fixture(params=[None, 20])
def landmarks(request: pytest.FixtureRequest, on_cuda: str) -> int | None:
    if request.param and on_cuda != "triton":
        pytest.skip(
            "only the Triton backend computes landmarks without PyTorch's eigenvectors, which make the host wait"
        )
    return request.param


def test_nothing_waits_for_the_device(on_cuda: str, landmarks: int | None) -> None:
    sr, hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32))
    evaluate(sr, hr, patch_size=4, backend=on_cuda, landmarks=landmarks)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        evaluate(sr, hr, patch_size=4, backend=on_cuda, landmarks=landmarks)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["ieee", "tf32x3", "tf32", "bf16"])
@pytest.mark.parametrize("distance", ["l2", "rmse"])
def test_landmarks_on_photographs(precision: str, distance: str) -> None:
    sr, hr = workload.images(8192, 8)
    arguments = {"distance": distance, "precision": precision}
    ours = on_the_device(sr, hr, backend="triton", landmarks=128, **arguments)
    exact = evaluate(sr.double(), hr.double(), distance=distance, backend="torch")
    budget = {"tf32": 2.0**-10, "bf16": 2.0**-7}.get(precision, 0.0)
    assert error(ours.loss, exact.loss) < 2e-5 + budget / 4
    assert error(ours.gradient, exact.gradient) < 5e-4 + budget


def test_a_cuda_graph_captures_forward_and_backward(on_cuda: str, landmarks: int | None) -> None:
    sr, hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32))
    sr.requires_grad_()
    criterion = DECLoss(4, ETA, backend=on_cuda, landmarks=landmarks)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.autograd.grad(criterion(sr, hr), sr)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = criterion(sr, hr)
        (gradient,) = torch.autograd.grad(loss, sr)
    # The graph reads the images anew: other images, other mask.
    other_sr, other_hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32, seed=7))
    with torch.no_grad():
        sr.copy_(other_sr)
        hr.copy_(other_hr)
    graph.replay()
    expected = evaluate(other_sr, other_hr, patch_size=4, threshold=ETA, backend=on_cuda, landmarks=landmarks)
    assert torch.equal(loss, expected.loss)
    assert torch.equal(gradient, expected.gradient)


def test_it_runs_on_the_current_stream(on_cuda: str) -> None:
    sr, hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32))
    expected = evaluate(sr, hr, patch_size=4, backend=on_cuda)
    stream = torch.cuda.Stream()
    late = torch.zeros_like(sr)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # noqa: SLF001  # on another stream the loss would read the zeros
        late.copy_(sr)
        ours = evaluate(late, hr, patch_size=4, backend=on_cuda)
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(ours.loss, expected.loss)
    assert torch.equal(ours.gradient, expected.gradient)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device only")
def test_another_device_than_the_current_one(on_cuda: str) -> None:
    sr, hr = (x.to("cuda:1") for x in images(3, 3, 36, 44, 4, torch.float32))
    ours = evaluate(sr, hr, patch_size=4, backend=on_cuda)
    assert ours.loss.device == ours.gradient.device == torch.device("cuda:1")
    expected = evaluate(sr.to("cuda:0"), hr.to("cuda:0"), patch_size=4, backend=on_cuda)
    torch.testing.assert_close(ours.loss.cpu(), expected.loss.cpu())


def test_compiled_equals_eager(on_cuda: str) -> None:
    torch.compiler.reset()
    sr, hr = (x.cuda() for x in images(3, 3, 36, 44, 4, torch.float32))
    criterion = DECLoss(4, ETA, backend=on_cuda)
    results = []
    for function in (criterion, torch.compile(criterion, fullgraph=True)):
        leaf = sr.clone().requires_grad_()
        loss = function(2 * leaf, hr)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-9)


def test_extra_memory(on_cuda: str) -> None:
    """48 MiB above images and gradient at n = 8192, D = 192, where one matrix of n x n is 256 MiB."""
    sr, hr = (x.cuda() for x in workload.images(8192, 8))
    sr.requires_grad_()
    for _ in range(2):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        (gradient,) = torch.autograd.grad(dec_loss(sr, hr, backend=on_cuda), sr)
        extra = torch.cuda.max_memory_allocated() - before - gradient.nbytes
        del gradient
    tiles = 32 if on_cuda == "cpp" else 0  # of its similarities, sized for the L2 cache
    assert extra < (48 + tiles) * 2**20
