"""How a step with negatives from other processes scales: measured on this CPU, and predicted for GPUs.

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
from benchmarks.competitors import LANDMARKS
from benchmarks.scaling import model, plot, tables
from benchmarks.scaling.measure import PATCH_SIZE, Plan, measure
from benchmarks.workload import images
from dec_kernels.jsontext import to_json

# The number of processes whose measurements give the two costs of the model; larger numbers test it.
CALIBRATED_ON = 2


def study(plan: Plan) -> dict[str, Any]:
    """The content of scaling.json: what was measured, each step beside the model, and separately what is predicted."""
    steps = measure(plan)
    costs = model.calibrate(
        [(r["n_local"], CALIBRATED_ON, r["cpu"]["median"]) for r in steps if r["processes"] == CALIBRATED_ON]
    )
    return {
        "measured": {
            "what": tables.MEASURED,
            "machine": machine.describe() | {"threads": 1},
            "run": machine.provenance("benchmarks.scaling"),
            "workload": {
                "call": "forward and backward to the gradient of sr: cpp, precision ieee, process_group of gloo's",
                "images": "float32 crops of photographs, different in each process; P = 8, D = 192",
                "hot": "all steps follow a first one; one process computes the loss without a group",
                "wall": "seconds until the last process has finished; there may be fewer cores than processes",
                "cpu": "CPU seconds of a process including gloo's threads; the mean over the processes",
                "received_bytes": "payload from other processes, counted at the calls of the group; for each process",
                "received_bytes_with_landmarks": f"the same of a step with {LANDMARKS} landmarks",
                "extra_bytes": "peak resident set above that before the step, which holds the images; for each process",
                "model": "calculated, not measured; its costs are fitted to the CPU seconds of "
                f"{CALIBRATED_ON} processes only",
            },
            "costs": costs._asdict(),
            "steps": [step | {"model": _modelled(costs, step["n_local"], step["processes"])} for step in steps],
        },
        "predicted": {
            "what": model.PREDICTED,
            "gpu": {"name": model.GPU} | asdict(model.GPUS[model.GPU]),
            "links": model.LINKS._asdict(),
            "model": {
                "walk_seconds": "for all pairs, from perfect overlap of a GPU's units to none, by benchmarks.cycles",
                "preparation_seconds": "for the columns of all processes, once a step, if DRAM is the only limit",
                "with_landmarks": "the bands by the same kernels; the rest by products at the GPU's rates, from "
                "perfect overlap with DRAM to none; columns are prepared and images gathered as without",
                "communication_seconds": "from each byte entering a node once to every GPU fetching it; no latency",
                "memory_bytes": "peak of each GPU above its own images",
            },
            "steps": list(model.predictions(model.COUNTS)),
        },
    }


def _modelled(costs: model.Costs, patches: int, processes: int) -> dict[str, float]:
    count, channels, side, _ = images(patches, PATCH_SIZE)[0].shape
    batch = model.LocalBatch(count, channels, side, PATCH_SIZE, itemsize=4)
    return {
        "cpu_seconds": costs.seconds(patches, processes),
        "received_bytes": model.received_bytes(batch, processes),
        "extra_bytes": sum(model.memory_bytes(batch, processes, model.cpu_kept(batch.dim)).values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Plan()
    parser.add_argument("--patches", type=int, nargs="+", default=default.patches, help="patches of each process")
    numbers = f"numbers of processes, {CALIBRATED_ON} among them"
    parser.add_argument("--processes", type=int, nargs="+", default=default.processes, help=numbers)
    parser.add_argument("--rounds", type=int, default=default.rounds, help="timed steps of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS / "scaling.json")
    parser.add_argument("--plot", type=Path, metavar="FILE", default=RESULTS / "scaling.png")
    given = parser.parse_args()
    if CALIBRATED_ON not in given.processes:
        parser.error(f"--processes must include {CALIBRATED_ON}, to fit the model's costs, got {given.processes}")

    results = study(Plan(given.patches, given.processes, given.rounds))
    given.json.write_text(to_json(results))
    plot.draw(results, given.plot)
    tables.print_tables(results, Console(width=140))


if __name__ == "__main__":
    main()
