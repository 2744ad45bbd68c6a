"""Times the forward, the backward and both of every competitor with pytest-benchmark, to follow each over time.

    python -m pytest benchmarks --benchmark-only

pytest-benchmark runs all rounds of one test before the next. For ratios between competitors use `benchmarks.compare`,
which runs them in turns.
"""

import pytest
import torch

from benchmarks.competitors import COMPETITORS, PRODUCTS, tiled_products
from benchmarks.workload import images

PATCH_SIZE = 8
DIM = 3 * PATCH_SIZE**2
CHOSEN = ("cpp", "cpp_landmarks", "cpp_bf16", "torch", "eager", "compile", "chunked_16")
ROUNDS = {"rounds": 5, "warmup_rounds": 1}

sizes = pytest.mark.parametrize("n", [1024, 4096])
competitors = pytest.mark.parametrize("name", CHOSEN)


@sizes
@competitors
def test_forward(benchmark, name, n):
    benchmark.group = f"forward, n = {n}, D = {DIM}"
    sr, hr = images(n, PATCH_SIZE)
    benchmark.pedantic(torch.no_grad()(COMPETITORS[name].loss), (sr, hr, PATCH_SIZE), **ROUNDS)


@sizes
@competitors
def test_backward(benchmark, name, n):
    benchmark.group = f"backward, n = {n}, D = {DIM}"
    sr, hr = images(n, PATCH_SIZE)
    sr.requires_grad_()

    def forward():
        return (COMPETITORS[name].loss(sr, hr, PATCH_SIZE), sr), {}

    benchmark.pedantic(torch.autograd.grad, setup=forward, **ROUNDS)


@sizes
@competitors
def test_forward_and_backward(benchmark, name, n):
    benchmark.group = f"forward and backward, n = {n}, D = {DIM}"
    sr, hr = images(n, PATCH_SIZE)
    benchmark.pedantic(COMPETITORS[name].step, (sr.requires_grad_(), hr, PATCH_SIZE), **ROUNDS)


@sizes
@pytest.mark.parametrize("products", PRODUCTS)
def test_tiled_products(benchmark, products, n):
    benchmark.group = f"forward and backward, n = {n}, D = {DIM}"
    benchmark.pedantic(tiled_products(n, DIM, *PRODUCTS[products], tile=512), **ROUNDS)
