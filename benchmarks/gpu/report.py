"""What a device's records say: shares of cuBLAS's rate, predictions, where C++/CUDA overtakes Triton, claims, tables.

    python -m benchmarks.gpu.report FOLDER

makes gpu.json, gpu.txt and the plots of a folder from its gpu.jsonl, on any machine: also of a run that was killed, or
of several runs whose records were put one after the other. `Results` is plain data, the content of gpu.json.

A step is timed in two ways. As a CUDA graph it costs what its kernels cost: the fair comparison of kernels, and what
claims are made of. As live calls from Python it costs what someone without graphs sees: with claims it stands beside.
A competitor that cannot be captured takes part with its live time, and its name says so.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import cycles, plots
from benchmarks.gpu.competitors import FUSED, LABELS, OURS, PRESETS
from benchmarks.gpu.plan import MEMORY_AT, SPEED_AT
from benchmarks.gpu.records import Records
from benchmarks.plots import CHUNKED, COLOURS, Line
from benchmarks.results import DIM, MIB, SMALL_DIM, Results, claim, curve, three_digits

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
        if r["direction"] in (GRAPH, LIVE)
        for against in CEILINGS[r["precision"]]
        if against in rates
    ]


def crossover(results: Results) -> list[dict[str, Any]]:
    """For each D and preset, the n from which on C++/CUDA is faster than Triton: None where it is not at the largest n
    that both were measured at."""
    found = []
    for dim in _dims(results):
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


def claims(results: Results) -> list[dict[str, Any]]:
    """The targets, each for the faster of our two fused backends, as CUDA graphs; "live" is the same as live calls."""
    n, labels = results["claims_at"]["speed"], results["labels"]
    others = [name for name in labels if name not in (*OURS, "eager", "compile")]
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


def lines(results: Results, measure: str, precision: str = "tf32") -> list[Line]:
    """What a plot shows: D = 192 in one preset."""
    where = {"precision": precision} | ({"direction": LIVE} if measure == "time" else {})
    curves = {name: curve(results, measure, name, **where) for name in results["labels"]}
    return [
        Line(results["labels"][name], dict(sorted(points.items())), COLOURS.get(name, CHUNKED), name in OURS)
        for name, points in curves.items()
    ]


def note(results: Results, precision: str = "tf32") -> str:
    where = DRY_RUN if results["dry_run"] else results["machine"]["gpu"]
    return f"D = {DIM}, float32 images, precision {precision}, live calls, {where}."


def print_tables(results: Results, console: Console) -> None:
    """Each D and preset in detail, the curves, the crossover, what is left out; last what is to be looked at first."""
    # Names of tests and words of compilers have square brackets, which are no markup.
    show = partial(console.print, markup=False)
    n = results["claims_at"]["speed"]
    if results["dry_run"]:
        show(DRY_RUN, style="bold red")
    for dim in _dims(results):
        for precision in PRESETS:
            for table in (_detail(results, n, dim, precision), _kernels(results, n, dim, precision)):
                if table.row_count:
                    show(table)
    for table in (_curves(results), _crossover(results), _tiles(results), _left_out(results), _tests(results)):
        if table.row_count:
            show(table)
    for sentence in results["missing"]:
        show(sentence)
    show(_parts(results))
    show(_claims(results))
    if results["dry_run"]:
        show(DRY_RUN, style="bold red")


def _dims(results: Results) -> list[int]:
    return sorted({r["dim"] for r in results["time"]})


def _table(title: str, *headings: str, left: int = 1) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right")
    return table


def _detail(results: Results, n: int, dim: int, precision: str) -> Table:
    against = CEILINGS[precision][0]
    table = _table(
        f"precision {precision}, n = {n}, D = {dim}, float32 images; milliseconds, those of the host to issue the step",
        *("", "as a graph", "quartiles", "x fastest of ours", f"of cuBLAS {against}"),
        *("live", "forward", "backward", "host", "extra MiB", "loss", "gradient error"),
    )
    place = {"n": n, "dim": dim, "precision": precision}

    def found(kind: str, **where: Any) -> dict[str, dict[str, Any]]:
        return {r["competitor"]: r for r in results[kind] if all(r[k] == v for k, v in (place | where).items())}

    graph, live, accuracy = found("time", direction=GRAPH), found("time", direction=LIVE), found("accuracy")
    share, memory = found("shares", against=against, direction=GRAPH), found("memory")
    best = fastest(results, FUSED, [precision], n, dim, GRAPH)
    names = sorted(live | graph, key=lambda name: (graph.get(name) or live[name])["median"])
    for name in names:
        exact, r = accuracy.get(name, {"loss": "", "gradient_error": ""}), graph.get(name)
        others = (median(results, name, precision, n, dim, way) for way in (LIVE, "forward", "backward", "host"))
        table.add_row(
            results["labels"][name],
            _ms(r["median"]) if r else "none",
            f"{_ms(r['q1'])} to {_ms(r['q3'])}" if r else "",
            f"{r['median'] / best.seconds:.2f}" if r and best else "",
            f"{share[name]['share']:.0%}" if name in share else "",
            *(_ms(seconds) for seconds in others),
            f"{memory[name]['extra_bytes'] / MIB:.1f}" if name in memory else "",
            str(exact["loss"])[:7],
            f"{float(exact['gradient_error']):.1e}" if exact["gradient_error"] != "" else "",
        )
    return table


def _kernels(results: Results, n: int, dim: int, precision: str) -> Table:
    """Those that are predicted, those that take a fiftieth of the step or more, and the rest in a line. The ratio is to
    the longest unit alone: 1 is perfect overlap, and where it is below, the prediction is wrong."""
    place = (n, dim, precision)
    mhz = [r["mhz"] for r in results["clocks"] if (r["n"], r["dim"], r["precision"]) == place]
    clock = f", at {mhz[0]:.0f} MHz" if mhz else ""
    table = _table(
        f"Kernels of {LABELS['triton']}, precision {precision}, n = {n}, D = {dim}{clock}; {cycles.PREDICTED}",
        *("", "PREDICTED limit", "launches", "ms of all", "ms of one", "PREDICTED ms of one", "measured / PREDICTED"),
        left=2,
    )
    predicted = {r["kernel"]: r for r in results["predictions"] if (r["n"], r["dim"], r["precision"]) == place}
    kernels = [r for r in results["kernels"] if (r["n"], r["dim"], r["precision"]) == place]
    total = sum(r["median"] for r in kernels)
    rest = [r for r in kernels if r["kernel"] not in predicted and r["median"] < total / 50]
    for r in kernels:
        if r in rest:
            continue
        limit, beside = "", ["", ""]
        if p := predicted.get(r["kernel"]):
            limit = p["limit"]
            beside = [f"{_ms(p['overlapped'])} to {_ms(p['added'])}", f"{p['measured'] / p['overlapped']:.2f}"]
        one = _ms(r["median"] / r["launches"])
        table.add_row(_short(r["kernel"]), limit, f"{r['launches']:g}", _ms(r["median"]), one, *beside)
    for name, those in ((f"{len(rest)} shorter ones", rest), ("all", kernels)):
        if those:
            launches, seconds = sum(r["launches"] for r in those), sum(r["median"] for r in those)
            table.add_row(name, "", f"{launches:g}", _ms(seconds), "", "", "")
    return table


def _predicted_name(kernel: str) -> str:
    """As predictions call it: "rows", where the function is `rows_kernel`."""
    return kernel.removesuffix("_kernel")


def _short(kernel: str) -> str:
    """A C++ kernel's name without its return type, template arguments and parameters."""
    plain = kernel.removeprefix("void ").replace("(anonymous namespace)::", "")
    return plain.partition("<")[0].partition("(")[0]


