"""What the command does, in parts: A builds and tests, B measures, C has the kernels watched, D tunes, E measures more.

Each part is made of steps, and each step has processes of its own and its own time. One that fails, crashes or hangs is
reported, and the others go on.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu import outcomes, processes
from benchmarks.gpu.plan import PATCH_SIZES, PLANS, PRESETS
from benchmarks.gpu.processes import Outcome
from benchmarks.gpu.records import Records
from benchmarks.machine import ROOT, sources
from benchmarks.results import DIM

# What is asked for before anything else, and what it means where it is not there.
MODULES = {
    "setuptools": "the C++/CUDA extension cannot be built, and the backend cpp is neither tested nor measured",
    "triton": "the kernels cannot run, and the backend triton is neither tested nor measured",
    "pytest": "no test runs",
    "xdist": "(pytest-xdist) tests run one after the other, and most of their time is compilation",
    "pytest_timeout": "(pytest-timeout) a test that hangs is stopped only when its part is",
    "skimage": "(scikit-image) there are no photographs, and nothing can be measured",
}
PROGRAMS = {
    "ninja": "the extension is built one file after the other, which takes minutes more",
    "nvcc": "the extension is built for the CPU alone, and the backend cpp is neither tested nor measured",
    "compute-sanitizer": "nothing watches the kernels, and part C finds nothing",
}

# Where it is said what the extension was last built of.
STAMP = ROOT / "build" / "gpu-extension.json"
USE_EXTENSION = """
import sys, torch
from dec_kernels import dec_loss
try:
    dec_loss(*torch.rand(2, 1, 3, 16, 16, device=sys.argv[1]), backend="cpp").item()
except Exception as error:
    sys.exit(str(error))
