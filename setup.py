"""Builds the extension `dec_kernels._C` where PyTorch and a compiler are present; installs without it elsewhere.

Everything else about the package is in pyproject.toml.
"""

import os
import shutil
import sys
from glob import glob

from setuptools import setup

# -g0: Python's own flags ask for debugging information, with which the build takes twice as long.
CXX_FLAGS = ["-O3", "-g0", "-std=c++20", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
NVCC_FLAGS = ["-O3", "-std=c++20"]


def extension() -> dict:
    """The arguments of `setup` that build the extension, or none of them, with a line that says what is missing."""
    try:
        from torch.cuda import is_available
        from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension
        from torch.version import cuda
    except ImportError:
        return without("PyTorch is not there while building; pip install --no-build-isolation lets it be seen")
    compiler = (os.environ.get("CXX") or "c++").split()[0]
    if shutil.which(compiler) is None:
        return without(f"there is no C++ compiler {compiler!r}")

    sources = [f"csrc/{name}.cpp" for name in ("module", "walk_cpu", "epilogue_cpu", "prepare_cpu", "near_cpu")]
    common = {"extra_link_args": ["-fopenmp"], "depends": glob("csrc/*.h")}
    module = for_cpu = CppExtension("dec_kernels._C", sources, extra_compile_args=CXX_FLAGS, **common)
    if cuda is not None and CUDA_HOME is not None:
        if not is_available():  # PyTorch would ask the devices what to compile for, and fail where there are none
            os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "7.5;8.0;9.0+PTX")
        module = CUDAExtension(
            "dec_kernels._C",
            [*sources, "csrc/walk_cuda.cpp", "csrc/epilogue_cuda.cu"],
            define_macros=[("DEC_WITH_CUDA", None)],
            extra_compile_args={"cxx": CXX_FLAGS, "nvcc": NVCC_FLAGS},
            **common,
        )

    class Build(BuildExtension):
        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except Exception as error:  # whatever a toolchain can raise: the package works without its extension
                if module.sources != for_cpu.sources:
                    say(f"the C++ extension is built for the CPU alone: {error}")
                    vars(module).update(vars(for_cpu))  # not replaced: setuptools has prepared this object
                    self.build_extensions()
                else:
                    without(f"the compiler failed: {error}")
                    self.extensions = []
                    # What is built is for every platform, and a wheel of it has to say so.
                    self.distribution.ext_modules = None
                    if wheel := self.distribution.get_command_obj("bdist_wheel", create=False):
                        wheel.root_is_pure = True

    return {"ext_modules": [module], "cmdclass": {"build_ext": Build}}


def without(reason: str) -> dict:
    say(f"the C++ extension is left out, the loss runs on PyTorch calls alone: {reason}")
    return {}


def say(line: str) -> None:
    print(f"dec-kernels: {line}", file=sys.stderr)


setup(**extension())
