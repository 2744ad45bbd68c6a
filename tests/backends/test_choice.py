import pytest
import torch

from dec_kernels import dec_loss
from dec_kernels.backends import BACKENDS, ENVIRONMENT, choose, cpp, explain

CPU, FLOAT = torch.device("cpu"), torch.float32


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def test_auto_takes_the_first_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("auto", CPU, FLOAT) == "cpp"
    monkeypatch.setattr(cpp, "_C", None)
    assert choose("auto", CPU, FLOAT) == "torch"
    monkeypatch.setattr(BACKENDS["torch"], "reasons", lambda device, dtype: ["switched off"])
    # The reference is dense: auto never takes it.
    with pytest.raises(RuntimeError, match="backend='auto' cannot run"):
        choose("auto", CPU, FLOAT)


def test_a_named_backend_runs_or_raises_with_the_reasons_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpp, "_C", None)
    monkeypatch.setattr(cpp, "_error", ImportError("undefined symbol"))
    with pytest.raises(RuntimeError) as caught:
        dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), backend="cpp")
    message = str(caught.value)
    assert "backend='cpp' cannot run torch.float32 on cpu" in message
    assert "cpp: the extension dec_kernels._C cannot be loaded (undefined symbol)" in message
    assert "torch: ready" in message
    assert "triton: this version has no Triton kernels" in message


def test_the_environment_variable_takes_the_place_of_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "torch")
    assert choose("auto", CPU, FLOAT) == "torch"
    assert choose("cpp", CPU, FLOAT) == "cpp"
    monkeypatch.setenv(ENVIRONMENT, "triton")
    with pytest.raises(RuntimeError, match="backend='triton' cannot run"):
        choose("auto", CPU, FLOAT)
    monkeypatch.setenv(ENVIRONMENT, "cuda")
    with pytest.raises(ValueError, match=r"DEC_KERNELS_BACKEND must be one of .* got 'cuda'"):
        choose("auto", CPU, FLOAT)
    monkeypatch.setenv(ENVIRONMENT, "")
    assert choose("auto", CPU, FLOAT) == "cpp"


def test_the_environment_variable_reaches_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    forward = BACKENDS["torch"].forward
    monkeypatch.setattr(BACKENDS["torch"], "forward", lambda *arguments: called.append(1) or forward(*arguments))
    monkeypatch.setenv(ENVIRONMENT, "torch")
    dec_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    assert called == [1]


def test_other_devices_get_reasons() -> None:
    assert "CPU and on CUDA devices, not on xpu" in explain(torch.device("xpu"), FLOAT)
    if not hasattr(cpp._C, "forward_cuda"):
        assert "built without CUDA" in explain(torch.device("cuda"), FLOAT)
