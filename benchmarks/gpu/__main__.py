"""Everything that is to be known about a CUDA device, in one command and at most eight minutes.

    python -m benchmarks.gpu --out DIR

builds the extension, runs the tests that need a device, measures, lets compute-sanitizer watch the kernels, and ends
with the tables. Each part has its own process and its own time: one that fails, crashes or hangs is reported, and the
others go on. DIR gets gpu.json (after each part anew), gpu.jsonl (each measurement as it is made), gpu.log (what the
parts print), gpu.txt (the tables), gpu_time.png and gpu_memory.png.

With --dry-run all of it is done at tiny sizes on the CPU, Triton's interpreter in place of its compiler. That tries the
code; its figures mean nothing.
"""

import argparse
import functools
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import machine, plots
from benchmarks.compare import RESULTS
from benchmarks.gpu import parts, report
from benchmarks.gpu.competitors import LABELS
from benchmarks.gpu.parts import Outcome
from benchmarks.gpu.plan import DRY, FULL
from benchmarks.gpu.records import Records

# Seconds, at most. The measurements take what the parts before them leave, and the sanitizer what is left after them.
BUILD, TESTS, SANITIZE, TABLES = 150, 100, 75, 25
USE_EXTENSION = """
import sys, torch
from dec_kernels import dec_loss
try:
    dec_loss(*torch.rand(2, 1, 3, 16, 16, device=sys.argv[1]), backend="cpp").item()
except Exception as error:
    sys.exit(str(error))
"""


@dataclass
class Job:
    """One run of the command.

    Attributes:
        out: the folder for what comes of it.
        dry_run: on the CPU, at tiny sizes.
        end: when all is to be over, in seconds since the epoch.
    """

    out: Path
    dry_run: bool
    end: float
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        dry_run = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if self.dry_run else {}
        self.environment = {"PYTHONUNBUFFERED": "1"} | dry_run

    @property
    def device(self) -> str:
        return "cpu" if self.dry_run else "cuda"

    @property
    def log(self) -> Path:
        return self.out / "gpu.log"

    @property
    def records(self) -> Path:
        return self.out / "gpu.jsonl"

    def run(self, limit: float, *command: str, **environment: str) -> Outcome:
        limit = min(limit, self.end - time.time())
        return parts.run(command, self.log, limit, self.environment | environment)


def build(job: Job) -> Outcome:
    """The C++/CUDA extension, in place. The build itself never fails, it leaves out: so what came of it is tried."""
    # A dry run must not touch the extension that others may be using: it reads setup.py and no more.
    what = ["--name"] if job.dry_run else ["build_ext", "--inplace"]
    outcome = job.run(BUILD, sys.executable, "setup.py", *what)
    if outcome["outcome"] != "done":
        return outcome
    use = job.run(60, sys.executable, "-c", USE_EXTENSION, job.device)
    if use["outcome"] == "failed":
        use["reason"] = " ".join(use["printed"].split())[-1000:]
    return use | {"seconds": outcome["seconds"]}


def tests(job: Job) -> Outcome:
    """The tests with the mark `gpu`; those whose modules need something that is not installed are counted as errors."""
    where = ["tests/backends/test_gpu.py"] if job.dry_run else []
    # One that hangs is to be stopped before the part is.
    options = ["-m", "gpu", "-q", "--continue-on-collection-errors", "-o", "timeout=40"]
    if importlib.util.find_spec("xdist"):  # most of their time is compilation
        options += ["-n", "8"]
    outcome = job.run(TESTS, sys.executable, "-m", "pytest", *options, *where)
    lines = outcome["printed"].splitlines()
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)s?\b", lines[-1] if lines else "")
    failures = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return outcome | {"counts": {key: int(count) for count, key in counts}, "failures": failures}


def measurements(job: Job) -> Outcome:
    options = ["--dry-run"] if job.dry_run else []
    deadline = job.end - SANITIZE - TABLES
    return parts.measure(options, job.records, job.log, deadline, job.environment)


