"""Everything that is to be known about a CUDA device, in parts that fit into commands of a few minutes each.

    python -m benchmarks.gpu --out FOLDER [--parts A B C D E] [--minutes 9] [--resume FOLDER]

A builds the extension and runs the tests that need a device; B measures what is claimed, the paper's batch as CUDA
graphs first of all; C lets compute-sanitizer's memcheck, then racecheck, watch the kernels; D tunes their tiles; E
measures the curves over n. One part begins when the one before has ended, as long as the minutes last. docs/gpu.md
says which command to give when, and what to look at.

FOLDER gets gpu.jsonl (every measurement and every test's outcome as it comes), gpu.log (what the parts print), gpu.json
(after each step anew), gpu.txt (the tables), gpu_time.png and gpu_memory.png. A kill at any moment loses what is under
way and nothing else: with --resume the next run goes on from the records in a folder, and `python -m
benchmarks.gpu.tables` makes everything else from them.

With --dry-run all of it is done at tiny sizes on the CPU, Triton's interpreter in place of its compiler. That tries the
code; its figures mean nothing.
"""

import argparse
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.gpu import findings, parts, tables
from benchmarks.gpu.parts import PARTS, STEPS, Job
from benchmarks.gpu.records import Records

# Seconds that are kept for the tables and plots at the end, whatever the steps take.
TABLES = 15
ENDED_WELL = ("done", "stopped", "not begun", "not there")


def begin(job: Job, resume: Path | None, letters: Sequence[str]) -> None:
    """The file of records with this run at its end, and the log; both go on from those in `resume`."""
    for file in (job.records, job.log):
        earlier = resume / file.name if resume else None
        if earlier is None or not earlier.exists():
            file.unlink(missing_ok=True)
        elif earlier.resolve() != file:
            shutil.copyfile(earlier, file)
    if resume and not job.records.exists():
        print(f"There is no {job.records.name} in {resume} to go on from: everything begins anew.")

    found = machine.describe() | ({} if job.dry_run else machine.describe_gpu())
    provenance, missing = machine.provenance("benchmarks.gpu"), parts.missing(job)
    of = {folder: id_ for folder, id_ in provenance["sources"].items() if not folder.startswith("benchmarks")}
    identity = {"sources": of, "gpu": found.get("gpu"), "dry_run": job.dry_run}
    fields = {"machine": found, "provenance": provenance, "parts": list(letters), "missing": missing}
    if others := Records.begin(job.records, identity, **fields).others:
        print(f"{others} records are of other sources or another device: they stay in the file, and do not count.")
    print(*missing, sep="\n", flush=True)


def run(job: Job, name: str, later: Sequence[str] = ()) -> str:
    """One step, unless it is done; returns its outcome, which the records have too. Those that come later keep the time
    that they take at least."""
    step, left = STEPS[name], job.end - TABLES - time.time()
    before = Records(job.records).parts().get(name, {"outcome": ""})
    if before["outcome"] == "done" and name != "build":  # this may be another machine
        print(f"{name}: done before")
        return "done"
    if left < step.least:
        outcome = {
            "outcome": "not begun",
            "reason": f"{max(0, left):.0f} s were left, and it takes {step.least:.0f} or more",
        }
    else:
        print(f"{name} ...", flush=True)
        Records(job.records).write("part", part=name, outcome="begun")
        try:
            kept = sum(STEPS[other].least for other in later)
            outcome = step.run(job, min(step.most, max(step.least, left - kept)))
        except Exception as error:  # whatever it is, the other steps go on
            traceback.print_exc()
            outcome = {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"}
        outcome.pop("printed", None)
    if not (outcome["outcome"] == "not begun" and before["outcome"]):  # how far it came before says more
        Records(job.records).write("part", part=name, **outcome)
    print("   ".join(f"{key}: {value}" for key, value in outcome.items()), flush=True)
    return str(outcome["outcome"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=RESULTS, help=f"default: {RESULTS.name}/")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all, as far as time lasts"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="after which all is to be over; default: 9")
    parser.add_argument("--resume", metavar="FOLDER", type=Path, help="go on from the gpu.jsonl of an earlier run")
    parser.add_argument("--dry-run", action="store_true", help="try the code at tiny sizes on the CPU")
    given = parser.parse_args()
    if given.dry_run and given.out.resolve() == RESULTS:
        parser.error("--dry-run needs an --out of its own: its figures do not belong among the results")
    if not (given.dry_run or torch.cuda.is_available()):
        sys.exit("There is no CUDA device here. With --dry-run everything is tried on the CPU, at tiny sizes.")

    job = Job(given.out.resolve(), given.dry_run, time.time() + 60 * given.minutes)
    job.out.mkdir(parents=True, exist_ok=True)
    begin(job, given.resume, given.parts)
    names = list(dict.fromkeys(name for letter in given.parts for name in PARTS[letter]))
    endings = []
    for index, name in enumerate(names):
        endings.append(run(job, name, names[index + 1 :]))
        try:
            findings.write(job.out)
        except Exception:  # the records have everything; a mistake in what is made of them must not end the run
            traceback.print_exc()
    tables.show(findings.write(job.out), job.out)
    return int(any(ending not in ENDED_WELL for ending in endings))


if __name__ == "__main__":
    sys.exit(main())
