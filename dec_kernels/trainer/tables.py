"""Figures of images and their means: as a table in the terminal, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from dec_kernels.trainer.data.sources import MEAN
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.means import LeftOut, describe, left_out, mean_figures
from dec_kernels.trainer.metrics import METRICS

Rows = dict[str, dict[str, float]]  # image (or MEAN) -> metric -> value
Figures = dict[str, Rows]  # method -> rows


class Summary(NamedTuple):
    """Figures with each method's mean under `MEAN`; what is left out of the means of each method; and that in words:
    of each method, in their order."""

    figures: Figures
    left_out: dict[str, LeftOut]
    notes: list[str]


def summarize(figures: Figures) -> Summary:
    """`figures` with their means, all methods having the same images."""
    left = {method: left_out(rows) for method, rows in figures.items()}
    notes = [note for method in figures for note in describe(method, left[method])]
    return Summary(
        {method: rows | {MEAN: mean_figures(rows.values())} for method, rows in figures.items()}, left, notes
    )


def table_title(what: str, border: int) -> str:
    """The title of a table of `what`, measured without `border` pixels at each side."""
    return f"{what}; PSNR in dB; " + (f"a border of {border} pixels left out" if border else "every pixel measured")


def metrics_table(
    figures: Figures,
    title: str = "PSNR in dB; a border of `scale` pixels left out",
    notes: Sequence[str] = (),
    heading: str = "image",
) -> Table:
    """The figures for the terminal, one block for each image, the best of a block in bold; and under it `notes`.

    `heading` is that of the blocks' names, where these are not images.
    """
    metrics = [name for name in METRICS if any(name in row for rows in figures.values() for row in rows.values())]
    table = Table(title=title, title_justify="left", caption=Text("\n".join(notes)), caption_justify="left")
    for column in (heading, "method"):
        table.add_column(column)
    for name in metrics:
        table.add_column(METRICS[name].heading, justify="right")
    for image in next(iter(figures.values())):
        best = {name: METRICS[name].best(rows[image][name] for rows in figures.values()) for name in metrics}
        label = image
        for method, rows in figures.items():
            cells = []
            for name in metrics:
                value = rows[image][name]
                text = METRICS[name].text(value)
                cells.append(f"[bold]{text}[/bold]" if value == best[name] else text)
            table.add_row(Text(label), Text(method), *cells)  # no markup: brackets in a name are its own
            label = ""
        table.add_section()
    return table


def write_csv(path: Path, rows: Rows) -> None:
    """Writes one line for each image, under a heading."""
    write_lines(path, [{"image": image, **figures} for image, figures in rows.items()])


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes CSV: a heading and one line for each of `lines`, at least one, column -> value."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_file(path, text.getvalue().encode())
