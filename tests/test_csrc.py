"""The C++ and CUDA sources by themselves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
NVCC = shutil.which("nvcc")
CXX = shutil.which("c++")


@pytest.mark.skipif(NVCC is None, reason="there is no nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100", "sm_120"])
def test_the_cuda_epilogues_compile_with_plain_nvcc(architecture: str, tmp_path: Path) -> None:
    command = [NVCC, "-c", CSRC / "epilogue_cuda.cu", "-o", tmp_path / "epilogue.o", f"-arch={architecture}"]
    command += ["-O3", "-std=c++20", "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "epilogue.o").stat().st_size > 0
    kernels = [line for line in done.stderr.splitlines() if "spill stores" in line]
    assert len(kernels) == 10  # sums of two dtypes and weights of three, each for both temperatures
    assert all("0 bytes spill stores, 0 bytes spill loads" in line for line in kernels)


@pytest.mark.skipif(CXX is None, reason="there is no C++ compiler")
def test_the_shared_arithmetic(tmp_path: Path) -> None:
    """exp over all floats of [-50, 50], bf16 rounding against the definition, the verdicts at the radius."""
    source = tmp_path / "check.cpp"
    source.write_text(
        r"""
#include "arithmetic.h"
#include <cstdio>
#include <initializer_list>
#include <limits>

int main() {
  double worst = 0;
  for (float x = -50; x <= 50; x += 1.7e-5f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::fmax(worst, std::fabs(dec::exponential(x) - exact) / exact);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::printf("%g %d\n", worst, std::isnan(dec::exponential(nan)));

  int wrong = 0;
  for (std::uint32_t bits = 1; bits < 0xff000000u; bits += 7919) {
    float x;
    std::memcpy(&x, &bits, 4);
    dec::bf16 rounded;
    dec::store(rounded, x);
    if (std::isnan(x)) { wrong += !std::isnan(dec::load(rounded)); continue; }
    // From halfway between the largest bf16 and 2^128 on, infinity is right, and no distance tells.
    if (std::fabs(x) >= 3.3961775e38f) { wrong += !std::isinf(dec::load(rounded)); continue; }
    // The neighbours on both sides: no other bf16 may be closer, and a tie goes to the even one.
    const double error = std::fabs(static_cast<double>(dec::load(rounded)) - x);
    for (int step : {-1, 1}) {
      const dec::bf16 other{static_cast<std::uint16_t>(rounded.bits + step)};
      const double alternative = std::fabs(static_cast<double>(dec::load(other)) - x);
      wrong += alternative < error || (alternative == error && (rounded.bits & 1));
    }
  }
  dec::bf16 rounded;
  std::uint32_t low_payload = 0x7f800001u;
  float x;
  std::memcpy(&x, &low_payload, 4);
  dec::store(rounded, x);
  wrong += !std::isnan(dec::load(rounded));
  std::printf("%d\n", wrong);

  using dec::Verdict;
  const auto is = [](float d2, double radius, Verdict v) { return dec::verdict(d2, radius) == v; };
  std::printf("%d\n", is(0.99f, 1, Verdict::positive) && is(1.01f, 1, Verdict::negative) &&
                          is(1.00001f, 1, Verdict::ask_float64) && is(0.99999f, 1, Verdict::ask_float64) &&
                          is(0, 1e-25, Verdict::ask_float64) && is(nan, 1, Verdict::ask_float64));
}
"""
    )
    program = tmp_path / "check"
    command = [CXX, "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}", source, "-o", program]
    subprocess.run(command, check=True)
    exp, bf16, verdicts = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    worst, nan_stays = exp.split()
    assert float(worst) < 2 * 2.0**-23
    assert nan_stays == "1"
    assert bf16 == "0"
    assert verdicts == "1"


def test_threads_never_wait_for_each_other_for_ever() -> None:
    """Three blocks of rows in two threads: one plays against itself while another only pauses in the next round."""
    program = (
        "import torch; from dec_kernels.backends.cpp import BACKEND; from dec_kernels.patches import Batch; "
        "from dec_kernels.spec import Spec; torch.set_num_threads(2); x = torch.rand(192, 3, 2, 2); "
        "constants = Spec(patch_size=2).constants(12, 'ieee'); "
        "rows = BACKEND.rows(Batch.alone(x, x.roll(1)), 2, False, constants, torch.float32); "
        "print(len([BACKEND.sums(rows, constants) for _ in range(5000)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "5000\n", done.stderr
