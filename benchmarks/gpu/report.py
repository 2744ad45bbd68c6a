"""What the measurements on a device say: shares of cuBLAS's rate, where C++/CUDA overtakes Triton, claims, tables.

`Results` is plain data, the content of gpu.json; `benchmarks.gpu` says what its fields are.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.competitors import FUSED, OURS, PRESETS
from benchmarks.plots import CHUNKED, COLOURS, Line
from benchmarks.results import DIM, MIB, SMALL_DIM, Results, claim, claims_table, curve, three_digits

# The products that a preset's rate is held against. tf32x3 gives float32's error and so competes with IEEE float32; it
# is made of three TF32 products, so that a third is the most that it can have of their rate.
CEILINGS = {"ieee": ("ieee",), "tf32x3": ("ieee", "tf32"), "tf32": ("tf32",), "bf16": ("bf16",)}
# Which of our presets compete with which of PyTorch's, at equal error.
PEERS = {("ieee", "tf32x3"): "ieee", ("tf32",): "tf32", ("bf16",): "bf16"}
DRY_RUN = "DRY RUN on the CPU: these figures mean nothing"


class Best(NamedTuple):
    seconds: float
    name: str
    precision: str


def median(results: Results, name: str, precision: str, n: int, dim: int, direction: str = "both") -> float | None:
    """Seconds, or None where that was not measured."""
    return curve(results, "time", name, dim, precision=precision, direction=direction).get(n)


def fastest(results: Results, names: Iterable[str], precisions: Sequence[str], n: int, dim: int) -> Best | None:
    measured = [
        Best(seconds, name, precision)
        for name in names
        for precision in precisions
        if (seconds := median(results, name, precision, n, dim)) is not None
    ]
    return min(measured, default=None)


def shares(results: Results) -> list[dict[str, Any]]:
    """The rate of six products of n n D in the time of forward and backward, over cuBLAS's for one large product."""
    rates = {r["precision"]: r["flop"] / r["median"] for r in results["ceilings"]}
    return [
        {key: r[key] for key in ("competitor", "n", "dim", "precision")}
        | {"against": against, "share": 6 * 2 * r["n"] ** 2 * r["dim"] / r["median"] / rates[against]}
        for r in results["time"]
        if r["direction"] == "both"
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
                curve(results, "time", name, dim, precision=precision, direction="both") for name in ("triton", "cpp")
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


def claims(results: Results) -> list[dict[str, Any]]:
    """The targets, each for the faster of our two fused backends."""
    n, labels = results["claims_at"]["speed"], results["labels"]
    others = [name for name in labels if name not in (*OURS, "eager", "compile")]
    made = []
    best_of = {}
    for presets, peer in PEERS.items():
        ours = fastest(results, FUSED, presets, n, DIM)
        for least, names in ((12.0, ["eager"]), (6.0, ["compile"]), (2.0, others)):
            theirs = fastest(results, names, [peer], n, DIM)
            faster = theirs.seconds / ours.seconds if ours and theirs else None
            whom = labels[theirs.name] if theirs else "the best other way" if names is others else labels[names[0]]
            what = f"{'/'.join(presets)}: times faster than {whom} in {peer}, n = {n}, D = {DIM}"
            made.append(claim(what, faster, least=least))
    for precision in PRESETS:
        best_of[precision] = fastest(results, FUSED, [precision], n, DIM)
        against = CEILINGS[precision][0]
        share = best_of[precision] and _share(results, best_of[precision], n, against)
        made.append(claim(f"{precision}: six products' share of cuBLAS's rate in {against}", share, least=0.5))
    extra = [curve(results, "memory", b.name, DIM, precision=b.precision).get(n) for b in best_of.values() if b]
    most = max((bytes_ for bytes_ in extra if bytes_ is not None), default=None)
    made.append(claim(f"extra memory in MiB, n = {n}, D = {DIM}", most and most / MIB, most=48.0))
    big = results["claims_at"]["memory"]
    ends = [
        bytes_
        for precision in PRESETS
        if (best := fastest(results, FUSED, [precision], big, SMALL_DIM))
        and (bytes_ := curve(results, "memory", best.name, SMALL_DIM, precision=precision).get(big)) is not None
    ]
    made.append(
        claim(f"extra memory in MiB, n = {big}, D = {SMALL_DIM}", max(ends) / MIB if ends else None, most=2048.0)
    )
    return made


def _share(results: Results, best: Best, n: int, against: str) -> float | None:
    wanted = (best.name, best.precision, n, DIM, against)
    found = (
        r["share"]
        for r in results["shares"]
        if (r["competitor"], r["precision"], r["n"], r["dim"], r["against"]) == wanted
    )
    return next(found, None)


def lines(results: Results, measure: str, precision: str = "tf32") -> list[Line]:
    """What a plot shows: D = 192 in one preset."""
    where = {"precision": precision} | ({"direction": "both"} if measure == "time" else {})
    curves = {name: curve(results, measure, name, **where) for name in results["labels"]}
    return [
        Line(results["labels"][name], dict(sorted(points.items())), COLOURS.get(name, CHUNKED), name in OURS)
        for name, points in curves.items()
    ]


def note(results: Results, precision: str = "tf32") -> str:
    where = DRY_RUN if results["dry_run"] else results["machine"]["gpu"]
    return f"D = {DIM}, float32 images, precision {precision}, {where}."


def print_tables(results: Results, console: Console) -> None:
    """The parts, then each D and preset in detail, the curves, the crossover, what is left out, and the claims."""
    n = results["claims_at"]["speed"]
    if results["dry_run"]:
        console.print(f"[bold red]{DRY_RUN}")
    for dim in _dims(results):
        for precision in PRESETS:
            detail = _detail(results, n, dim, precision)
            if detail.row_count:
                console.print(detail)
    console.print(_curves(results))
    console.print(_graphs(results))
    console.print(_crossover(results))
    console.print(_left_out(results))
    console.print(_parts(results))
    console.print(claims_table(results["claims"]))
    if results["dry_run"]:
        console.print(f"[bold red]{DRY_RUN}")


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
        f"precision {precision}, n = {n}, D = {dim}, float32 images",
        *("", "forward, ms", "backward, ms", "both, ms", "quartiles, ms", "x fastest of ours"),
        *(f"of cuBLAS {against}", "extra MiB", "loss", "gradient error"),
    )
    place = {"n": n, "dim": dim, "precision": precision}

    def found(kind: str, **where: Any) -> dict[str, dict[str, Any]]:
        return {r["competitor"]: r for r in results[kind] if all(r[k] == v for k, v in (place | where).items())}

    both, accuracy = found("time", direction="both"), found("accuracy")
    share, memory = found("shares", against=against), found("memory")
    best = fastest(results, FUSED, [precision], n, dim)
    for name, r in sorted(both.items(), key=lambda item: item[1]["median"]):
        exact = accuracy.get(name, {"loss": "", "gradient_error": ""})
        table.add_row(
            results["labels"][name],
            *(_ms(median(results, name, precision, n, dim, direction)) for direction in ("forward", "backward")),
            _ms(r["median"]),
            f"{_ms(r['q1'])} to {_ms(r['q3'])}",
            f"{r['median'] / best.seconds:.2f}" if best else "",
            f"{share[name]['share']:.0%}" if name in share else "",
            f"{memory[name]['extra_bytes'] / MIB:.1f}" if name in memory else "",
            str(exact["loss"])[:7],
            f"{float(exact['gradient_error']):.1e}" if exact["gradient_error"] != "" else "",
        )
    return table


