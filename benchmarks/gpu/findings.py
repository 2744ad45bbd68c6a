"""What a device's records say: shares of cuBLAS's rate, predictions, where C++/CUDA overtakes Triton, claims.

`Results` is plain data, the content of gpu.json. `tables` shows it.

A step is timed in two ways. As a CUDA graph it costs what its kernels cost: the fair comparison of kernels, and what
claims are made of. As live calls from Python it costs what someone without graphs sees: with claims it stands beside.
A competitor that cannot be captured takes part with its live time, and its name says so.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import cycles
from benchmarks.gpu.competitors import APPROXIMATE, FUSED, LABELS, OURS, PRESETS
from benchmarks.gpu.plan import MEMORY_AT, SPEED_AT
from benchmarks.gpu.records import Records
from benchmarks.results import DIM, MIB, SMALL_DIM, Results, claim, curve

# The products that a preset's rate is held against. tf32x3 gives float32's error and so competes with IEEE float32; it
# is made of three TF32 products, so that a third is the most that it can have of their rate.
CEILINGS = {"ieee": ("ieee",), "tf32x3": ("ieee", "tf32"), "tf32": ("tf32",), "bf16": ("bf16",)}
GRAPH, LIVE = "graph", "both"  # forward and backward, as `Cuda.captured` and as calls from Python
# Which of our presets compete with which of PyTorch's, at equal error.
PEERS = {("ieee", "tf32x3"): "ieee", ("tf32",): "tf32", ("bf16",): "bf16"}
WORKLOAD = {
    "call": "forward, then backward to the gradient of sr; both is their sum as live calls; graph: both as one CUDA "
    "graph; host: seconds of the host until it has handed both, live, to an idle device",
    "images": "float32 crops of four photographs of scikit-image; sr is their x4 bicubic reconstruction",
    "loss": "distance l2, temperature outside, scope batch, the paper's constants",
    "time": "seconds between CUDA events, the L2 cache cold; all competitors by turns in one process, after two calls "
    "each, as graphs and live; first_call is the host's, with all that is compiled (of a graph: with its capture)",
    "clocks": "MHz of the multiprocessors, by nvidia-smi while the graph of `triton` is replayed over and over",
    "kernels": "of `triton`, by PyTorch's profiler: seconds of a step, the L2 cache as the step before left it",
    "memory": "peak of PyTorch's allocator during a call, above both images and whatever was there before "
    "(cuBLAS's workspace), less the returned gradient; KeOps allocates beside it",
    "accuracy": "against the dense float64 reference on the same photographs, relative; gradients by norm",
    "shares": "6 * 2 n n D / time over the rate of a cuBLAS product of that size and precision",
}
DRY_RUN = "DRY RUN on the CPU: these figures mean nothing"


def write(folder: Path) -> Results:
    """Brings gpu.json up to the records; returns its content."""
    results = results_of(Records(folder / "gpu.jsonl"))
    (folder / "gpu.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def results_of(records: Records) -> Results:
    """The content of gpu.json. Machine, run and sources are those of the last run; the others were of the same."""
    runs = records.of("run")
    last, dry_run = runs[-1], runs[-1]["identity"]["dry_run"]
    results: dict[str, Any] = {
        "dry_run": dry_run,
        "note": DRY_RUN if dry_run else "",
        "machine": last["machine"],
        "missing": last["missing"],
        "runs": [run["provenance"] | {"parts": run["parts"]} for run in runs],
        "workload": WORKLOAD,
        "labels": LABELS,
        "claims_at": {"speed": SPEED_AT[dry_run], "memory": MEMORY_AT[dry_run]},
        "parts": records.parts(),
        "tests": records.tests(),
        **records.results(),
    }
    for derive in (shares, predictions, crossover, claims):
        results[derive.__name__] = derive(results)
    return results


class Best(NamedTuple):
    seconds: float
    name: str
    precision: str
    direction: str


def median(results: Results, name: str, precision: str, n: int, dim: int, direction: str = LIVE) -> float | None:
    """Seconds, or None where that was not measured."""
    return curve(results, "time", name, dim, precision=precision, direction=direction).get(n)


def fastest(
    results: Results, names: Iterable[str], precisions: Sequence[str], n: int, dim: int, *directions: str
) -> Best | None:
    """Of those measured; of each the first of the directions that there is."""
    measured = []
    for name in names:
        for precision in precisions:
            times = {d: median(results, name, precision, n, dim, d) for d in directions}
            if way := next((d for d in directions if times[d] is not None), None):
                measured.append(Best(times[way], name, precision, way))
    return min(measured, default=None)


def shares(results: Results) -> list[dict[str, Any]]:
    """The rate of six products of n n D in the time of a step, as a graph and live, over cuBLAS's for one large one."""
    rates = {r["precision"]: r["flop"] / r["median"] for r in results["ceilings"]}
    return [
        {key: r[key] for key in ("competitor", "n", "dim", "precision", "direction")}
        | {"against": against, "share": 6 * 2 * r["n"] ** 2 * r["dim"] / r["median"] / rates[against]}
        for r in results["time"]
        if r["direction"] in (GRAPH, LIVE) and r["competitor"] not in APPROXIMATE  # whose products are others
        for against in CEILINGS[r["precision"]]
        if against in rates
    ]


