"""The tables and plots of a device's records.

    python -m benchmarks.gpu.tables FOLDER

makes gpu.json, gpu.txt and the plots of a folder from its gpu.jsonl, on any machine: also of a run that was killed, or
of several runs whose records were put one after the other. `findings` has the content of gpu.json.
"""

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import cycles, plots
from benchmarks.gpu.competitors import APPROXIMATE, FUSED, LABELS, OURS, PRESETS
from benchmarks.gpu.findings import CEILINGS, DRY_RUN, GRAPH, LIVE, dims_of, fastest, median, write
from benchmarks.gpu.records import Records
from benchmarks.plots import CHUNKED, COLOURS, Line
from benchmarks.results import DIM, MIB, Results, curve, three_digits


def show(results: Results, folder: Path) -> None:
    """Prints the tables, and writes them and the plots."""
    console = Console(width=160, record=True)
    print_tables(results, console)
    console.save_text(str(folder / "gpu.txt"))
    for measure in ("time", "memory"):
        drawn = lines(results, measure)
        if any(len(line.points) > 1 for line in drawn):
            plots.draw(measure, drawn, note(results), folder / f"gpu_{measure}.png")


def print_tables(results: Results, console: Console) -> None:
    """Each D and preset in detail, the curves, the crossover, what is left out; last what is to be looked at first."""
    # Names of tests and words of compilers have square brackets, which are no markup.
    show = partial(console.print, markup=False)
    n = results["claims_at"]["speed"]
    if results["dry_run"]:
        show(DRY_RUN, style="bold red")
    for dim in dims_of(results):
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


def _short(kernel: str) -> str:
    """A C++ kernel's name without its return type, template arguments and parameters."""
    plain = kernel.removeprefix("void ").replace("(anonymous namespace)::", "")
    return plain.partition("<")[0].partition("(")[0]


def _curves(results: Results) -> Table:
    sizes = sorted({r["n"] for r in results["time"]})
    table = _table(
        "Milliseconds, forward and backward, live calls", "D", "preset", "", *(f"n = {n}" for n in sizes), left=3
    )
    for dim in dims_of(results):
        for precision in PRESETS:
            for name, label in results["labels"].items():
                points = curve(results, "time", name, dim, precision=precision, direction=LIVE)
                if len(points) > 1:
                    table.add_row(str(dim), precision, label, *(_ms(points.get(n)) for n in sizes))
    return table


def _crossover(results: Results) -> Table:
    table = _table("From which n on C++/CUDA is faster than Triton", "D", *PRESETS)
    for dim in dims_of(results):
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


def lines(results: Results, measure: str, precision: str = "tf32") -> list[Line]:
    """What a plot shows: D = 192 in one preset."""
    where = {"precision": precision} | ({"direction": LIVE} if measure == "time" else {})
    curves = {name: curve(results, measure, name, **where) for name in results["labels"]}
    return [
        Line(
            results["labels"][name],
            dict(sorted(points.items())),
            COLOURS.get(name, CHUNKED),
            name in OURS | APPROXIMATE,
        )
        for name, points in curves.items()
    ]


def note(results: Results, precision: str = "tf32") -> str:
    where = DRY_RUN if results["dry_run"] else results["machine"]["gpu"]
    return f"D = {DIM}, float32 images, precision {precision}, live calls, {where}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where gpu.jsonl is")
    given = parser.parse_args()
    if not Records(given.folder / "gpu.jsonl").of("run"):
        parser.error(f"folder: {given.folder} has no gpu.jsonl that `python -m benchmarks.gpu` began")
    show(write(given.folder), given.folder)


if __name__ == "__main__":
    main()
