"""What a call of the loss runs on, and what keeps a backend from running."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss
from dec_kernels.backends import BACKENDS, ENVIRONMENT, Resolved, cpp, reasons_of_each, resolve, triton
from dec_kernels.backends import precision as presets
from dec_kernels.backends.triton import tiles
from dec_kernels.spec import Constants
from tests.oracle import evaluate, images

CPU_GAINS_BY_BF16 = presets.cpu_gains_by_bf16  # conftest.py takes its place
CPU, FLOAT, DOUBLE = torch.device("cpu"), torch.float32, torch.float64


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def resolved(
    backend: str = "auto",
    precision: str = "ieee",
    device: torch.device = CPU,
    dtype: torch.dtype = FLOAT,
    dim: int = 192,
    columns: int = 8192,
) -> Resolved:
    return resolve(backend, precision, device, dtype, dim, columns)


def test_auto_takes_the_first_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved().backend == "cpp"
    monkeypatch.setattr(cpp, "extension", None)
    assert resolved().backend == "torch"
    monkeypatch.setattr(BACKENDS["torch"], "reasons", lambda *_: ["switched off"])
    # The reference is dense: auto never takes it.
    with pytest.raises(RuntimeError, match=r"'auto'(.*\n)+.*torch: switched off"):
        resolved()


def test_everything_is_resolved_at_once() -> None:
    assert resolved(precision="auto") == ("cpp", "tf32x3", FLOAT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert resolved(precision="auto").precision == "bf16"
        assert resolved(precision="tf32").precision == "tf32"
    assert resolved(dtype=torch.float16).dtype == resolved(dtype=torch.bfloat16).dtype == FLOAT
    assert resolved(dtype=DOUBLE).dtype == resolved("reference").dtype == DOUBLE


XEON = {"vendor_id": "GenuineIntel", "cpu family": "6"}
EPYC = {"vendor_id": "AuthenticAMD", "cpu family": "25"}
PROCESSORS = [
    (XEON | {"flags": "fma avx512f avx512_bf16"}, False),
    (XEON | {"flags": "fma avx512f avx512_bf16 amx_bf16 amx_tile"}, True),
    (EPYC | {"flags": "fma avx512f avx512_bf16"}, True),
    (EPYC | {"flags": "fma avx2"}, False),
    ({"Features": "fp asimd bf16"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("processor", "gains"), PROCESSORS)
def test_a_cpu_takes_bf16_products_where_they_are_faster(
    processor: dict[str, str], gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "processor", lambda: processor)
    monkeypatch.setattr(presets, "cpu_gains_by_bf16", CPU_GAINS_BY_BF16)
    taken = "bf16" if gains else "ieee"
    for backend in ("auto", "cpp", "torch"):
        assert resolved(backend, "bf16").precision == taken
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert resolved(precision="auto").precision == taken
    assert resolved("torch", "bf16", torch.device("cuda")).precision == "bf16"
    assert resolved(precision="tf32").precision == "tf32"


def test_where_float32_is_faster_bf16_has_its_bits(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "cpu_gains_by_bf16", lambda: False)
    sr, hr = images(2, 3, 16, 16, 4, FLOAT)
    found = [evaluate(sr, hr, patch_size=4, backend=compiled, precision=each) for each in ("bf16", "ieee")]
    assert torch.equal(found[0].loss, found[1].loss)
    assert torch.equal(found[0].gradient, found[1].gradient)


def test_a_named_backend_runs_or_raises_with_the_reasons_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpp, "extension", None)
    monkeypatch.setattr(cpp, "load_error", ImportError("undefined symbol"))
    with pytest.raises(RuntimeError) as caught:
        dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), backend="cpp")
    message = str(caught.value)
    assert all(part in message.splitlines()[0] for part in ("backend='cpp'", "192", "torch.float32", "cpu"))
    assert "(undefined symbol)" in message
    assert "torch: ready" in message
    assert "TRITON_INTERPRET=1" in message


def test_the_environment_variable_takes_the_place_of_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "torch")
    assert resolved().backend == "torch"
    assert resolved("cpp").backend == "cpp"
    monkeypatch.setenv(ENVIRONMENT, "triton")
    with pytest.raises(RuntimeError, match="'triton'"):
        resolved()
    monkeypatch.setenv(ENVIRONMENT, "cuda")
    with pytest.raises(ValueError, match=r"DEC_KERNELS_BACKEND .*'cuda'"):
        resolved()
    monkeypatch.setenv(ENVIRONMENT, "")
    assert resolved().backend == "cpp"


def test_auto_follows_the_measured_crossover(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("triton", "cpp"):
        monkeypatch.setattr(BACKENDS[name], "reasons", lambda *_: [])
    monkeypatch.setattr(triton, "architecture", lambda device: "sm_90")
    monkeypatch.setitem(tiles.CROSSOVER, ("sm_90", 192, "bf16"), 4096)
    cuda = torch.device("cuda")
    for dim, columns, precision, expected in (
        (192, 4096, "bf16", "cpp"), (147, 4096, "bf16", "cpp"), (192, 4095, "bf16", "triton"),
        (192, 4096, "tf32", "triton"), (48, 4096, "bf16", "triton"), (769, 4096, "bf16", "triton"),
    ):  # fmt: skip
        assert resolved(precision=precision, device=cuda, dim=dim, columns=columns).backend == expected


def _watched(calls: list[tuple[str, str, str]], direction: str, name: str) -> Callable[..., Any]:
    ours = getattr(BACKENDS[name], direction)

    def call(rows: Any, constants: Constants, *weights: Tensor) -> Any:
        calls.append((direction, name, constants.precision))
        return ours(rows, constants, *weights)

    return call


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(direction, backend, precision) of every call of a backend on the CPU."""
    calls: list[tuple[str, str, str]] = []
    for name in ("torch", "cpp"):
        for direction in ("forward", "backward"):
            monkeypatch.setattr(BACKENDS[name], direction, _watched(calls, direction, name))
    return calls


