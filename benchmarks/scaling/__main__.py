"""How a step with negatives from other processes scales: measured on this CPU, predicted for GPUs.

    python -m benchmarks.scaling

prints its tables and writes scaling.json and scaling.png to benchmarks/results/.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.scaling import model, report
from benchmarks.scaling.measure import PATCH_SIZE, Plan, measure
from benchmarks.workload import images
from dec_kernels.jsontext import to_json

# The number of processes that the model's two costs come from; more of them test it.
CALIBRATED_ON = 2


def study(plan: Plan) -> dict[str, Any]:
    """What was measured, each step beside what the model says of it; and, apart from that, what is predicted."""
    steps = measure(plan)
    costs = model.calibrate(
        [(r["n_local"], CALIBRATED_ON, r["cpu"]["median"]) for r in steps if r["processes"] == CALIBRATED_ON]
    )
    return {
        "measured": {
            "what": report.MEASURED,
            "machine": machine.describe() | {"threads": 1},
            "run": machine.provenance("benchmarks.scaling"),
            "workload": {
                "call": "forward and backward to the gradient of sr: cpp, precision ieee, process_group of gloo's",
                "images": "float32 crops of photographs, others in each process; P = 8, D = 192",
                "hot": "all steps come after a first one; those of one process are the loss without a group",
                "wall": "seconds until the last process is done; there may be fewer cores than processes",
                "cpu": "seconds that a process works, gloo's threads included; the mean of all processes",
                "received_bytes": "payload from other processes, counted at the calls of the group; of each process",
                "extra_bytes": "peak resident set above that before the step, which has the images; of each process",
                "model": "not measured, but calculated; its costs are fitted to the CPU seconds of "
                f"{CALIBRATED_ON} processes alone",
            },
            "costs": costs._asdict(),
            "steps": [step | {"model": _modelled(costs, step["n_local"], step["processes"])} for step in steps],
        },
        "predicted": {
            "what": model.PREDICTED,
            "gpu": {"name": model.GPU} | asdict(model.GPUS[model.GPU]),
            "links": model.LINKS._asdict(),
            "model": {
                "walk_seconds": "of all pairs: perfect overlap of a GPU's units to none, by benchmarks.cycles",
                "preparation_seconds": "of the columns of all, once a step: DRAM alone",
                "communication_seconds": "a byte enters a node once, or every GPU fetches all of them; no latency",
                "memory_bytes": "of each GPU at the peak, above its own images",
            },
            "steps": list(model.predictions(model.COUNTS)),
        },
    }


def _modelled(costs: model.Costs, patches: int, processes: int) -> dict[str, float]:
    count, channels, side, _ = images(patches, PATCH_SIZE)[0].shape
    batch = model.Batch(count, channels, side, PATCH_SIZE, itemsize=4)
    return {
        "cpu_seconds": costs.seconds(patches, processes),
        "received_bytes": model.received_bytes(batch, processes),
        "extra_bytes": sum(model.memory_bytes(batch, processes, model.cpu_kept(batch.dim)).values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Plan()
    parser.add_argument("--patches", type=int, nargs="+", default=default.patches, help="patches of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=default.processes, help="2 must be among them")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="timed steps of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS / "scaling.json")
    parser.add_argument("--plot", type=Path, metavar="FILE", default=RESULTS / "scaling.png")
    given = parser.parse_args()
    if CALIBRATED_ON not in given.processes:
        parser.error(f"--processes needs {CALIBRATED_ON}, whose seconds the model's costs come from")

    results = study(Plan(given.patches, given.processes, given.rounds))
    given.json.write_text(to_json(results))
    report.draw(results, given.plot)
    report.print_tables(results, Console(width=140))


if __name__ == "__main__":
    main()