def sanitizer(job: Job, tool: str) -> Outcome:
    """A small forward and backward under compute-sanitizer; in a dry run, without it."""
    watching = []
    if not job.dry_run:
        cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        program = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:{cuda}/bin")
        if program is None:
            return {"outcome": "not present", "reason": "there is no compute-sanitizer on the path"}
        watching = [program, "--tool", tool, "--error-exitcode", "9"]
    command = [*watching, sys.executable, "-m", "benchmarks.gpu.sanitize", job.device]
    # Each tensor is an allocation of its own, so that what is written beyond its end is seen.
    outcome = job.run(SANITIZE, *command, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    counts = {
        key: len(re.findall(rf"^\w+ in \w+ {key}:", outcome["printed"], re.MULTILINE)) for key in ("ran", "did not run")
    }
    errors = [line for line in outcome["printed"].splitlines() if "ERROR SUMMARY" in line]
    return outcome | {"counts": counts, "failures": errors}


PARTS: dict[str, Callable[[Job], Outcome]] = {
    "build": build,
    "tests": tests,
    "measurements": measurements,
    "memcheck": functools.partial(sanitizer, tool="memcheck"),
    "racecheck": functools.partial(sanitizer, tool="racecheck"),
}


def collect(job: Job, results: dict[str, Any]) -> None:
    """Brings the results up to what has been measured by now, and writes them."""
    results |= Records(job.records).results()
    for derive in (report.shares, report.crossover, report.claims):
        results[derive.__name__] = derive(results)
    (job.out / "gpu.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS, help=f"default: {RESULTS.name}/")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which all is to be over; default: 8")
    parser.add_argument("--dry-run", action="store_true", help="try the code at tiny sizes on the CPU")
    given = parser.parse_args()
    if given.dry_run and given.out.resolve() == RESULTS:
        parser.error("--dry-run needs an --out of its own: its figures do not belong among the results")
    if not (given.dry_run or torch.cuda.is_available()):
        sys.exit("There is no CUDA device here. With --dry-run everything is tried on the CPU, at tiny sizes.")

    job = Job(given.out.resolve(), given.dry_run, time.time() + 60 * given.minutes)
    job.out.mkdir(parents=True, exist_ok=True)
    for file in (job.log, job.records):
        file.unlink(missing_ok=True)
    plan = DRY if given.dry_run else FULL
    results: dict[str, Any] = {
        "dry_run": given.dry_run,
        "note": report.DRY_RUN if given.dry_run else "",
        "machine": machine.describe() | ({} if given.dry_run else machine.describe_gpu()),
        "run": machine.provenance("benchmarks.gpu"),
        "workload": {
            "call": "forward, then backward to the gradient of sr; both is their sum; graph: both as one CUDA graph",
            "images": "float32 crops of four photographs of scikit-image; sr is their x4 bicubic reconstruction",
            "loss": "distance l2, temperature outside, scope batch, the paper's constants",
            "time": "seconds between CUDA events, the L2 cache cold; all competitors by turns in one process, after "
            "two calls each; first_call is the host's, with all that is compiled",
            "memory": "peak of PyTorch's allocator during a call, above both images and whatever was there before "
            "(cuBLAS's workspace), less the returned gradient; KeOps allocates beside it",
            "accuracy": "against the dense float64 reference on the same photographs, relative; gradients by norm",
            "shares": "6 * 2 n n D / time over the rate of a cuBLAS product of that size and precision",
        },
        "labels": LABELS,
        "claims_at": {"speed": plan.speed_at, "memory": plan.memory_at},
        "parts": {},
    }
    console = Console(width=160, record=True)
    try:
        for name, part in PARTS.items():
            console.print(f"{name} ...")
            try:
                results["parts"][name] = {key: value for key, value in part(job).items() if key != "printed"}
            except Exception as error:  # whatever it is, the other parts go on
                traceback.print_exc()
                results["parts"][name] = {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"}
            console.print("   ".join(f"{key}: {value}" for key, value in results["parts"][name].items()))
            collect(job, results)
    finally:
        collect(job, results)
        report.print_tables(results, console)
        console.save_text(str(job.out / "gpu.txt"))
    for measure in ("time", "memory"):
        lines = report.lines(results, measure)
        if any(len(line.points) > 1 for line in lines):
            plots.draw(measure, lines, report.note(results), job.out / f"gpu_{measure}.png")


if __name__ == "__main__":
    main()
