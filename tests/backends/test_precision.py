"""What "auto" means in every state of PyTorch's settings, and the switch that presets hold."""

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss
from dec_kernels.backends.precision import matmul_precision, preset_of, setting_of
from tests.oracle import images, threshold

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ETA = threshold("l2", 3, 4)
B: Any = torch.backends

pytestmark = pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"),
    reason="PyTorch before 2.9 has one setting, which test_loss.py changes",
)


def as_new() -> None:
    torch.set_float32_matmul_precision("highest")
    for place in (B, B.mkldnn, B.mkldnn.matmul, B.cuda.matmul):
        place.fp32_precision = "none"


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    as_new()
    yield
    as_new()


def older(value: str) -> None:
    torch.set_float32_matmul_precision(value)


def allow(value: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = value


def everywhere(value: str) -> None:
    B.fp32_precision = value


def for_cuda(value: str) -> None:
    B.cuda.matmul.fp32_precision = value


def for_cpu(value: str) -> None:
    B.mkldnn.matmul.fp32_precision = value


# What was set, and what PyTorch's own float32 products then are on the CPU and on CUDA devices.
STATES: dict[str, tuple[list[tuple[Callable[[Any], None], Any]], str, str]] = {
    "nothing": ([], "tf32x3", "tf32x3"),
    "highest": ([(older, "highest")], "tf32x3", "tf32x3"),
    "high": ([(older, "high")], "tf32", "tf32"),
    "medium": ([(older, "medium")], "bf16", "bf16"),
    "allow": ([(allow, True)], "tf32x3", "tf32"),
    "medium, allow": ([(older, "medium"), (allow, True)], "bf16", "tf32"),
    "medium, forbid": ([(older, "medium"), (allow, False)], "bf16", "tf32x3"),
    "high, forbid": ([(older, "high"), (allow, False)], "tf32", "tf32x3"),
    "everywhere tf32": ([(everywhere, "tf32")], "tf32", "tf32"),
    "everywhere ieee": ([(everywhere, "ieee")], "tf32x3", "tf32x3"),
    "everywhere bf16": ([(everywhere, "bf16")], "bf16", "tf32x3"),
    "CUDA tf32": ([(for_cuda, "tf32")], "tf32x3", "tf32"),
    "CPU bf16": ([(for_cpu, "bf16")], "bf16", "tf32x3"),
    "CPU tf32": ([(for_cpu, "tf32")], "tf32", "tf32x3"),
    "both": ([(for_cuda, "tf32"), (for_cpu, "bf16")], "bf16", "tf32"),
    "everywhere but the CPU": ([(everywhere, "tf32"), (for_cpu, "ieee")], "tf32x3", "tf32"),
    "new, then old": ([(everywhere, "tf32"), (older, "highest")], "tf32x3", "tf32x3"),
    "old, then new": ([(older, "medium"), (for_cpu, "ieee"), (for_cuda, "ieee")], "tf32x3", "tf32x3"),
}


@pytest.mark.parametrize("state", STATES)
def test_auto_in_every_state_of_the_settings(state: str) -> None:
    made, on_cpu, on_cuda = STATES[state]
    for how, value in made:
        how(value)
    assert preset_of("auto", CPU) == on_cpu
    assert preset_of("auto", CUDA) == on_cuda
    assert preset_of("ieee", CPU) == "ieee"
    with torch.autocast("cpu", torch.bfloat16):
        assert preset_of("auto", CPU) == "bf16"
    torch.compiler.reset()
    sr, hr = images(1, 3, 8, 8, 4, torch.float32)
    compiled = torch.compile(dec_loss, fullgraph=True, backend="aot_eager")
    expected = dec_loss(sr, hr, 4, ETA, precision=on_cpu)
    assert torch.equal(dec_loss(sr, hr, 4, ETA), expected)
    assert torch.equal(compiled(sr, hr, 4, ETA), expected)


def test_the_backward_takes_the_precision_of_the_forward(tiled: str) -> None:
    sr, hr = images(2, 3, 20, 28, 4, torch.float32)

    def gradient(precision: str, after: str) -> Tensor:
        leaf = sr.clone().requires_grad_()
        loss = dec_loss(leaf, hr, 4, ETA, precision=precision, backend=tiled)
        older(after)
        loss.backward()
        return leaf.grad

    older("medium")
    assert torch.equal(gradient("auto", after="highest"), gradient("bf16", after="highest"))


def test_auto_writes_no_setting(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sr, hr = images(1, 3, 8, 8, 4, torch.float32)
    for how, value in [step for made, _, _ in STATES.values() for step in made]:
        how(value)
        with monkeypatch.context() as patch:
            below = torch._C  # noqa: SLF001  where every setting goes through
            patch.setattr(below, "_set_fp32_precision_setter", lambda *setting: pytest.fail(f"wrote {setting}"))
            dec_loss(sr.clone().requires_grad_(), hr, 4, ETA, backend=compiled).backward()
            if setting_of(CPU) != "bf16":  # the CPU may compute what "tf32" allows in float32
                dec_loss(sr.clone().requires_grad_(), hr, 4, ETA, precision="tf32", backend=compiled).backward()
        as_new()


@pytest.mark.parametrize("outer", ["none", "ieee", "tf32", "bf16"])
@pytest.mark.parametrize(
    ("precision", "allowed"),
    [("ieee", ("ieee", "none")), ("tf32x3", ("ieee", "none")), ("tf32", ("ieee", "none", "tf32"))],
)
def test_the_switch_is_at_what_a_preset_allows_and_then_as_it_was(
    precision: str, allowed: tuple[str, ...], outer: str
) -> None:
    B.mkldnn.fp32_precision = outer

    def fail_inside() -> None:
        with matmul_precision(precision, torch.rand(2)):
            assert B.mkldnn.matmul.fp32_precision in allowed
            assert setting_of(CPU) == outer
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_inside()
    assert B.mkldnn.matmul.fp32_precision == outer
    # It had no value of its own, and follows its backend's again.
    B.mkldnn.fp32_precision = "tf32"
    assert B.mkldnn.matmul.fp32_precision == "tf32"


def test_the_switch_is_left_alone_where_products_do_not_look_at_it() -> None:
    for_cpu("tf32")
    for precision, tensor in (("bf16", torch.rand(2)), ("ieee", torch.rand(2).double())):
        with matmul_precision(precision, tensor):
            assert B.mkldnn.matmul.fp32_precision == "tf32"


def test_a_value_of_its_own_is_set_back() -> None:
    B.mkldnn.fp32_precision = "tf32"
    for_cpu("bf16")
    with matmul_precision("ieee", torch.rand(2)):
        assert B.mkldnn.matmul.fp32_precision == "ieee"
    assert B.mkldnn.matmul.fp32_precision == "bf16"


def test_what_somebody_else_sets_in_the_meantime_stays() -> None:
    for_cpu("bf16")
    with matmul_precision("ieee", torch.rand(2)):
        for_cpu("tf32")
    assert B.mkldnn.matmul.fp32_precision == "tf32"


def test_threads_with_different_presets_do_not_meet(compiled: str) -> None:
    sr, hr = images(2, 3, 20, 28, 4, torch.float32)
    for_cpu("bf16")
    cases = ("auto", "ieee", "tf32", "bf16")
    expected = {case: dec_loss(sr, hr, 4, ETA, precision=case, backend=compiled) for case in cases}
    problems: list[object] = []
    start = threading.Barrier(len(cases))

    def run(case: str) -> None:
        start.wait()
        for _ in range(20):
            try:
                if not torch.equal(dec_loss(sr, hr, 4, ETA, precision=case, backend=compiled), expected[case]):
                    problems.append(f"another result with {case}")
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=run, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert B.mkldnn.matmul.fp32_precision == "bf16"


@pytest.mark.parametrize(("second", "shares"), [("tf32", True), ("ieee", False)])
def test_products_of_a_preset_are_never_under_the_value_of_another(second: str, shares: bool) -> None:
    """While one thread holds the switch at "tf32", another one shares that if its preset allows it, or waits."""
    seen: list[str] = []
    for_cpu("bf16")

    def other() -> None:
        with matmul_precision(second, torch.rand(2)):
            seen.append(B.mkldnn.matmul.fp32_precision)

    thread = threading.Thread(target=other)
    with matmul_precision("tf32", torch.rand(2)):
        thread.start()
        thread.join(10 if shares else 0.2)
        assert seen == (["tf32"] if shares else [])
        assert B.mkldnn.matmul.fp32_precision == "tf32"  # the first one still needs it
    thread.join(10)
    assert seen == ["tf32" if shares else "ieee"]
    assert B.mkldnn.matmul.fp32_precision == "bf16"


def test_the_products_of_a_backend_run_under_the_switch(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    module = importlib.import_module(f"dec_kernels.backends.{compiled}")
    monkeypatch.setattr(
        module, "matmul_precision", lambda *call: seen.append(call[0]) or matmul_precision(*call), raising=True
    )
    sr, hr = images(1, 3, 8, 8, 4, torch.float32)
    for_cpu("bf16")
    dec_loss(sr.requires_grad_(), hr, 4, ETA, precision="ieee", backend=compiled).backward()
    assert seen == ["ieee", "ieee"]