def _curves(results: Results) -> Table:
    sizes = sorted({r["n"] for r in results["time"]})
    table = _table(
        "Milliseconds, forward and backward, live calls", "D", "preset", "", *(f"n = {n}" for n in sizes), left=3
    )
    for dim in _dims(results):
        for precision in PRESETS:
            for name, label in results["labels"].items():
                points = curve(results, "time", name, dim, precision=precision, direction=LIVE)
                if len(points) > 1:
                    table.add_row(str(dim), precision, label, *(_ms(points.get(n)) for n in sizes))
    return table


def _crossover(results: Results) -> Table:
    table = _table("From which n on C++/CUDA is faster than Triton", "D", *PRESETS)
    for dim in _dims(results):
        row = [r for r in results["crossover"] if r["dim"] == dim]
        table.add_row(
            str(dim),
            *(
                "not measured" if not r["sizes"] else f"n ≥ {r['cpp_from_n']}" if r["cpp_from_n"] else "never"
                for r in row
            ),
        )
    return table


def _tiles(results: Results) -> Table:
    table = _table("Fastest tiles, rows for dec_kernels/backends/triton/tiles.py", "", left=1)
    for r in results["tiles"]:
        table.add_row(r["row"])
    return table


def _left_out(results: Results) -> Table:
    """One line for each reason of each competitor."""
    table = _table("Left out", "", "why", "where", left=3)
    places: dict[tuple[str, str], list[str]] = {}
    for r in results["left_out"]:
        name = r["competitor"] or "all that were left"
        key = max((key for key in results["labels"] if name.startswith(key)), key=len, default="")
        who = results["labels"].get(key, "") + name[len(key) :]
        places.setdefault((who, r["reason"]), []).append(f"{r['n']} x {r['dim']} {r['precision']}")
    for (who, reason), where in places.items():
        table.add_row(who, reason, ", ".join(dict.fromkeys(where)))
    return table