"""
USE, EACH_TEST = 60, 300  # seconds

# The first call of a competitor may compile for a minute; a process that writes no record for so long hangs.
LONGEST_SILENCE = 90.0
MOST_STARTS = 12
# What is under way when no more may begin has so long to end.
GRACE = 20.0
TUNING = 90.0  # of one preset: most candidates take a second or two to compile

# A row as `tune` prints it.
ROW = re.compile(r"^\s*(\(\"sm_\d+\", .*\),)\s*$", re.MULTILINE)
TUNE_STAND_IN = """import sys; print(f'    ("sm_0", 192, "{sys.argv[1]}", "made up"),')"""


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

    @property
    def device(self) -> str:
        return "cpu" if self.dry_run else "cuda"

    @property
    def log(self) -> Path:
        return self.out / "gpu.log"

    @property
    def records(self) -> Path:
        return self.out / "gpu.jsonl"

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes that it starts."""
        # On a device nothing is interpreted, whatever the shell has set: Triton 3.6's interpreter fails with NumPy 2.5.
        variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        # ninja stands beside the interpreter of a virtual environment, which need not be activated.
        cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        path = os.pathsep.join([str(Path(sys.executable).parent), variables.get("PATH", ""), f"{cuda}/bin"])
        variables |= {"PYTHONUNBUFFERED": "1", "PATH": path}
        return variables | ({"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if self.dry_run else {})

    def program(self, name: str) -> str | None:
        return shutil.which(name, path=self.environment["PATH"])

    def run(self, limit: float, *command: str, **environment: str) -> Outcome:
        limit = min(limit, self.end - time.time())
        return processes.run(command, self.log, limit, self.environment | environment)


def missing(job: Job) -> list[str]:
    """A sentence for each thing that is not there."""
    absent = [name for name in MODULES if importlib.util.find_spec(name) is None]
    absent += [name for name in PROGRAMS if job.program(name) is None]
    return [f"{name} is not there: {(MODULES | PROGRAMS)[name]}." for name in absent]


def build(job: Job, limit: float) -> Outcome:
    """The C++/CUDA extension, in place, unless it is there. A build never fails, it leaves out: so it is tried."""
    use = [sys.executable, "-c", USE_EXTENSION, job.device]
    made_of = {"csrc": sources()["csrc"], "torch": torch.__version__, "python": platform.python_version()}
    if not job.dry_run and STAMP.exists() and json.loads(STAMP.read_text()) == made_of:
        outcome = job.run(USE, *use)
        if outcome["outcome"] == "done":
            return outcome
    # A dry run must not touch the extension that others may be using: it reads setup.py and no more.
    what = ["--name"] if job.dry_run else ["build_ext", "--inplace"]
    outcome = job.run(limit, sys.executable, "setup.py", *what)
    if outcome["outcome"] != "done":
        return outcome
    tried = job.run(USE, *use)
    if tried["outcome"] == "failed":
        tried["reason"] = " ".join(tried["printed"].split())[-1000:]
    elif not job.dry_run:
        STAMP.parent.mkdir(exist_ok=True)
        STAMP.write_text(json.dumps(made_of))
    return tried | {"seconds": outcome["seconds"] + tried["seconds"]}


def tests(job: Job, limit: float) -> Outcome:
    """The tests with the mark `gpu`, of the files that have any. What they come to stands in the records."""
    files = [str(file) for file in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in file.read_text()]
    options = ["-m", "gpu", "-v", "-p", "benchmarks.gpu.outcomes", "--continue-on-collection-errors"]
    cores, workers = os.cpu_count() or 1, 1
    if importlib.util.find_spec("pytest_timeout"):
        options += ["-o", f"timeout={EACH_TEST}"]
    if importlib.util.find_spec("xdist"):  # most of their time is compilation
        workers = min(16, cores)
        # Neighbours share what is compiled: each worker begins with a stretch of them.
        options += ["-n", str(workers), "--dist", "worksteal"]
    variables = {outcomes.FILE: str(job.records), "OMP_NUM_THREADS": str(max(1, cores // workers))}
    # The groups of processes in the tests are of one machine, whose name no network may know.
    variables |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo")
    outcome = job.run(limit, sys.executable, "-m", "pytest", *options, *files, **variables)
    ended = Records(job.records).tests()
    return outcome | {"counts": dict(Counter(test["outcome"] for test in ended.values()))}


def measure(job: Job, limit: float, plan: str) -> Outcome:
    """Runs `benchmarks.gpu.measure` over a plan. Whatever takes its process down, or makes it hang, is left out, and it
    starts again where it ended."""
    start = time.time()
    deadline = min(start + limit, job.end) - GRACE
    Records(job.records).close_repeatedly_interrupted()
    endings = []
    for _ in range(MOST_STARTS):
        started = time.time()

        def hangs(started: float = started) -> bool:
            return time.time() - max(started, job.records.stat().st_mtime) > LONGEST_SILENCE

        options = ["--dry-run"] if job.dry_run else []
        command = [sys.executable, "-m", "benchmarks.gpu.measure", str(job.records), plan, str(deadline), *options]
        before = len(Records(job.records).all)
        outcome = processes.run(command, job.log, deadline + GRACE - time.time(), job.environment, hangs)
        if outcome["outcome"] in ("done", "stopped"):
            break
        endings.append(outcome["reason"])
        records = Records(job.records)
        records.close_interrupted(outcome["reason"])
        if len(records.all) == before or time.time() > deadline:
            break
    records, cases = Records(job.records), PLANS[job.dry_run][plan].cases
    left = [case for case in cases if not records.of("done", **case.key)]
    if outcome["outcome"] in ("done", "stopped") and left:
        next_one = "n = {n}, D = {dim}, {precision}".format_map(left[0].place)
        outcome |= {"outcome": "stopped", "reason": f"its time was over: {len(left)} cases are left, first {next_one}"}
    return outcome | {
        "seconds": round(time.time() - start, 1),
        "counts": {"cases": len(cases) - len(left)},
        "earlier_endings": endings,
    }


def sanitizer(job: Job, limit: float, tool: str) -> Outcome:
    """A small forward and backward under compute-sanitizer; in a dry run, without it."""
    watching = []
    if not job.dry_run:
        program = job.program("compute-sanitizer")
        if program is None:
            return {"outcome": "not there", "reason": "there is no compute-sanitizer on the path"}
        watching = [program, "--tool", tool, "--error-exitcode", "9"]
    command = [*watching, sys.executable, "-m", "benchmarks.gpu.sanitize", job.device]
    # Each tensor is an allocation of its own, so that what is written beyond its end is seen.
    outcome = job.run(limit, *command, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    said = outcome["printed"]
    counts = {key: len(re.findall(rf"^\w+ .* {key}:", said, re.MULTILINE)) for key in ("ran", "did not run")}
    # Its lines begin with a row of equals signs.
    errors = re.findall(
        r"^=+ ((?:ERROR|RACECHECK) SUMMARY.*|(?:Error|Warning): .*|Invalid .*|Program hit .*)", said, re.MULTILINE
    )
    return outcome | {"counts": counts, "failures": errors[:20]}


def tune(job: Job, limit: float) -> Outcome:
    """The tile table's rows at the n and D of the claims, preset after preset, each in no less time than is of use."""
    end, found, taken = time.time() + limit, Records(job.records), 0.0
    ending: Outcome = {"outcome": "done"}
    for precision in PRESETS:
        if found.of("tile", precision=precision):
            continue
        left = end - time.time()
        if left < TUNING and taken:
            break
        share = left / 2 if left / 2 >= TUNING else left
        command = ["-c", TUNE_STAND_IN, precision]
        if not job.dry_run:
            # Compilers that are under way when its seconds are over take some more.
            seconds = max(10, int(share - GRACE))
            command = ["-m", "dec_kernels.backends.triton.tune", "--precision", precision, "--n", "8192"]
            command += ["--channels", "3", "--patch-size", str(PATCH_SIZES[DIM]), "--seconds", str(seconds)]
        outcome = job.run(share, sys.executable, *command)
        taken += outcome["seconds"]
        if outcome["outcome"] != "done":  # the other presets may do better
            ending = {"outcome": outcome["outcome"], "reason": f"{precision}: {outcome['reason']}"}
        for row in ROW.findall(outcome["printed"]):
            found.write("tile", n=8192, dim=DIM, precision=precision, row=row)
    left_over = [precision for precision in PRESETS if not found.of("tile", precision=precision)]
    if left_over and ending["outcome"] == "done":
        ending = {"outcome": "stopped", "reason": f"no row yet for {', '.join(left_over)}"}
    return ending | {"seconds": round(taken, 1)}


class Step(NamedTuple):
    """`run` gets the most seconds that it may take; with fewer than `least` left it does not begin."""

    run: Callable[[Job, float], Outcome]
    least: float
    most: float


STEPS = {
    "build": Step(build, 20, 150),
    "tests": Step(tests, 45, 390),
    "measurements": Step(partial(measure, plan="measurements"), 90, 300),
    "memcheck": Step(partial(sanitizer, tool="memcheck"), 30, 150),
    "racecheck": Step(partial(sanitizer, tool="racecheck"), 30, 150),
    "tune": Step(tune, 45, 500),
    "curves": Step(partial(measure, plan="curves"), 45, 520),
}
# The extension is needed almost everywhere, and takes seconds where it is there already.
PARTS = {
    "A": ("build", "tests"),
    "B": ("build", "measurements"),
    "C": ("build", "memcheck", "racecheck"),
    "D": ("tune",),
    "E": ("build", "curves"),
}
