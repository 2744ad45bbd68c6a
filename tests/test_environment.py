import subprocess
import sys

import pytest
import torch

from benchmarks import machine
from dec_kernels import backends, environment
from dec_kernels.backends.precision import cpu_gains_by_bf16

CPU = torch.device("cpu")
BF16 = "bf16" if cpu_gains_by_bf16() else "ieee"


def test_the_report_needs_torch_alone() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['numpy', 'rich', 'PIL', 'matplotlib', 'skimage'])); "
    command = blocked + "from dec_kernels.cli import main; sys.exit(main(['env']))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"  torch: {torch.__version__}" in done.stdout
    assert f"  vector instructions: {torch.backends.cpu.get_cpu_capability()}" in done.stdout


def test_the_report_is_plain_ascii_with_a_fact_a_line() -> None:
    lines = environment.report().splitlines()
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert all(": " in line for line in lines if line.startswith("  "))
    assert sum(line == "device cpu" for line in lines) == 1


def test_settings_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("DEC_KERNELS_AUTOTUNE", raising=False)
    settings = environment.settings()
    assert settings["OMP_NUM_THREADS"] == "3"
    assert settings["DEC_KERNELS_AUTOTUNE"] == "not set"


@pytest.mark.parametrize("named", ["", "torch", "reference", "auto"])
def test_auto_is_the_backend_that_a_call_takes(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backends.ENVIRONMENT, named)
    expected = (
        named if named in ("torch", "reference") else "torch" if backends.cpp.BACKEND.reasons(CPU, None, 3) else "cpp"
    )
    taken, _, why = next(iter(environment.automatic(CPU).values())).partition(", ")
    assert taken == expected
    assert (backends.ENVIRONMENT in why) == (named in ("torch", "reference"))


def test_a_backend_that_does_not_exist_is_reported_and_does_not_stop_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(backends.ENVIRONMENT, "cudnn")
    assert "got 'cudnn'" in environment.report()


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("torch.backends.fp32_precision = 'tf32'", "tf32; PyTorch's own products are set to: tf32"),
        ("torch.backends.mkldnn.matmul.fp32_precision = 'bf16'", f"{BF16}; PyTorch's own products are set to: bf16"),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", "tf32x3; PyTorch's own products are set to: none"),
        ("torch.set_float32_matmul_precision('high'); torch.backends.cuda.matmul.allow_tf32 = False", "tf32; "),
    ],
)
def test_the_report_says_what_auto_is_in_every_state_of_the_settings(setting: str, shown: str) -> None:
    command = f"import torch; {setting}; from dec_kernels.cli import main; main(['env'])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert f'  precision="auto": {shown}' in done.stdout


def test_reasons_stand_beside_each_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    facts = environment.backends_on(CPU)
    assert "CUDA" in facts["triton"]
    assert facts["torch"] == "ready"


def test_the_compiler_is_that_of_the_extension() -> None:
    if backends.cpp.extension is None:
        pytest.skip("there is no extension")
    assert any(char.isdigit() for char in environment.extension_compiler() or "")


def test_benchmarks_say_the_same_of_the_machine() -> None:
    described = machine.describe()
    assert described["cpu"] == environment.machine()["cpu"]
    assert described["os"] == environment.machine()["os"]