def _tests(results: Results) -> Table:
    """Those that did not pass, and why."""
    table = _table("Tests that did not pass", "", "outcome", "seconds", "", left=4)
    for name, test in results["tests"].items():
        if test["outcome"] not in ("passed", "skipped"):
            table.add_row(name, test["outcome"], str(test["seconds"] or ""), test["message"])
    for reason, times in Counter(t["message"] for t in results["tests"].values() if t["outcome"] == "skipped").items():
        table.add_row(f"{times} tests", "skipped", "", reason)
    return table


def _parts(results: Results) -> Table:
    table = _table("Parts", "", "outcome", "seconds", "", left=2)
    table.columns[-1].justify = "left"
    for name, part in results["parts"].items():
        said = [f"{value} {key}" for key, value in part.get("counts", {}).items()]
        said += [part.get("reason", ""), *part.get("failures", ())]
        table.add_row(name, part["outcome"], str(part.get("seconds", "")), "\n".join(filter(None, said)))
    return table


def _claims(results: Results) -> Table:
    table = _table(
        "Claims, as CUDA graphs; beside them the same as live calls", "", "target", "measured", "met", "live"
    )
    for one in results["claims"]:
        met = {None: "not measured", True: "yes", False: Text("no", style="bold red")}[one["met"]]
        measured, live = (f"{x:.2f}" if x is not None else "" for x in (one["measured"], one.get("live")))
        table.add_row(one["claim"], one["target"], measured, met, live)
    return table


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else three_digits(1e3 * seconds)


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


def write(folder: Path) -> Results:
    """Brings gpu.json up to the records; returns its content."""
    results = results_of(Records(folder / "gpu.jsonl"))
    (folder / "gpu.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def show(results: Results, folder: Path) -> None:
    """Prints the tables, and writes them and the plots."""
    console = Console(width=160, record=True)
    print_tables(results, console)
    console.save_text(str(folder / "gpu.txt"))
    for measure in ("time", "memory"):
        drawn = lines(results, measure)
        if any(len(line.points) > 1 for line in drawn):
            plots.draw(measure, drawn, note(results), folder / f"gpu_{measure}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where gpu.jsonl is")
    given = parser.parse_args()
    if not Records(given.folder / "gpu.jsonl").of("run"):
        parser.error(f"folder: {given.folder} has no gpu.jsonl that `python -m benchmarks.gpu` began")
    show(write(given.folder), given.folder)


if __name__ == "__main__":
    main()
