"""Describes the machine, the time and the sources of a result."""

import datetime
import hashlib
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

import dec_kernels
from dec_kernels.environment import cpu, driver, operating_system, output, version

ROOT = Path(__file__).parent.parent
COMMIT = "DEC_KERNELS_COMMIT"


def describe() -> dict[str, str | int | float]:
    """The CPU, its memory and threads, and the versions of the software."""
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
    """The current CUDA device, its driver, and the versions of the compilers."""
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


def provenance(module: str) -> dict[str, Any]:
    """The command line of a run of `module`, the time, and the sources.

    The commit comes from git or, if the sources are not in a git repository, from the environment variable
    DEC_KERNELS_COMMIT; "commit_from" says which. "sources" holds the ids of the sources (`tree_id`), which need
    neither.
    """
    in_git = _git("rev-parse", "--show-cdup") == ""  # otherwise this is a copy, even if a folder above is in git
    commit = _git("rev-parse", "HEAD") if in_git else os.environ.get(COMMIT)
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "commit_from": ("git" if in_git else COMMIT) if commit else None,
        # The run itself writes the results.
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", ".", ":!benchmarks/results"))
        if in_git
        else None,
        "sources": sources(),
    }


def sources() -> dict[str, str]:
    """The ids of the folders that determine a result, as `git rev-parse COMMIT:FOLDER` prints them."""
    return {folder: tree_id(ROOT / folder) for folder in ("dec_kernels", "csrc", "benchmarks/gpu")}


def tree_id(folder: Path) -> str:
    """The id that git gives to the tree of a folder, computed without git; builds and caches are left out."""
    entries = []
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if (tree := tree_id(path)) != _object_id("tree", b""):  # git does not store empty folders
                entries.append((f"{path.name}/", "40000", tree))
        elif path.suffix not in (".so", ".pyc"):
            link = path.is_symlink()
            content = os.fsencode(os.readlink(path)) if link else path.read_bytes()
            mode = "120000" if link else "100755" if os.access(path, os.X_OK) else "100644"
            entries.append((path.name, mode, _object_id("blob", content)))
    lines = (f"{mode} {name.rstrip('/')}\0".encode() + bytes.fromhex(id_) for name, mode, id_ in sorted(entries))
    return _object_id("tree", b"".join(lines))


def _object_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def _git(*arguments: str) -> str | None:
    return output("git", *arguments, cwd=ROOT)
