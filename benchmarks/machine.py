"""Where, when and from which sources a result comes."""

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

import dec_kernels
from dec_kernels.environment import cpu, driver, operating_system, output, version

ROOT = Path(__file__).parent.parent


def describe() -> dict[str, str | int | float]:
    """The CPU, its memory and threads, and the versions of what runs on it."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "os": operating_system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": "MKL" if torch.backends.mkl.is_available() else "not MKL",
        "dec_kernels": dec_kernels.__version__,
    }


def describe_gpu() -> dict[str, str | int | float | None]:
    """The current CUDA device, its driver, and what compiles for it."""
    device = torch.cuda.get_device_properties()
    return {
        "gpu": device.name,
        "compute_capability": f"{device.major}.{device.minor}",
        "multiprocessors": device.multi_processor_count,
        "gpu_memory_gib": round(device.total_memory / 2**30, 1),
        "l2_mib": device.L2_cache_size / 2**20,
        "largest_sm_clock": output("nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader"),
        "driver": driver(),
        "cuda": torch.version.cuda,
        "triton": version("triton"),
        "keops": version("pykeops"),
    }


def provenance(module: str) -> dict[str, str | bool | None]:
    """The command line, given the module that Python runs; the time; and the commit, if the sources are in git."""
    commit = _git("rev-parse", "HEAD")
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        # Results are written by the run itself.
        "uncommitted_changes": commit and bool(_git("status", "--porcelain", "--", ".", ":!benchmarks/results")),
    }


def _git(*arguments: str) -> str | None:
    return output("git", *arguments, cwd=ROOT)
