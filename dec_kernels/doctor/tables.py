"""Prints the facts as tables."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dec_kernels.doctor.facts import Facts

MIB = 2**20


def show(facts: Facts, plot: Path) -> None:
    """Prints all facts, and the path of the plot."""
    console = Console(highlight=False)
    for title, rows in (
        ("Input", _input(facts)),
        ("Loss", _loss(facts)),
        (
            f"Positives per row at {facts['settings']['threshold']:g} dB, {facts['settings']['distance']}",
            _positives(facts),
        ),
        ("Gradients with respect to SR", _gradients(facts)),
    ):
        console.print(_titled(title, rows))
    console.print(_costs(facts))
    console.print(_checks(facts))
    console.print(_landmarks(facts))
    console.print("[bold]Advice[/bold]")
    for sentence in facts["advice"]:
        console.print(f"- {sentence}", markup=False)
    console.print(f"\nThe curves over the threshold: {plot}", markup=False, soft_wrap=True)


def _titled(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*map(Text, row))  # no markup: brackets in a name are its own
    table.add_row()
    return table


def _input(facts: Facts) -> list[tuple[str, str]]:
    read = facts["input"]
    sizes = ", ".join(f"{size} ({count})" if len(read["sizes"]) > 1 else size for size, count in read["sizes"].items())
    settings = [f"{name}={value}" for name, value in facts["settings"].items()]
    return [
        ("pairs", f"{read['pairs']}; H x W: {sizes}"),
        ("crops", f"{read['crops']} of {read['crop'][0]} x {read['crop'][1]}, from {read['pairs_used']} pairs"),
        ("patches", f"n = {read['patches']}, D = {read['patch_values']}"),
        ("loss", ", ".join(settings)),
        ("device", facts["device"]),
        *(("note", note) for note in read["notes"]),
    ]


def _loss(facts: Facts) -> list[tuple[str, str]]:
    terms = facts["terms"]
    return [
        ("L", f"{terms['loss']:.6g}"),
        ("mean log Qpos", _number(terms["mean_log_qpos"])),
        ("mean log Qneg", _number(terms["mean_log_qneg"])),
        ("rows without negatives", f"{terms['rows_without_negatives']} of {terms['rows']}"),
        ("patches of norm zero", f"SR {terms['zero_patches_sr']}, HR {terms['zero_patches_hr']}"),
    ]


def _positives(facts: Facts) -> list[tuple[str, str]]:
    found = facts["positives"]
    most = max(found["histogram"].values())
    bars = [
        (positives, f"{rows / found['rows']:7.2%} {'█' * round(36 * rows / most)}")
        for positives, rows in found["histogram"].items()
    ]
    sample = (
        "all"
        if found["rows"] == facts["terms"]["rows"]
        else f"{found['rows']} of {facts['terms']['rows']}, drawn at random"
    )
    return [
        *bars,
        ("mean", f"{found['mean']:.2f}, including the row itself"),
        ("rows counted", sample),
        ("tiles in the band", f"{found['band_share']:.1%} of the tiles of {found['tile']} x {found['tile']} pairs"),
    ]


def _gradients(facts: Facts) -> list[tuple[str, str]]:
    norms, weight = facts["gradients"], facts["weight"]
    return [
        ("|dDEC|", f"{norms['dec']:.4g}, with loss_weight=1"),
        ("|dL1|", f"{norms['l1']:.4g}, so DEC / L1 = {_number(norms['dec_over_l1'])}"),
        ("DEC / L1 in the median patch", _number(norms["dec_over_l1_median"])),
        ("|dMSE|", f"{norms['mse']:.4g}, so DEC / MSE = {_number(norms['dec_over_mse'])}"),
        (
            "suggested loss_weight",
            f"{_number(weight['weight'])}, for {weight['share']:g} of the gradient of {weight['l1_weight']:g} * L1",
        ),
    ]


def _costs(facts: Facts) -> Table:
    table = _grid("One forward and backward", "backend", "seconds", "extra MiB", "calls, or why it was not timed")
    for cost in facts["backends"]:
        if cost["seconds"] is None:
            table.add_row(cost["backend"], "", "", Text(cost["reason"] or ""))
            continue
        memory = "not measured" if cost["extra_bytes"] is None else f"{cost['extra_bytes'] / MIB:.1f}"
        table.add_row(cost["backend"], f"{cost['seconds']:.4f}", memory, f"median of {cost['calls']}")
    return table


def _checks(facts: Facts) -> Table:
    table = _grid(
        "Relative errors against the reference in float64 (allowed)",
        "backend",
        "loss",
        "gradient",
        "patches",
        "verdict",
    )
    for check in facts["checks"]:
        table.add_row(
            check["backend"],
            f"{check['loss_error']:.1e} ({check['loss_allowed']:.1e})",
            f"{check['gradient_error']:.1e} ({check['gradient_allowed']:.1e})",
            str(check["patches"]),
            "right" if check["right"] else "[bold red]WRONG[/bold red]",
        )
    return table


def _landmarks(facts: Facts) -> Table:
    found = facts["landmarks"]
    rows = f"{found['configured']['rows']} of {facts['terms']['rows']} rows"
    title = f"Errors on {rows}: Qneg and gradient relative, loss absolute"
    table = _grid(title, "landmarks", "Qneg", "loss", "gradient (95 %)", "seconds")
    for suffix, one in [(", given", found["configured"]), *(("", one) for one in found["tried"])]:
        low, high = one["gradient_interval"]
        table.add_row(
            f"{one['landmarks']}{suffix}",
            f"{one['qneg_error']:.1e}",
            f"{one['loss_error']:.1e}",
            f"{one['gradient_error']:.1e} ({low:.1e} to {high:.1e})",
            f"{one['seconds']:.4f}",
        )
    table.add_row("None, bf16", "", "", f"{found['bf16_error']:.1e}", "")
    if found["exact_seconds"] is not None:
        table.add_row("None", "", "", "", f"{found['exact_seconds']:.4f}")
    return table


def _grid(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading)
    return table


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
