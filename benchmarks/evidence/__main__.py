"""python -m benchmarks.evidence: see the package's docstring, and docs/evidence.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.evidence import report, study
from benchmarks.evidence.estimate import estimate
from benchmarks.evidence.heldout import HeldOut
from benchmarks.evidence.plan import PLANS, SCALE, STAGE_1_FOLDER
from benchmarks.evidence.records import Records
from benchmarks.evidence.training import Sources
from dec_kernels.console import INTERRUPTED, command_line
from dec_kernels.trainer.cli import fail
from dec_kernels.trainer.files import require_folder

PROGRAM = "python -m benchmarks.evidence"


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study or goes on with it: 0, 1 if something is wrong, 130 after Ctrl+C."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Train and measure what DECLoss does to pictures.")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photographs to train on")
    parser.add_argument("--heldout", type=Path, required=True, metavar="DIR", help="photographs to measure on")
    parser.add_argument("--lpips", type=Path, required=True, metavar="FILE", help="AlexNet's weights")
    parser.add_argument("--vgg", type=Path, required=True, metavar="FILE", help="VGG-16's weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the records and the report")
    parser.add_argument("--plan", choices=PLANS, default="small", help="default: %(default)s")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--estimate", action="store_true", help="say how long it will take, and end")
    what.add_argument("--report", action="store_true", help="report on what is recorded so far, and end")
    given = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        require_folder(given.out, "--out")
        return _run(given, console)
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # as Lightning ends after Ctrl+C
            return _stopped(console)
        raise
    except KeyboardInterrupt:
        return _stopped(console)
    except Exception as error:
        return fail(PROGRAM, error)


def _stopped(console: Console) -> int:
    console.print("Stopped. The same command goes on from here.")
    return INTERRUPTED


def _run(given: argparse.Namespace, console: Console) -> int:
    plan, sources = PLANS[given.plan], Sources(given.photos, given.heldout, given.vgg)
    records = Records(given.out, study.describe(plan, sources))
    heldout = HeldOut(given.heldout, SCALE, given.lpips, plan.coo_patches)
    if not given.report:
        left = study.missing(plan, records)
        begun = records.read(STAGE_1_FOLDER) is not None
        if left:
            for line in estimate(plan, sources, heldout, left, begun).text():
                console.print(line)
        if given.estimate:
            return 0
        study.carry_out(plan, sources, heldout, records, console.print)
    results = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.evidence"),
        "plan": given.plan,
        **report.summarize(plan, records),
    }
    report.write(given.out, results)
    report.draw_crops(plan, records, heldout, given.out / "evidence_crops.png")
    Console(width=report.WIDTH).print(report.table(results))
    console.print(f"The report is in {given.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
