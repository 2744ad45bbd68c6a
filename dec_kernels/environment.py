"""`dec-kernels env`: what runs here, on what, and which backend; plain text for a bug report, from torch alone."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

import dec_kernels
from dec_kernels import backends
from dec_kernels.backends import cpp, triton
from dec_kernels.backends.precision import cpu_gains_by_bf16, processor, setting_of

VARIABLES = (
    backends.ENVIRONMENT,
    triton.AUTOTUNE,
    "TRITON_INTERPRET",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "CUDA_VISIBLE_DEVICES",
)
# What a training step usually asks for: patches of 8 x 8 RGB pixels, 32 crops of 128 x 128 pixels.
DIM, ROWS = 192, 8192

Facts = dict[str, str]


def add_parser(subparsers: Any) -> None:
    help = "versions, devices and backends as plain text, for a bug report"
    parser = subparsers.add_parser("env", help=help, description=f"Prints {help}.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    print(report())
    return 0


def report() -> str:
    """The facts of each section as lines of `name: value`."""
    sections = {"versions": versions(), "machine": machine(), "settings": settings()}
    for device in devices():
        sections[f"device {device}"] = describe_device(device) | backends_on(device)
    lines = []
    for title, facts in sections.items():
        lines += [title, *(f"  {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(lines)


def cpu_convolves_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16, with which mixed precision trains faster than float32.

    For matrix products alone, which lose on some of these CPUs, see `precision.cpu_gains_by_bf16`.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001  no public name says it


def versions() -> Facts:
    facts = {
        "dec_kernels": dec_kernels.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "triton": triton.version() or "not installed",
        "CUDA of torch": torch.version.cuda or "none",
        "ROCm of torch": torch.version.hip or "none",
        "cuDNN": str(torch.backends.cudnn.version() or "none"),
        "compiler of the extension": extension_compiler() or "unknown, or there is no extension",
    }
    libraries = [line.strip() for line in torch.__config__.parallel_info().splitlines()]
    facts["OpenMP"] = next((line for line in libraries if line.startswith("OpenMP ")), "none")
    facts["MKL"] = next((line for line in libraries if "Math Kernel Library" in line), "none")
    return facts


def machine() -> Facts:
    return {
        "os": operating_system(),
        "cpu": cpu(),
        "cores": str(os.cpu_count()),
        "threads of torch": str(torch.get_num_threads()),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        'products of precision="bf16" on the CPU': "bf16" if cpu_gains_by_bf16() else "float32",
    }


def settings() -> Facts:
    return {name: os.environ.get(name, "not set") for name in VARIABLES} | {
        "deterministic algorithms": str(torch.are_deterministic_algorithms_enabled()),
    }


def devices() -> list[torch.device]:
    """The CPU, and every CUDA or MPS device."""
    found = [torch.device("cpu")]
    if torch.cuda.is_available():
        found += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return found


def describe_device(device: torch.device) -> Facts:
    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "memory": f"{properties.total_memory / 2**30:.1f} GiB",
        "driver": driver() or "unknown: there is no nvidia-smi",
    }


def backends_on(device: torch.device) -> Facts:
    """Each backend at float32 rows of DIM values: ready, or why not; and what "auto" is."""
    reasons = backends.reasons_of_each(device, torch.float32, DIM)
    facts = {name: "; ".join(found) or "ready" for name, found in reasons.items()}
    return facts | automatic(device)


def automatic(device: torch.device) -> Facts:
    """What "auto" resolves to, and why."""
    asked = f"auto (D = {DIM}, float32, {ROWS} columns)"
    setting = f"PyTorch's own products are set to: {setting_of(device)}"
    try:
        taken = backends.resolve("auto", "auto", device, torch.float32, DIM, ROWS)
    except (RuntimeError, ValueError) as error:
        return {asked: f"error: {error}", 'precision="auto"': setting}
    named = os.environ.get(backends.ENVIRONMENT) or "auto"
    why = "the fastest of those that are ready" if named == "auto" else f"since {backends.ENVIRONMENT} names it"
    return {asked: f"{taken.backend}, {why}", 'precision="auto"': f"{taken.precision}; {setting}"}


def device_name(device: torch.device) -> str:
    """What it says of itself; for the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu()}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def operating_system() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def cpu() -> str:
    """The name of the CPU, on Linux with family and model."""
    fields = processor()
    if {"model name", "cpu family", "model"} <= fields.keys():
        # The name alone may say no more than "AMD EPYC".
        return "{model name} (family {cpu family}, model {model})".format_map(fields)
    return platform.processor() or platform.machine()


def driver() -> str | None:
    """The version of NVIDIA's driver, which all devices share."""
    lines = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return lines.splitlines()[0] if lines else None


def extension_compiler() -> str | None:
    """What compiled dec_kernels._C, by the mark that GCC and Clang leave in their objects."""
    if cpp.extension is None or cpp.extension.__file__ is None:
        return None
    marks = re.findall(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", Path(cpp.extension.__file__).read_bytes())
    return ", ".join(sorted({mark.decode() for mark in marks})) or None


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def output(*command: str, cwd: Path | None = None) -> str | None:
    """What a command prints, stripped; None where there is no such command, or it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
