"""Evaluates the numbers of a comparison: curves, slopes, claims and tables.

`Results` is the content of cpu.json; `benchmarks.compare` builds it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

OURS = ("cpp", "cpp_landmarks", "cpp_bf16", "torch")
FLOOR = {"products_six": "six tiled products", "products_five": "five tiled products"}
DIM, SMALL_DIM = 192, 48
MIB = 2**20

# From this n on, the work of n * n pairs outweighs the fixed cost of a call. Slopes are fitted from here.
FIT_FROM = 2048

Results = Mapping[str, Any]


def curve(results: Results, measure: str, name: str, dim: int = DIM, **where: str) -> dict[int, float]:
    """One competitor's curve, n -> value, from the records that also have the values in `where`.

    The value is the median in seconds if `measure` is "time", and the extra bytes if it is "memory".
    """
    key = {"time": "median", "memory": "extra_bytes"}[measure]
    wanted = {"competitor": name, "dim": dim} | where
    return {r["n"]: r[key] for r in results[measure] if all(r[k] == v for k, v in wanted.items())}


def extrapolate(points: Mapping[int, float], n: int) -> float:
    """The cost at n if it grows with n * n from the largest measured size below n; 0 if there is none."""
    below = max((size for size in points if size < n), default=None)
    return points[below] * (n / below) ** 2 if below else 0


def slope(points: Mapping[int, float], fit_from: int = FIT_FROM) -> float | None:
    """The exponent of n: the slope of a line through the logarithms from n = `fit_from` on; None for fewer than two."""
    fitted = {n: value for n, value in points.items() if n >= fit_from}
    if len(fitted) < 2:
        return None
    return float(np.polyfit(np.log(list(fitted)), np.log(list(fitted.values())), deg=1)[0])


def claims(results: Results) -> list[dict[str, Any]]:
    """The claims, each with its target, the measured value, and whether the claim is met."""
    n = results["claims_at"]["speed"]
    median = {name: curve(results, "time", name)[n] for name in results["labels"]}
    best = _best_other(median)
    big = results["claims_at"]["memory"]
    extra = curve(results, "memory", "cpp")[big] / MIB
    linear = curve(results, "memory", "cpp", SMALL_DIM)
    growth = slope(linear, fit_from=min(linear))
    assert growth is not None
    other = f"{results['labels'][best]}, the best other"
    landmarks = results["labels"]["cpp_landmarks"].removeprefix("dec_kernels, ")
    time, memory = (curve(results, measure, "cpp_landmarks") for measure in ("time", "memory"))
    up_to = f"from n = {n} to {max(time)}"
    largest = max((r for r in results["memory"] if r["competitor"] == "cpp_landmarks"), key=lambda r: r["n"])
    return [
        claim(f"C++: time over six tiled products, n = {n}", median["cpp"] / median["products_six"], most=1.3),
        claim(f"C++: times faster than {other}, n = {n}", median[best] / median["cpp"], least=1.3),
        claim(f"C++, bf16: times faster than {other}, n = {n}", median[best] / median["cpp_bf16"], least=3.0),
        claim(f"C++: extra memory in MiB, n = {big}", extra, most=64.0),
        claim(f"C++: exponent of n in memory up to n = {max(linear)}, D = {SMALL_DIM}", growth, most=1.1),
        claim(f"{landmarks}: times faster than C++, n = {n}", median["cpp"] / median["cpp_landmarks"], least=12.0),
        claim(f"{landmarks}: times faster than {other}, n = {n}", median[best] / median["cpp_landmarks"], least=30.0),
        claim(f"{landmarks}: error of the gradient, n = {n}", results["errors"]["cpp_landmarks"], most=5e-4),
        claim(f"{landmarks}: exponent of n in time {up_to}", slope(time, fit_from=n), most=1.25),
        claim(f"{landmarks}: exponent of n in memory {up_to}", slope(memory, fit_from=n), most=1.05),
        claim(
            f"{landmarks}: peak of the process in GiB, n = {largest['n']}, D = {largest['dim']}",
            largest["peak_bytes"] / 2**30,
            most=24.0,
        ),
        _at_every_n(results),
    ]


def _at_every_n(results: Results) -> dict[str, Any]:
    """That C++ with every pair is the fastest at each measured n, so also where n is small."""
    ours = curve(results, "time", "cpp")
    others = [curve(results, "time", name) for name in results["labels"] if name not in (*OURS, *FLOOR)]
    ratios = {n: min(other[n] for other in others if n in other) / ours[n] for n in ours if any(n in o for o in others)}
    n = min(ratios, key=ratios.__getitem__)
    what = f"C++: times faster than the best other, n = {min(ratios)} to {max(ratios)}, least at {n}"
    return claim(what, ratios[n], least=1.0)


def claim(what: str, measured: float | None, *, least: float = -math.inf, most: float = math.inf) -> dict[str, Any]:
    """A claim with its target. `measured` is None if there is no measurement."""
    target = f"≤ {most}" if least == -math.inf else f"≥ {least}"
    met = None if measured is None else least <= measured <= most
    return {"claim": what, "target": target, "measured": measured, "met": met}


def _best_other(median: Mapping[str, float]) -> str:
    return min((name for name in median if name not in (*OURS, *FLOOR)), key=lambda name: median[name])


def print_tables(results: Results, console: Console) -> None:
    """Prints one n in detail, the curves, and the claims."""
    n = results["claims_at"]["speed"]
    console.print(_detail(results, n))
    console.print(_curve_table(results, "time", "Seconds", 1))
    console.print(_curve_table(results, "memory", "Extra MiB", MIB))
    console.print(claims_table(results["claims"]))


def _detail(results: Results, n: int) -> Table:
    table = Table(title=f"Forward and backward, n = {n}, D = {DIM}, float32 images", box=box.SIMPLE_HEAD)
    for heading in (
        "", "median, s", "quartiles, s", "first call, s", "x six products", "extra MiB", "loss",
        "gradient error",
    ):  # fmt: skip
        table.add_column(heading, justify="right" if heading else "left")
    records = {r["competitor"]: r for r in results["time"] if r["n"] == n}
    memory = {name: curve(results, "memory", name) for name in records}
    for name, r in sorted(records.items(), key=lambda item: item[1]["median"]):
        table.add_row(
            results["labels"][name],
            f"{r['median']:.3f}",
            f"{r['q1']:.3f} to {r['q3']:.3f}",
            f"{r['first_call']:.2f}",
            f"{r['median'] / records['products_six']['median']:.2f}",
            f"{memory[name][n] / MIB:.1f}" if n in memory[name] else "",
            str(results["losses"].get(name, ""))[:7],
            f"{results['errors'][name]:.1e}" if name in results["errors"] else "",
        )
    return table


def _curve_table(results: Results, measure: str, title: str, unit: float) -> Table:
    table = Table(title=f"{title} over n, forward and backward, D = {DIM}", box=box.SIMPLE_HEAD)
    sizes = sorted({r["n"] for r in results["time"]})
    table.add_column("")
    for heading in (*map(str, sizes), "exponent"):
        table.add_column(heading, justify="right")
    for name, label in results["labels"].items():
        points = curve(results, measure, name)
        if len(points) < 2:
            continue
        exponent = results["slopes"][measure][name]
        cells = (three_digits(points[n] / unit) if n in points else "" for n in sizes)
        table.add_row(label, *cells, f"{exponent:.2f}" if exponent else "")
    return table


def three_digits(value: float) -> str:
    """At least three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def claims_table(made: Sequence[Mapping[str, Any]]) -> Table:
    """The claims as a table."""
    table = Table(title="Claims", box=box.SIMPLE_HEAD)
    for heading in ("", "target", "measured", "met"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in made:
        if one["met"] is None:
            table.add_row(one["claim"], one["target"], "", "not measured")
        else:
            measured = three_digits(one["measured"]) if one["measured"] >= 0.01 else f"{one['measured']:.1e}"
            table.add_row(one["claim"], one["target"], measured, "yes" if one["met"] else "[bold red]no")
    return table