def _curves(results: Results) -> Table:
    sizes = sorted({r["n"] for r in results["time"]})
    table = _table("Milliseconds, forward and backward", "D", "preset", "", *(f"n = {n}" for n in sizes), left=3)
    for dim in _dims(results):
        for precision in PRESETS:
            for name, label in results["labels"].items():
                points = curve(results, "time", name, dim, precision=precision, direction="both")
                if len(points) > 1:
                    table.add_row(str(dim), precision, label, *(_ms(points.get(n)) for n in sizes))
    return table


def _graphs(results: Results) -> Table:
    table = _table(
        "Forward and backward as one CUDA graph", "", "preset", "n", "as calls, ms", "as a graph, ms", left=2
    )
    for r in results["time"]:
        if r["direction"] == "graph":
            calls = median(results, r["competitor"], r["precision"], r["n"], r["dim"])
            table.add_row(results["labels"][r["competitor"]], r["precision"], str(r["n"]), _ms(calls), _ms(r["median"]))
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


def _left_out(results: Results) -> Table:
    """One line for each reason of each competitor."""
    table = _table("Left out", "", "why", "where", left=3)
    places: dict[tuple[str, str], list[str]] = {}
    for r in results["left_out"]:
        who = results["labels"].get(r["competitor"], r["competitor"] or "all that were left")
        places.setdefault((who, r["reason"]), []).append(f"{r['n']} x {r['dim']} {r['precision']}")
    for (who, reason), where in places.items():
        table.add_row(who, reason, ", ".join(where))
    return table


def _parts(results: Results) -> Table:
    table = _table("Parts", "", "outcome", "seconds", "", left=2)
    table.columns[-1].justify = "left"
    for name, part in results["parts"].items():
        said = [f"{value} {key}" for key, value in part.get("counts", {}).items()] + [part.get("reason", "")]
        table.add_row(name, part["outcome"], str(part.get("seconds", "")), ", ".join(filter(None, said)))
    return table


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else three_digits(1e3 * seconds)
