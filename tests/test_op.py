"""The registered operators: schema, fakes, autograd, torch.compile, torch.export."""

import pytest
import torch
from torch import Tensor

from dec_kernels import DECLoss, dec_loss
from dec_kernels.op import similarity_sums, similarity_sums_backward
from tests.oracle import evaluate, images, threshold

ETA = threshold("l2", 3, 4)


def arguments(backend: str, per_image: bool = False, inside: bool = False) -> tuple:
    return 4, per_image, 0.3, 0.5, 1.5, inside, "ieee", backend


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck_forward(backend: str, dtype: torch.dtype, per_image: bool) -> None:
    sr, hr = images(2, 3, 13, 16, 4, dtype)
    others = (sr.detach(), hr, "", *arguments(backend, per_image))
    torch.library.opcheck(similarity_sums, (sr.detach(), *others))
    torch.library.opcheck(similarity_sums, (sr.requires_grad_(), *others))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_opcheck_backward(backend: str, memory_format: torch.memory_format) -> None:
    sr, hr = images(2, 3, 13, 16, 4, torch.float32)
    sr = sr.contiguous(memory_format=memory_format)
    alpha, beta = torch.rand(2, 24)
    torch.library.opcheck(similarity_sums_backward, (alpha, beta, sr, sr, hr, "", *arguments(backend)))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
def test_gradcheck(float64_backend: str, per_image: bool, inside: bool) -> None:
    sr, hr = images(2, 1, 9, 12, 4, torch.float64)

    def sums(sr: Tensor) -> tuple[Tensor, Tensor]:
        return similarity_sums(sr, sr.detach(), hr, "", *arguments(float64_backend, per_image, inside))

    assert torch.autograd.gradcheck(sums, sr.requires_grad_())


def test_second_derivatives_are_refused(backend: str) -> None:
    sr, hr = images(2, 3, 12, 16, 4, torch.float32)
    sr.requires_grad_()
    loss = dec_loss(sr, hr, 4, backend=backend)
    (gradient,) = torch.autograd.grad(loss, sr, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
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


def test_compiled_with_dynamic_shapes() -> None:
    torch.compiler.reset()
    compiled = torch.compile(dec_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, height, width in ((2, 24, 32), (3, 36, 44), (1, 29, 17)):
        sr, hr = images(batch, 3, height, width, 4, torch.float32)
        leaf = sr.clone().requires_grad_()
        loss = compiled(leaf, hr, 4, ETA)
        loss.backward()
        eager = evaluate(sr, hr, patch_size=4, threshold=ETA)
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


def test_only_the_images_and_values_of_size_n_are_saved_for_backward(tiled: str) -> None:
    sr, hr = images(3, 3, 36, 44, 4, torch.float32)
    sr.requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (saved.append(x), x)[1], lambda x: x):
        dec_loss(sr, hr, 4, backend=tiled)
    others = [x for x in saved if x.data_ptr() not in (sr.data_ptr(), hr.data_ptr())]
    assert len(saved) > len(others)
    assert all(x.numel() <= 297 for x in others)
