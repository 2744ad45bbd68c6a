"""Prints the facts as tables."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dec_kernels.coo.facts import Facts
from dec_kernels.coo.groups import LEVELS


def show(facts: Facts, out: Path) -> None:
    """Prints all facts, and where the files are."""
    console = Console(highlight=False)
    for table in (_patches(facts), _sizes(facts), _spreads(facts), _images(facts)):
        if table.row_count:
            console.print(table)
    console.print("Distances (L, √tr Σ, to the center, to HR) are root mean squares of a value, in gray levels.")
    for note in facts["notes"]:
        console.print(f"- {note}", markup=False)
    console.print(f"\nThe figure, the maps and these figures as JSON: {out}", markup=False, soft_wrap=True)


def levels(square: float | None, values: int) -> float:
    """A square of a distance of patches with pixels in [0, 1] as the root mean square of a value, in gray levels."""
    return math.nan if square is None else LEVELS * math.sqrt(square / values)


def _patches(facts: Facts) -> Table:
    side, scale, threshold = (facts["settings"][name] for name in ("patch_size", "scale", "threshold"))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), title="Patches", title_justify="left")
    table.title_style = "bold"
    rows = [
        ("HR patches", f"{facts['measured']} of {side} x {side} pixels, n = {facts['values']}"),
        ("a group", f"the patches whose x{scale} LR patches have a PSNR of at least {threshold:g} dB with one"),
        ("alone in their group", f"{facts['alone']:.1%}"),
        ("pairs looked at", f"{facts['pairs']:.1%} of all"),
        ("Gaussians", _gaussians(facts)),
    ]
    for row in rows:
        table.add_row(*map(Text, row))
    table.add_row()
    return table


def _gaussians(facts: Facts) -> str:
    theta, count, singular = facts["settings"]["theta"], facts["gaussians"], facts["singular"]
    if not count:
        return f"none: no group has theta = {theta} patches"
    return f"{count} groups with N >= {theta}; in {singular} of them N <= n, and Σ is singular without the shrinkage"


def _sizes(facts: Facts) -> Table:
    scored = _scored(facts)
    headings = ["groups", "entropy, nats", "shrinkage", "L", "√(tr Σ / (N - 1))", "√tr Σ"]
    table = _grid("By N, the size of the group (Theorem 1)", "N", *headings, *(["SR to HR"] if scored else []))
    for one in facts["by_size"]:
        squares = [one["length_square"], one["expected_length_square"], one["spread"]]
        if scored:
            squares.append(one["square_error"])
        table.add_row(
            one["sizes"],
            str(one["groups"]),
            "-∞" if one["entropy"] is None and one["flat"] else _number(one["entropy"], ".4g"),
            _number(one["shrinkage"], ".2f"),
            *(_number(levels(square, facts["values"]), ".2f") for square in squares),
        )
    return table


def _spreads(facts: Facts) -> Table:
    scored = _scored(facts)
    title = "By tr Σ, groups whose patches differ (Theorem 2)"
    table = _grid(title, "√tr Σ", "groups", "HR to center", *(["SR to HR"] if scored else []))
    for one in facts["by_spread"]:
        squares = [one["spread"], one["square_distance"], *([one["square_error"]] if scored else [])]
        first, *others = (_number(levels(square, facts["values"]), ".2f") for square in squares)
        table.add_row(first, str(one["groups"]), *others)
    return table


def _images(facts: Facts) -> Table:
    scored = _scored(facts)
    headings = ["H x W", "patches", "√tr Σ"]
    title = "Over-smoothing: 0 at the HR image, 1 at the centers of the groups" if scored else "Images"
    table = _grid(
        title, "image", *headings, *(["score", "nearer to the center", "informative patches"] if scored else [])
    )
    for one in facts["images"]:
        cells = [one["size"], str(one["patches"]), f"{levels(one['spread'], facts['values']):.2f}"]
        if scored:
            cells += [
                _number(one["score"], ".3f"),
                _number(one["nearer_center"], ".1%"),
                _number(one["informative"], ".1%"),
            ]
        table.add_row(Text(one["name"]), *cells)  # no markup: brackets in a name are its own
    if scored and len(facts["images"]) > 1:
        table.add_section()
        table.add_row("all", "", str(facts["measured"]), "", _number(facts["score"], ".3f"))
    return table


def _scored(facts: Facts) -> bool:
    return facts["images"][0]["informative"] is not None


def _grid(title: str, first: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)