def crossover(results: Results) -> list[dict[str, Any]]:
    """For each D and preset, the n from which on C++/CUDA is faster than Triton: None where it is not at the largest n
    that both were measured at."""
    found = []
    for dim in dims_of(results):
        for precision in PRESETS:
            triton, cpp = (
                curve(results, "time", name, dim, precision=precision, direction=LIVE) for name in ("triton", "cpp")
            )
            start = None
            for n in sorted(triton.keys() & cpp.keys(), reverse=True):
                if cpp[n] >= triton[n]:
                    break
                start = n
            found.append(
                {"dim": dim, "precision": precision, "cpp_from_n": start, "sizes": sorted(triton.keys() & cpp.keys())}
            )
    return found


def predictions(results: Results) -> list[dict[str, Any]]:
    """Seconds of a launch of each of our kernels, measured and, where they are, predicted: by the longest of its units
    alone, "limit", and by all of them added."""
    found = []
    for place in dict.fromkeys((r["n"], r["dim"], r["precision"]) for r in results["kernels"]):
        predicted = cycles.stored(results["machine"].get("gpu", ""), *place)
        found += [
            {
                **{key: r[key] for key in ("kernel", "n", "dim", "precision")},
                "measured": r["median"] / r["launches"],
                "overlapped": beside.seconds[0],
                "added": beside.seconds[1],
                "limit": beside.limit,
            }
            for r in results["kernels"]
            if (r["n"], r["dim"], r["precision"]) == place and (beside := predicted.get(_predicted_name(r["kernel"])))
        ]
    return found


def _predicted_name(kernel: str) -> str:
    """As predictions call it: "rows", where the function is `rows_kernel`."""
    return kernel.removesuffix("_kernel")


def claims(results: Results) -> list[dict[str, Any]]:
    """The targets, each for the faster of our two fused backends, as CUDA graphs; "live" is the same as live calls."""
    n, labels = results["claims_at"]["speed"], results["labels"]
    others = [name for name in labels if name not in (*OURS, *APPROXIMATE, "eager", "compile")]
    made = []
    best_of = {}
    for presets, peer in PEERS.items():
        for least, names in ((12.0, ["eager"]), (6.0, ["compile"]), (2.0, others)):
            ways = {
                way: (
                    fastest(results, FUSED, presets, n, DIM, way),
                    fastest(results, names, [peer], n, DIM, *dict.fromkeys((way, LIVE))),
                )
                for way in (GRAPH, LIVE)
            }
            faster = {way: theirs.seconds / ours.seconds for way, (ours, theirs) in ways.items() if ours and theirs}
            theirs = ways[GRAPH][1]
            whom = labels[theirs.name] if theirs else "the best other way" if names is others else labels[names[0]]
            if theirs and theirs.direction == LIVE:
                whom += " (live)"
            what = f"{'/'.join(presets)}: times faster than {whom} in {peer}, n = {n}, D = {DIM}"
            made.append(claim(what, faster.get(GRAPH), least=least) | {"live": faster.get(LIVE)})
    for precision in PRESETS:
        best_of[precision] = fastest(results, FUSED, [precision], n, DIM, GRAPH, LIVE)
        against = CEILINGS[precision][0]
        share = {
            way: _share(results, best, n, against)
            for way in (GRAPH, LIVE)
            if (best := fastest(results, FUSED, [precision], n, DIM, way))
        }
        what = f"{precision}: six products' share of cuBLAS's rate in {against}"
        made.append(claim(what, share.get(GRAPH), least=0.5) | {"live": share.get(LIVE)})
    extra = [curve(results, "memory", b.name, DIM, precision=b.precision).get(n) for b in best_of.values() if b]
    most = max((bytes_ for bytes_ in extra if bytes_ is not None), default=None)
    made.append(claim(f"extra memory in MiB, n = {n}, D = {DIM}", most and most / MIB, most=48.0))
    big = results["claims_at"]["memory"]
    ends = [
        bytes_
        for precision in PRESETS
        if (best := fastest(results, FUSED, [precision], big, SMALL_DIM, LIVE))
        and (bytes_ := curve(results, "memory", best.name, SMALL_DIM, precision=precision).get(big)) is not None
    ]
    made.append(
        claim(f"extra memory in MiB, n = {big}, D = {SMALL_DIM}", max(ends) / MIB if ends else None, most=2048.0)
    )
    return made


def _share(results: Results, best: Best, n: int, against: str) -> float | None:
    wanted = (best.name, best.precision, best.direction, n, DIM, against)
    found = (
        r["share"]
        for r in results["shares"]
        if (r["competitor"], r["precision"], r["direction"], r["n"], r["dim"], r["against"]) == wanted
    )
    return next(found, None)


def dims_of(results: Results) -> list[int]:
    """The D that were measured."""
    return sorted({r["dim"] for r in results["time"]})
