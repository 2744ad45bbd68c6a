"""The registered operators: schema, fakes, autograd, torch.compile, torch.export."""

import gc
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dec_kernels import DECLoss, dec_loss
from dec_kernels.backends import BACKENDS, cpp
from dec_kernels.distributed import ALONE
from dec_kernels.op import row_losses, row_losses_backward
from tests.conftest import on_the_interpreter
from tests.oracle import evaluate, images, threshold

ETA = threshold("l2", 3, 4)


def arguments(
    backend: str,
    dtype: torch.dtype,
    per_image: bool = False,
    inside: bool = False,
    floor: float = 0.0,
    center: bool = False,
) -> tuple:
    dtype = torch.float64 if backend == "reference" else dtype
    return ALONE, 4, per_image, 0.3, 0.5, 1.5, inside, "ieee", 0, floor, center, backend, dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck_forward(backend: str, dtype: torch.dtype, per_image: bool) -> None:
    sr, hr = images(2, 3, 13, 16, 4, dtype)
    others = (sr.detach(), hr, *arguments(backend, torch.float32, per_image))
    torch.library.opcheck(row_losses, (sr.detach(), *others))
    torch.library.opcheck(row_losses, (sr.requires_grad_(), *others))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_opcheck_backward(backend: str, memory_format: torch.memory_format) -> None:
    sr, hr = images(2, 3, 13, 16, 4, torch.float32)
    sr = sr.contiguous(memory_format=memory_format)
    *_, kept = row_losses(sr, sr, hr, *arguments(backend, torch.float32))
    columns = (None, None) if BACKENDS[backend].keeps_rows else (sr, hr)
    torch.library.opcheck(
        row_losses_backward, (torch.rand(2, 24), sr, kept, *columns, *arguments(backend, torch.float32))
    )


@pytest.mark.parametrize(
    ("inside", "floor", "center"),
    [(False, 0.0, False), (True, 0.0, False), (False, 1.2, False), (True, 0.0, True), (False, 1.2, True)],
)
@pytest.mark.parametrize("per_image", [False, True])
def test_gradcheck(float64_backend: str, per_image: bool, inside: bool, floor: float, center: bool) -> None:
    sr, hr = images(2, 1, 9, 12, 4, torch.float64)

    def losses(sr: Tensor) -> Tensor:
        return row_losses(
            sr, sr.detach(), hr, *arguments(float64_backend, torch.float64, per_image, inside, floor, center)
        )[0]

    assert torch.autograd.gradcheck(losses, sr.requires_grad_())


def test_second_derivatives_are_refused(backend: str) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    sr.requires_grad_()
    loss = dec_loss(sr, hr, 4, backend=backend)
    (gradient,) = torch.autograd.grad(loss, sr, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiled_equals_eager(backend: str, reduction: str) -> None:
    torch.compiler.reset()
    sr, hr = images(3, 3, 20, 28, 4, torch.float32)
    criterion = DECLoss(4, ETA, loss_weight=0.5, reduction=reduction, backend=backend)

    def step(sr: Tensor) -> Tensor:
        return (criterion(2 * sr, hr) * torch.arange(1.0, 106 if reduction == "none" else 2)).sum()

    results = []
    for function in (step, torch.compile(step, fullgraph=True)):
        leaf = sr.clone().requires_grad_()
        loss = function(leaf)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-9)


