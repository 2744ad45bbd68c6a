import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest
import torch

from dec_kernels import dec_loss, op
from dec_kernels.backends import BACKENDS, ENVIRONMENT, Task, asked_for, choose, cpp, explain, triton

CPU, FLOAT = torch.device("cpu"), torch.float32
TASK = Task(CPU, FLOAT, 192, 8192, "ieee")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_auto_takes_the_first_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("auto", TASK) == "cpp"
    monkeypatch.setattr(cpp, "_C", None)
    assert choose("auto", TASK) == "torch"
    monkeypatch.setattr(BACKENDS["torch"], "reasons", lambda device, dtype, dim: ["switched off"])
    # The reference is dense: auto never takes it.
    with pytest.raises(RuntimeError, match="backend='auto' cannot run"):
        choose("auto", TASK)


def test_a_named_backend_runs_or_raises_with_the_reasons_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpp, "_C", None)
    monkeypatch.setattr(cpp, "_error", ImportError("undefined symbol"))
    with pytest.raises(RuntimeError) as caught:
        dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), backend="cpp")
    message = str(caught.value)
    assert "backend='cpp' cannot run rows of 192 values, torch.float32, on cpu" in message
    assert "cpp: the extension dec_kernels._C cannot be loaded (undefined symbol)" in message
    assert "torch: ready" in message
    assert "triton: it runs on CUDA devices, not on cpu (or on the CPU, slowly, with TRITON_INTERPRET=1)" in message


def test_the_environment_variable_takes_the_place_of_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "torch")
    assert choose(asked_for("auto"), TASK) == "torch"
    assert choose(asked_for("cpp"), TASK) == "cpp"
    monkeypatch.setenv(ENVIRONMENT, "triton")
    with pytest.raises(RuntimeError, match="backend='triton' cannot run"):
        choose(asked_for("auto"), TASK)
    monkeypatch.setenv(ENVIRONMENT, "cuda")
    with pytest.raises(ValueError, match=r"DEC_KERNELS_BACKEND must be one of .* got 'cuda'"):
        asked_for("auto")
    monkeypatch.setenv(ENVIRONMENT, "")
    assert choose(asked_for("auto"), TASK) == "cpp"


def test_the_backward_takes_the_backend_of_the_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for name in ("torch", "cpp"):
        backward = BACKENDS[name].backward
        monkeypatch.setattr(
            BACKENDS[name], "backward", lambda *a, name=name, backward=backward: called.append(name) or backward(*a)
        )
    for before, after, expected in (("torch", "cpp", "torch"), ("", "torch", "cpp")):
        monkeypatch.setenv(ENVIRONMENT, before)
        loss = dec_loss(torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16))
        monkeypatch.setenv(ENVIRONMENT, after)
        loss.backward()
        assert called.pop() == expected


def test_the_backward_of_a_rank_counts_all_columns_as_the_forward_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(op, "choose", lambda name, task: asked.append(task) or "torch")
    sr, hr = torch.rand(2, 6, 3, 16, 16)
    arguments = "", 4, False, 0.3, 0.5, 1.5, False, "ieee", "auto"
    _, _, kept = op.row_losses(sr[:2], sr, hr, *arguments)
    op.row_losses_backward(torch.ones(2, 96), sr[:2], kept, sr, hr, *arguments)
    assert [task.rows for task in asked] == [96, 96]


def test_the_environment_variable_reaches_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    forward = BACKENDS["torch"].forward
    monkeypatch.setattr(BACKENDS["torch"], "forward", lambda *arguments: called.append(1) or forward(*arguments))
    monkeypatch.setenv(ENVIRONMENT, "torch")
    dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    assert called == [1]


def test_other_devices_get_reasons() -> None:
    assert "CPU and on CUDA devices, not on xpu" in explain(torch.device("xpu"), FLOAT, 192)
    if not hasattr(cpp._C, "forward_cuda"):
        assert "built without CUDA" in " ".join(cpp.reasons(torch.device("cuda"), FLOAT, 192))


def test_without_triton_its_backend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    triton.installed.cache_clear()
    try:
        assert any("Triton is not installed" in reason for reason in triton.reasons(CPU, FLOAT, 192))
    finally:
        triton.installed.cache_clear()


def test_an_older_triton_than_the_kernels_were_compiled_with_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.2.0" if name == "triton" else version(name))
    triton.version.cache_clear()
    try:
        assert any("this is 3.2" in reason for reason in triton.reasons(CPU, FLOAT, 192))
    finally:
        triton.version.cache_clear()


def test_importing_the_package_does_not_import_triton() -> None:
    program = "import sys, dec_kernels; sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