@pytest.mark.parametrize("images", [torch.float32, torch.float64])
def test_the_backward_takes_what_the_forward_took(
    images: torch.dtype, called: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sr, hr = torch.rand(2, 1, 3, 16, 16, dtype=images)
    found = torch.get_float32_matmul_precision()
    for before, after, expected in (("torch", "cpp", "torch"), ("", "torch", "cpp")):
        monkeypatch.setenv(ENVIRONMENT, before)
        with torch.autocast("cpu", enabled=images == torch.float32):
            loss = dec_loss(sr.requires_grad_(), hr)
        # The setting, the environment and what can run are all another when the backward comes.
        monkeypatch.setenv(ENVIRONMENT, after)
        torch.set_float32_matmul_precision("high")
        with monkeypatch.context() as patch:
            patch.setattr(BACKENDS[expected], "reasons", lambda *_: ["gone"])
            try:
                loss.backward()
            finally:
                torch.set_float32_matmul_precision(found)
        preset = "bf16" if images == torch.float32 else "tf32x3"
        assert called == [("forward", expected, preset), ("backward", expected, preset)]
        called.clear()


def test_a_step_is_resolved_once(called: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("torch", "cpp"):
        reasons = BACKENDS[name].reasons
        monkeypatch.setattr(
            BACKENDS[name], "reasons", lambda *a, name=name, reasons=reasons: asked.append(name) or reasons(*a)
        )
    dec_loss(torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16)).backward()
    assert sorted(asked) == ["cpp", "torch"]
    assert len(called) == 2


def test_the_environment_variable_reaches_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    forward = BACKENDS["torch"].forward
    monkeypatch.setattr(BACKENDS["torch"], "forward", lambda *arguments: called.append(1) or forward(*arguments))
    monkeypatch.setenv(ENVIRONMENT, "torch")
    dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    assert called == [1]


def test_other_devices_get_reasons() -> None:
    assert "not on xpu" in reasons_of_each(torch.device("xpu"), FLOAT, 192)["cpp"][0]
    if not hasattr(cpp.extension, "forward_cuda"):
        assert "built without CUDA" in " ".join(cpp.BACKEND.reasons(torch.device("cuda"), FLOAT, 192))


def test_without_triton_its_backend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    triton.installed.cache_clear()
    try:
        assert any("Triton is not installed" in reason for reason in triton.BACKEND.reasons(CPU, FLOAT, 192))
    finally:
        triton.installed.cache_clear()


def test_an_older_triton_than_the_kernels_were_compiled_with_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.2.0" if name == "triton" else version(name))
    triton.version.cache_clear()
    try:
        assert any("this is 3.2" in reason for reason in triton.BACKEND.reasons(CPU, FLOAT, 192))
    finally:
        triton.version.cache_clear()


def test_importing_the_package_does_not_import_triton() -> None:
    program = "import sys, dec_kernels; sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