def test_compiled_with_dynamic_shapes(tiled: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(dec_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, height, width in ((2, 24, 32), (3, 36, 44), (1, 29, 17)):
        sr, hr = images(batch, 3, height, width, 4, torch.float32)
        leaf = sr.clone().requires_grad_()
        loss = compiled(leaf, hr, 4, ETA, backend=tiled)
        loss.backward()
        eager = evaluate(sr, hr, patch_size=4, threshold=ETA, backend=tiled)
        torch.testing.assert_close(loss.detach(), eager.loss)
        torch.testing.assert_close(leaf.grad, eager.gradient)


def test_autocast_inside_a_compiled_step() -> None:
    torch.compiler.reset()
    sr, hr = images(2, 3, 36, 44, 4, torch.float32)

    def step(sr: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return dec_loss(sr, hr, 4, ETA)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(sr), step(sr))
    assert not torch.equal(compiled(sr), dec_loss(sr, hr, 4, ETA))


def test_export() -> None:
    sr, hr = images(2, 3, 36, 44, 4, torch.float32)
    program = torch.export.export(DECLoss(4, ETA), (sr, hr))
    torch.testing.assert_close(program.module()(sr, hr), dec_loss(sr, hr, 4, ETA))


def test_an_exported_loss_says_what_it_lacks_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    sr, hr = images(2, 3, 12, 12, 4, torch.float32)
    program = torch.export.export(DECLoss(4, ETA, backend="cpp"), (sr, hr))
    monkeypatch.setattr(cpp, "extension", None)
    with pytest.raises(RuntimeError, match=r"dec_kernels\._C"):
        program.module()(sr, hr)


def saved_by(loss: Callable[[], Tensor]) -> list[Tensor]:
    """What autograd keeps for the backward."""
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (saved.append(x), x)[1], lambda x: x):
        loss()
    return saved


def test_images_and_values_of_size_n_are_saved_for_backward(compiled: str) -> None:
    sr, hr = images(3, 3, 36, 84, 4, torch.float32)  # more patches than the C++ backend keeps the rows of
    sr.requires_grad_()
    saved = saved_by(lambda: dec_loss(sr, hr, 4, backend=compiled))
    others = [x for x in saved if x.data_ptr() not in (sr.data_ptr(), hr.data_ptr())]
    assert len(saved) > len(others)
    assert all(x.numel() <= 2 * 567 for x in others)


@on_the_interpreter
@pytest.mark.parametrize("scope", ["batch", "image"])
def test_rows_are_saved_for_backward_instead_of_images(scope: str) -> None:
    bytes_of_others = []
    for height in (36, 72):
        sr, hr = images(3, 3, height, 44, 4, torch.float32)
        sr.requires_grad_()
        saved = saved_by(lambda: dec_loss(sr, hr, 4, scope=scope, backend="triton"))  # noqa: B023
        assert hr.data_ptr() not in [x.data_ptr() for x in saved]
        others = [x for x in saved if x.data_ptr() != sr.data_ptr()]
        assert len(saved) == len(others) + 1
        bytes_of_others.append(sum(x.nbytes for x in others))
    # Rows of 64, 64 and 48 values, and 12 numbers of 4 bytes beside them. Nothing grows with the square.
    assert bytes_of_others[0] < 297 * (64 + 64 + 48 + 12) * 4 + 9 * 16
    assert bytes_of_others[1] < 2.01 * bytes_of_others[0]


def test_nothing_is_kept_without_a_backward(tiled: str) -> None:
    sr, hr = images(3, 3, 36, 44, 4, torch.float32)
    for mode in (torch.no_grad, torch.inference_mode):
        before = {id(x) for x in gc.get_objects() if issubclass(type(x), Tensor)}
        with mode():
            loss = dec_loss(sr.requires_grad_(), hr, 4, backend=tiled)
        after = [x for x in gc.get_objects() if issubclass(type(x), Tensor) and id(x) not in before]
        assert len(after) == 1
        assert after[0] is loss


def test_a_change_of_the_images_before_the_backward(tiled: str) -> None:
    expected = evaluate(*images(3, 3, 36, 44, 4, torch.float32), patch_size=4, backend=tiled).gradient
    for changed in ("sr", "hr"):
        sr, hr = images(3, 3, 36, 44, 4, torch.float32)
        middle = 1 * sr.requires_grad_()
        loss = dec_loss(middle, hr, 4, backend=tiled)
        {"sr": middle.detach(), "hr": hr}[changed].zero_()
        if (changed, tiled) == ("hr", "triton"):
            loss.backward()  # with the rows that were made of it before
            assert torch.equal(sr.grad, expected)
        else:
            with pytest.raises(RuntimeError, match="inplace"):
                loss.backward()


def test_torch_compile_does_not_look_into_the_operators(tiled: str) -> None:
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    def step(sr: Tensor, hr: Tensor) -> Tensor:
        with torch.random.fork_rng():  # a graph break in here, and the whole function runs as it is
            torch._dynamo.graph_break()  # noqa: SLF001  there is no public one
            losses, *_ = row_losses(sr, sr.detach(), hr, *arguments(tiled, torch.float32))
        return losses

    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    for gradient in (False, True):
        losses = torch.compile(step, backend=keep)(sr.requires_grad_(gradient), hr)
        assert losses.requires_grad == gradient
        assert torch.equal(losses, step(sr, hr))
    assert not graphs


def test_the_backward_may_run_twice(tiled: str) -> None:
    sr, hr = images(3, 3, 36, 44, 4, torch.float32)
    loss = dec_loss(sr.requires_grad_(), hr, 4, backend=tiled)
    first, second = (torch.autograd.grad(loss, sr, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_runs_the_forward_again(tiled: str, reentrant: bool) -> None:
    sr, hr = images(3, 3, 36, 44, 4, torch.float32)
    expected = evaluate(sr, hr, patch_size=4, backend=tiled).gradient
    sr.requires_grad_()
    checkpoint(lambda sr: dec_loss(sr, hr, 4, backend=tiled), sr, use_reentrant=reentrant).backward()
    assert torch.equal(sr.grad, expected)


@pytest.mark.parametrize("infinite", [False, True])
def test_a_row_without_negatives_has_no_gradient_whatever_comes_in(tiled: str, infinite: bool) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    hr[0] = 0.5  # with scope="image" all of its patches are positives of each other
    sr.requires_grad_()
    losses = dec_loss(sr, hr, 4, ETA, scope="image", reduction="none", backend=tiled)
    incoming = torch.ones(24)
    incoming[:12] = math.inf if infinite else 1.0
    losses.backward(incoming)
    assert (losses[:12] == 0).all()
    assert (sr.grad[0] == 0).all()
    assert sr.grad[1].isfinite().all()
    assert sr.grad[1].any()
