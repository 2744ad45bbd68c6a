"""The records as one table, one plot and one sheet of crops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.evidence.figures import METRICS, shown, signed
from benchmarks.evidence.heldout import HeldOut
from benchmarks.evidence.plan import (
    BALANCED,
    BICUBIC,
    CONTRAST,
    L1,
    STAGE_1,
    STAGE_1_FOLDER,
    TAMED_NAME,
    Plan,
    Run,
    Setting,
)
from benchmarks.evidence.records import Record, Records
from benchmarks.evidence.statistics import Array, against_control, difference, interval, means, resample
from benchmarks.evidence.study import outputs
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.compare.crops import most_different
from dec_kernels.trainer.files import write_file
from dec_kernels.trainer.samples import cut_sample, draw_samples, save_figure
from dec_kernels.trainer.tables import write_lines

Values = dict[str, Array]  # metric -> (S, I)
Results = dict[str, Any]

COLOURS = {  # Okabe and Ito's palette, which colour-blind people can tell apart
    "Table 1": "#D55E00",
    CONTRAST: "#E69F00",
    BALANCED: "#882255",
    "with Lp": "#CC79A7",
    "with RaGAN": "#009E73",
}
OTHERS = "L1 + DEC, one switch or several"
LEAST, MOST = -1.5, 0.02  # dB and LPIPS: what is less or more is drawn at the edge
MARKERS = "sDv^Px"
OTHER_COLOUR, CURVE_COLOUR = "#0072B2", "#000000"
SHEET = (
    *(L1, "L1, unsharp mask 1", f"L1 + 0.1 DEC{TAMED_NAME}", "L1 + DEC"),
    *("L1 + Lp", "L1 + Lp + DEC", "L1 + Lp + RaGAN", "L1 + Lp + DEC + RaGAN"),
)
OTHER_COLOURS = "L1 + DEC"  # which differ from all others everywhere, and would choose crops without detail
CROPS, CROP_SIZE = 4, 96
WIDTH = 200  # characters of the table


def summarize(plan: Plan, records: Records) -> Results:
    """Means, intervals and differences of what is recorded so far.

    Every setting with at least one seed is there, and is compared over the seeds that both have. `differences` holds
    the setting less L1, less its base where that is another one, and less the unsharp mask at equal PSNR.

    Raises:
        ValueError: no run of L1 is recorded.
    """
    settings = plan.settings()
    recorded = {s.name: _recorded(s, plan, records) for s in settings}
    seeds = {name: {seed: r["figures"] for seed, r in found.items()} for name, found in recorded.items()}
    if not seeds[L1]:
        raise ValueError(f"{records.out} holds no run of {L1} yet, which all others are compared with")
    start = records.read(STAGE_1_FOLDER)
    assert start is not None
    masks = [s for s in settings if s.amount is not None]
    rows = [
        _row(name, "before", {0: start["figures"][name]}, seeds[L1], None, {}, []) for name in (BICUBIC, STAGE_1)
    ] + [
        _row(s.name, s.group, found, seeds[L1], s.base, seeds, masks) | {"pulls": _pulls(recorded[s.name].values())}
        for s in settings
        if (found := seeds[s.name])
    ]
    return {
        "images": list(start["figures"][BICUBIC]),
        "stage_1": start["curve"],
        "rows": rows,
    }


def _recorded(setting: Setting, plan: Plan, records: Records) -> dict[int, Record]:
    """Seed -> record, of the seeds that are recorded."""
    found = {run.seed: records.read(run.folder) for run in plan.runs() if run.setting == setting}
    return {seed: record for seed, record in found.items() if record is not None}


def _pulls(recorded: Iterable[Record]) -> dict[str, float]:
    """Loss term -> how hard it pulled at the output, the mean over the seeds."""
    found: dict[str, list[float]] = {}
    for record in recorded:
        for term, pull in record["pulls"].items():
            found.setdefault(term, []).append(pull)
    return {term: float(np.mean(pulls)) for term, pulls in found.items()}


def _values(found: Mapping[int, Mapping[str, Any]], seeds: Iterable[int]) -> Values:
    """Metric -> (S, I); what is null in the records is NaN."""
    return {
        metric: np.array([[row[metric] for row in found[seed].values()] for seed in seeds], dtype=float)
        for metric in METRICS
    }


def _row(
    name: str,
    group: str,
    found: Mapping[int, Mapping[str, Any]],
    l1: Mapping[int, Mapping[str, Any]],
    base: str | None,
    others: Mapping[str, Mapping[int, Mapping[str, Any]]],
    masks: Sequence[Setting],
) -> Results:
    own = _values(found, found)
    resamples = resample(*own["psnr_y"].shape)
    row: Results = {
        "name": name,
        "group": group,
        "seeds": len(found),
        "means": {metric: interval(means(values, resamples))._asdict() for metric, values in own.items()},
        "differences": {},
    }
    rivals = {} if name == L1 else {L1: l1}
    if base is not None and others.get(base):
        rivals[base] = others[base]
    for rival, theirs in rivals.items():
        if common := [seed for seed in found if seed in theirs]:
            a, b = _values(found, common), _values(theirs, common)
            shared = resample(*a["psnr_y"].shape)
            row["differences"][rival] = {m: difference(a[m], b[m], shared)._asdict() for m in METRICS}
    curve = [l1, *(others[mask.name] for mask in masks if others.get(mask.name))]
    common = [seed for seed in found if all(seed in node for node in curve)]
    if group not in ("before", "unsharp mask") and name != L1 and len(curve) > 1 and common:
        nodes = [_values(node, common) for node in curve]
        amounts = [0.0, *(mask.amount for mask in masks if mask.amount is not None and others.get(mask.name))]
        a = _values(found, common)
        control = against_control(
            a,
            {metric: np.stack([node[metric] for node in nodes]) for metric in METRICS},
            np.array(amounts),
            resample(*a["psnr_y"].shape),
        )
        row["control"] = {
            "amount": control.amount,
            "above": control.above,
            "differences": {metric: each._asdict() for metric, each in control.differences.items()},
        }
    return row


def table(results: Results) -> Table:
    """Means for the terminal, and the difference in LPIPS from L1 and from the control."""
    title = f"Means over {len(results['images'])} held-out photographs and the seeds, 95 % intervals"
    made = Table(title=title, box=box.SIMPLE_HEAD)
    made.add_column("")
    for heading in ("seeds", *(metric.heading for metric in METRICS.values()), "LPIPS - L1", "LPIPS - unsharp mask"):
        made.add_column(heading, justify="right")
    group = None
    for row in results["rows"]:
        if group not in (None, row["group"]):
            made.add_section()
        group = row["group"]
        cells = [shown(metric, row["means"][metric]["mean"]) for metric in METRICS]
        to_control = signed(row.get("control", {}).get("differences"))
        made.add_row(row["name"], str(row["seeds"]), *cells, signed(row["differences"].get(L1)), to_control)
    return made


def lines(results: Results) -> list[dict[str, Any]]:
    """One line of CSV for each setting."""
    found = []
    for row in results["rows"]:
        line = {"name": row["name"], "group": row["group"], "seeds": row["seeds"]}
        control = row.get("control", {})
        parts = {
            "": row["means"],
            "_minus_l1": row["differences"].get(L1, {}),
            "_minus_control": control.get("differences", {}),
        }
        for suffix, figures in parts.items():
            for metric in METRICS:
                for end, key in (("", "mean"), ("_low", "low"), ("_high", "high")):
                    line[f"{metric}{suffix}{end}"] = figures.get(metric, {}).get(key, "")
        found.append(line | {"control_amount": control.get("amount", ""), "above_control": control.get("above", "")})
    return found


def draw(results: Results, path: Path) -> None:
    """PSNR against LPIPS, both less L1's, with the curve of the unsharp masks; intervals of the paired differences."""
    figure = Figure(figsize=(9.6, 6.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    zero = dict.fromkeys(("mean", "low", "high"), 0.0)
    rows = [row for row in results["rows"] if row["group"] != "before"]
    differences = {row["name"]: row["differences"].get(L1, {"psnr_y": zero, "lpips": zero}) for row in rows}
    points = {name: (found["psnr_y"], found["lpips"]) for name, found in differences.items()}
    curve = [points[row["name"]] for row in rows if row["name"] == L1 or row["group"] == "unsharp mask"]
    axes.plot(
        [x["mean"] for x, _ in curve],
        [y["mean"] for _, y in curve],
        ".-",
        color=CURVE_COLOUR,
        label="L1, unsharp masks",
    )
    labelled = set()
    for row in rows:
        if row["group"] == "unsharp mask":
            continue
        x, y = points[row["name"]]
        table_1 = row["group"] == "Table 1"
        label = row["name"] if table_1 else row["group"] if row["group"] in COLOURS else OTHERS
        outside = x["mean"] < LEAST or y["mean"] > MOST
        axes.errorbar(
            max(x["mean"], LEAST),
            min(y["mean"], MOST),
            xerr=None if outside else _bars(x),
            yerr=None if outside else _bars(y),
            fmt="<" if outside else MARKERS[len(labelled) % len(MARKERS)] if table_1 else "o",
            markersize=8 if table_1 else 4,
            elinewidth=0.5,
            color=COLOURS.get(row["group"], OTHER_COLOUR),
            label=None
            if label in labelled
            else label + (f" ({x['mean']:+.1f} dB, {y['mean']:+.3f})" if outside and table_1 else ""),
        )
        labelled.add(label)
    axes.set_xlim(left=LEAST - 0.05)
    axes.set_ylim(top=MOST + 0.002)
    axes.set_xlabel("PSNR Y less L1's, dB (higher is better)")
    axes.set_ylabel("LPIPS less L1's (lower is better)")
    axes.set_title("Held-out photographs; lines: 95 % intervals of the differences", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(path, figure)


def _bars(each: Mapping[str, float]) -> list[list[float]]:
    return [[max(0.0, each["mean"] - each["low"])], [max(0.0, each["high"] - each["mean"])]]


def draw_crops(plan: Plan, records: Records, heldout: HeldOut, path: Path) -> None:
    """The settings of `SHEET` that are recorded, on the photographs where they differ most."""
    runs = {s.name: Run(s, 0) for s in plan.settings()}
    names = [name for name in SHEET if name in runs and records.read(runs[name].folder) is not None]
    if len(names) < 2:
        return
    images = {name: outputs(plan, runs[name], heldout, records) for name in names}
    samples = []
    for pair in heldout.pairs:
        methods = {name: images[name][pair.name] for name in names}
        size = min(CROP_SIZE, *(side - 2 * pair.scale for side in pair.hr.shape[-2:]))
        compared = [image for name, image in methods.items() if name != OTHER_COLOURS]
        (place,) = most_different(compared, size, pair.scale, 1)
        samples.append((place.difference, cut_sample(pair, methods, place.top, place.left, size)))
    samples.sort(key=lambda each: -each[0])
    draw_samples(
        path,
        [sample for _, sample in samples[:CROPS]],
        lambda sr, hr: heldout.lpips(sr.to(heldout.device), hr.to(heldout.device)),
    )


def write(out: Path, results: Results) -> None:
    """evidence.json, evidence.csv, evidence.txt and evidence.png in `out`."""
    write_file(out / "evidence.json", to_json(results).encode())
    write_lines(out / "evidence.csv", lines(results))
    draw(results, out / "evidence.png")
    with (out / "evidence.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=WIDTH).print(table(results))
