"""``dec-train sweep``: trainings that differ in a few settings, with one table and one figure of what came out.

    dec-train sweep --config thresholds --out runs/thresholds
    dec-train sweep --config thresholds --out runs/thresholds --trainer.max_epochs 20   for each of its trainings
    dec-train sweep --config thresholds --out runs/thresholds --figure-only             draw what there is anew

A sweep is a YAML file: one of those that ship with the package, by its name, or a file of your own.

    title: Threshold of the positives
    base: paper_l1_lp_dec                 the config of every training: a shipped one's name, or a file
    settings: {data.batch_size: 16}       optional: what all trainings have beside it
    figure: {kind: line, x: {label: "threshold [dB]", setting: model.dec.init_args.threshold}}
    runs:                                 name: what this training alone has
      30 dB: {model.dec.init_args.threshold: 30.0}
      34 dB: {model.dec.init_args.threshold: 34.0}

Each training is a ``dec-train fit --resume auto`` in a folder of its own, on one device, one after another: what is
finished is not trained again, what was cut off goes on. A training that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dec_kernels.trainer.metrics import METRICS
from dec_kernels.trainer.parser import nearest
from dec_kernels.trainer.report import write_json
from dec_kernels.trainer.shipped import SWEEPS, TRAININGS, find_config, names_in

_RECORD = "sweep.json"  # in each run's folder: what it is trained with
_INTERRUPTED = (130, 143)  # what a shell reports for a program that Ctrl+C or SIGTERM ended

_COLOR, _BEST_COLOR = "#5e81ac", "#d08770"
_ON_LINES = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}  # keeps numbers legible there


Command = Callable[[list[str]], int]  # ``dec-train``: its arguments -> the exit status
Settings = dict[str, Any]  # a dotted key of the config, as on the command line -> its value
Record = dict[str, Any]  # {"base": the base config's content, "arguments": what else the fit gets}
Results = dict[str, dict[str, Any]]  # run -> {"settings", "step", "epoch", "figures"} or {"settings", "error"}


@dataclass(frozen=True)
class Axis:
    """An axis of a figure: its label, and the setting that gives each run its place; None takes the runs' names."""

    label: str
    setting: str | None = None


@dataclass(frozen=True)
class Plot:
    """What the figure of a sweep looks like.

    Args:
        kind: "line", a panel for each metric over ``x``; "heatmap", a panel for each metric over ``x`` and ``y``, whose
            settings have to be numbers; or "plane", the second metric over the first, a point for each run.
        metrics: names of :data:`~dec_kernels.trainer.metrics.METRICS`; two of them for "plane".
        x, y: the axes, as far as the kind has them.

    Raises:
        ValueError: an argument is not of that form.
    """

    kind: str
    metrics: list[str] = field(default_factory=lambda: ["psnr_y", "lpips"])
    x: Axis | None = None
    y: Axis | None = None

    def __post_init__(self) -> None:
        axes = {"line": ["x"], "heatmap": ["x", "y"], "plane": []}
        if self.kind not in axes:
            raise ValueError(f"figure.kind must be one of {', '.join(axes)}, got {self.kind!r}")
        if not isinstance(self.metrics, list) or not self.metrics:
            raise ValueError(f"figure.metrics must be a list of {', '.join(METRICS)}, got {self.metrics!r}")
        for metric in self.metrics:
            _known(metric, METRICS, "figure.metrics")
        if self.kind == "plane" and len(self.metrics) != 2:
            raise ValueError(f"figure.metrics of a plane must be two, got {', '.join(self.metrics)}")
        if [name for name in ("x", "y") if getattr(self, name)] != axes[self.kind]:
            raise ValueError(f"figure: a {self.kind} has {' and '.join(axes[self.kind]) or 'neither x nor y'}")
        if self.kind == "heatmap" and not (self.x and self.x.setting and self.y and self.y.setting):
            raise ValueError("figure: both axes of a heatmap need a setting")


@dataclass(frozen=True)
class Sweep:
    """A sweep, as its file describes it; ``runs`` are with ``settings`` once it is read.

    Raises:
        ValueError: there is no run, two runs would have one folder, or a run lacks a place of its own in the figure.
    """

    title: str
    base: str
    figure: Plot
    runs: dict[str, Settings]
    settings: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs: there is none")
        folders = [folder_of(name) for name in self.runs]
        for name, folder in zip(self.runs, folders, strict=True):
            if not folder or folders.count(folder) > 1:
                raise ValueError(f"runs: {name!r} would have the folder {folder!r}: give each run a name of its own")
        for axis in (self.figure.x, self.figure.y):
            if axis and axis.setting:
                for name, settings in self.runs.items():
                    place = settings.get(axis.setting)
                    if not isinstance(place, int | float):
                        raise ValueError(f"runs: {name!r} needs a number for {axis.setting}, got {place!r}")
        if self.figure.kind == "heatmap":
            cells = [*zip(*(self.axis(name)[1].values() for name in ("x", "y")), strict=True)]
            for name, cell in zip(self.runs, cells, strict=True):
                if cells.count(cell) > 1:
                    raise ValueError(f"runs: {name!r} is not the only one at {cell} of the heatmap")

    def axis(self, name: str) -> tuple[str, dict[str, float], dict[float, str]]:
        """The label of the figure's axis ``name``, the place of each run on it, and what is written at each place."""
        axis: Axis = getattr(self.figure, name)
        if axis.setting:
            places = {run: settings[axis.setting] for run, settings in self.runs.items()}
            return axis.label, places, {place: f"{place:g}" for place in sorted(places.values())}
        return axis.label, dict(zip(self.runs, range(len(self.runs)), strict=True)), dict(enumerate(self.runs))


def folder_of(name: str) -> str:
    """The folder of the run ``name``, within that of the sweep."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")


def load_sweep(name: str) -> Sweep:
    """The sweep in the file ``name``, or the shipped one of that name.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the file is no sweep; the message says where.
    """
    text = find_config(name, SWEEPS, "sweep").read_text()
    try:
        content = yaml.load(text, _UniqueKeys)
        parts = _mapping(content, "the file")
        if "figure" in parts:
            figure = _mapping(parts["figure"], "figure")
            axes = {key: _build(Axis, figure[key], f"figure.{key}") for key in ("x", "y") if key in figure}
            parts["figure"] = _build(Plot, figure | axes, "figure")
        for part in ("settings", "runs"):
            if part in parts:
                parts[part] = _mapping(parts[part], part)
        if "runs" in parts:
            common = parts.get("settings", {})
            parts["runs"] = {run: common | _mapping(own, f"runs.{run}") for run, own in parts["runs"].items()}
        return _build(Sweep, parts, "the file")
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name} is no sweep: {error}") from error


class _UniqueKeys(yaml.SafeLoader):
    """A run copied and not renamed would replace the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"the key {key!r} is there twice (line {node.start_mark.line + 1} on)")
        return super().construct_mapping(node, deep)


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be a mapping of keys to values, got {content!r}")
    return {str(key): value for key, value in content.items()}


_T = TypeVar("_T", Axis, Plot, Sweep)


def _build(kind: type[_T], content: Any, where: str) -> _T:
    """The dataclass ``kind`` from the mapping ``content``, whose keys have to be the names of its fields."""
    values = _mapping(content, where)
    names = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    for key in values:
        _known(key, names, where)
    missing = [name for name, required in names.items() if required and name not in values]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return kind(**values)


def _known(key: str, names: Mapping[str, Any], where: str) -> None:
    if key not in names:
        raise ValueError(f"{where}: unknown {key!r}; known are {', '.join(names)}.{nearest(key, names)}")


def to_arguments(settings: Settings) -> list[str]:
    """Settings as the command line has them: ``--key=value``."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def main(argv: Sequence[str], dec_train: Command) -> int:
    """Run a sweep, each training by ``dec_train``; return 0, or 1 if one failed or the figure cannot be drawn."""
    parser = argparse.ArgumentParser(
        prog="dec-train sweep",
        usage="%(prog)s --config NAME_OR_FILE --out DIR [--figure-only] [--KEY VALUE ...]",
        description="Trainings that differ in a few settings, with one table and one figure of what came out.",
        epilog="Any other argument is handed on to each training's `dec-train fit`.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help=f"a file, or one of {', '.join(names_in(SWEEPS))}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings, results.json and figure.png")
    parser.add_argument("--figure-only", action="store_true", help="train nothing: draw the results.json that is there")
    args, handed_on = parser.parse_known_args(argv)
    out: Path = args.out
    if args.figure_only and handed_on:
        parser.error(f"nothing is trained with --figure-only, so that {' '.join(handed_on)} has no meaning")
    try:
        sweep = load_sweep(args.config)
        if args.figure_only:
            results = read_results(sweep, out)
        else:
            records = plan(sweep, out, handed_on)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if not args.figure_only:
        try:
            results = train(sweep, out, records, dec_train)
        except KeyboardInterrupt:
            _complain("stopped; the same command goes on from here")
            return _INTERRUPTED[0]
    return report(sweep, out, results)


def report(sweep: Sweep, out: Path, results: Results) -> int:
    """Print the table, write the figure, and return the exit status."""
    console = Console()
    console.print(results_table(sweep, results))
    errors = {name: result["error"] for name, result in results.items() if "error" in result}
    for name, error in errors.items():
        _complain(f"{name} failed: {error}")
    try:
        draw(sweep, results).savefig(out / "figure.png")
    except ValueError as error:
        _complain(f"no figure: {error}")
        return 1
    _say(f"see {out / 'figure.png'}")
    return 1 if errors else 0


def _say(line: str) -> None:
    print(f"dec-train sweep: {line}", flush=True)


def _complain(line: str) -> None:
    print(f"dec-train sweep: {line}", file=sys.stderr, flush=True)


def plan(sweep: Sweep, out: Path, handed_on: Sequence[str]) -> dict[str, Record]:
    """What each run is trained with, to be kept beside it: the base config's content and the arguments.

    Raises:
        FileNotFoundError: there is no base config of that name.
        ValueError: ``handed_on`` sets what the sweep does, or a run's folder holds what other settings came to.
    """
    set_here = {f"--{key}" for settings in sweep.runs.values() for key in settings}
    for argument in handed_on:
        if argument.partition("=")[0] in set_here:
            raise ValueError(f"{argument.partition('=')[0]} is what the sweep sets itself")
    base = yaml.safe_load(find_config(sweep.base, TRAININGS, "config").read_text())
    records: dict[str, Record] = {}
    for name, settings in sweep.runs.items():
        records[name] = {"base": base, "arguments": [*to_arguments(settings), *handed_on]}
        folder = out / folder_of(name)
        changed = _difference(_read(folder / _RECORD), records[name])
        if changed and any((folder / left).exists() for left in ("checkpoints", "summary.json")):
            raise ValueError(f"{folder} holds another training ({changed}): remove it, or choose another --out")
    return records


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _difference(old: Record | None, new: Record) -> str:
    if old is None:
        return f"without a {_RECORD}"
    if old["base"] != new["base"]:
        return "the base config was another one"
    if old["arguments"] != new["arguments"]:
        return f"with {' '.join(old['arguments'])}, now {' '.join(new['arguments'])}"
    return ""


def train(sweep: Sweep, out: Path, records: Mapping[str, Record], dec_train: Command) -> Results:
    """Train each run that is not finished; ``results.json`` in ``out`` is up to date after each of them.

    Raises:
        KeyboardInterrupt: a training was ended by Ctrl+C.
    """
    results: Results = {}
    for number, (name, record) in enumerate(records.items(), start=1):
        folder = out / folder_of(name)
        # A training that was stopped has a summary, too: finished is what its fit ended well for.
        finished = {**record, "finished": True}
        error = None
        if _read(folder / _RECORD) == finished and (folder / "summary.json").exists():
            _say(f"{name} ({number} of {len(records)}) is finished")
        else:
            _say(f"{name} ({number} of {len(records)}), {' '.join(record['arguments'])}")
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / _RECORD, record)
            error = _fit(sweep.base, folder, record["arguments"], dec_train)
            if error is None:
                write_json(folder / _RECORD, finished)
        results[name] = {"settings": sweep.runs[name]}
        if error is None:
            summary = _read(folder / "summary.json")
            results[name] |= {"step": summary["step"], "epoch": summary["epoch"], "figures": summary["val"]}
        else:
            results[name]["error"] = error
        write_json(out / "results.json", {"title": sweep.title, "base": sweep.base, "runs": results})
    return results


def _fit(base: str, folder: Path, arguments: Sequence[str], dec_train: Command) -> str | None:
    """Train in ``folder``; return what went wrong, if anything did."""
    try:
        status = dec_train(["fit", "--config", base, "--out", str(folder), "--resume", "auto", *arguments])
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    if status in _INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        return f"its exit status is {status}; the reason is further up"
    return None if (folder / "summary.json").exists() else "it ended without a summary.json"


def read_results(sweep: Sweep, out: Path) -> Results:
    """The runs in ``results.json`` of ``out``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a run there is none of the sweep's, or has other settings.
    """
    path = out / "results.json"
    if not path.exists():
        raise FileNotFoundError(f"no {path}: train first, without --figure-only")
    results: Results = _read(path)["runs"]
    for name, result in results.items():
        if result["settings"] != sweep.runs.get(name):
            raise ValueError(
                f"{name!r} in {path} is not this sweep's: {result['settings']}, {sweep.runs.get(name)} now"
            )
    return results


def measured(results: Results, metric: str) -> dict[str, float]:
    """Run -> figure, for the runs where it is there and finite."""
    figures = {name: result.get("figures", {}).get(metric) for name, result in results.items()}
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}


def results_table(sweep: Sweep, results: Results) -> Table:
    """The figures for the terminal, a row for each run; the best of each column is bold."""
    table = Table(title=escape(f"{sweep.title} (PSNR in dB)"), title_justify="left")
    table.add_column("run")
    columns = {metric: figures for metric in METRICS if (figures := measured(results, metric))}
    for metric in columns:
        table.add_column(METRICS[metric].heading, justify="right")
    for name in sweep.runs:
        cells = []
        for metric, figures in columns.items():
            text = METRICS[metric].text(figures[name]) if name in figures else "-"
            is_best = figures.get(name) == METRICS[metric].best(figures.values())
            cells.append(f"[bold]{text}[/bold]" if is_best else text)
        table.add_row(escape(name), *cells)
    return table


def draw(sweep: Sweep, results: Results) -> Figure:
    """The sweep's figure. What was not measured is left out, and the picture says so.

    Raises:
        ValueError: nothing that the figure shows was measured.
    """
    figures = {metric: measured(results, metric) for metric in sweep.figure.metrics}
    panels = [metric for metric in figures if figures[metric]]
    wanted = " and ".join(METRICS[metric].heading for metric in sweep.figure.metrics)
    if not panels:
        raise ValueError(f"{wanted} were measured in no run")
    notes = [f"{METRICS[metric].heading} was not measured." for metric in figures if not figures[metric]]
    if sweep.figure.kind == "plane":
        both = [name for name in sweep.runs if all(name in figures[metric] for metric in figures)]
        if not both:
            raise ValueError(f"the plane needs {wanted} of one run. {' '.join(notes)}")
        figure = Figure(figsize=(6.4, 5.2), dpi=160, layout="constrained")
        _draw_plane(figure.subplots(), both, figures)
    else:
        figure = Figure(figsize=(1 + 5 * len(panels), 4.4), dpi=160, layout="constrained")
        draw_panel = {"line": _draw_line, "heatmap": _draw_heatmap}[sweep.figure.kind]
        for axis, metric in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw_panel(axis, sweep, metric, figures[metric])
    figure.suptitle(sweep.title, fontsize=13)
    absent = [name for name in sweep.runs if any(name not in figures[metric] for metric in panels)]
    if absent:
        notes.append(f"Without figures: {', '.join(absent)}.")
    if notes:
        figure.supxlabel(" ".join(notes), fontsize=9, color=_BEST_COLOR, wrap=True)
    return figure


def _label(metric: str) -> str:
    unit = " [dB]" if metric.startswith("psnr") else ""
    return f"{METRICS[metric].heading}{unit} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def _draw_line(axis: Axes, sweep: Sweep, metric: str, figures: Mapping[str, float]) -> None:
    label, places, ticks = sweep.axis("x")
    names = sorted(figures, key=lambda name: places[name])
    axis.plot([places[name] for name in names], [figures[name] for name in names], "o-", color=_COLOR, linewidth=1.8)
    best = METRICS[metric].best(figures.values())
    away = 8 if METRICS[metric].higher_is_better else -15  # on the side where the best point has no lines
    for name in names:
        if figures[name] == best:
            axis.plot(places[name], best, "o", color=_BEST_COLOR, markersize=9)
        axis.annotate(
            METRICS[metric].text(figures[name]),
            (places[name], figures[name]),
            xytext=(0, away),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            bbox=_ON_LINES,
            fontweight="bold" if figures[name] == best else "normal",
        )
    axis.margins(x=0.08, y=0.15)
    axis.set_xticks([*ticks], [*ticks.values()])
    axis.set_xlabel(label)
    axis.set_ylabel(_label(metric))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_heatmap(axis: Axes, sweep: Sweep, metric: str, figures: Mapping[str, float]) -> None:
    (x_label, x, x_ticks), (y_label, y, y_ticks) = sweep.axis("x"), sweep.axis("y")
    where = {name: ([*y_ticks].index(y[name]), [*x_ticks].index(x[name])) for name in figures}
    cells = np.full((len(y_ticks), len(x_ticks)), np.nan)
    for name, value in figures.items():
        cells[where[name]] = value
    # Bright is better in every panel.
    image = axis.imshow(cells, cmap="cividis" if METRICS[metric].higher_is_better else "cividis_r", origin="lower")
    best = METRICS[metric].best(figures.values())
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for name, value in figures.items():
        bright = (value > middle) == METRICS[metric].higher_is_better
        row, column = where[name]
        axis.text(
            column,
            row,
            METRICS[metric].text(value),
            ha="center",
            va="center",
            color="black" if bright else "white",
            fontweight="bold" if value == best else "normal",
        )
    axis.set_xticks(range(len(x_ticks)), [*x_ticks.values()])
    axis.set_yticks(range(len(y_ticks)), [*y_ticks.values()])
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.set_title(_label(metric), fontsize=11)
    axis.spines[:].set_visible(False)
    axis.figure.colorbar(image, ax=axis, shrink=0.8)


def _draw_plane(axis: Axes, names: Sequence[str], figures: Mapping[str, Mapping[str, float]]) -> None:
    distortion, perception = figures
    points = [(figures[distortion][name], figures[perception][name]) for name in names]
    axis.plot(*zip(*points, strict=True), "o-", color=_COLOR, linewidth=1.2, markersize=7)
    for name, point in zip(names, points, strict=True):
        axis.annotate(name, point, xytext=(7, -11), textcoords="offset points", fontsize=9, bbox=_ON_LINES)
    axis.margins(0.15)
    x, y = (0.97 if METRICS[metric].higher_is_better else 0.03 for metric in figures)
    axis.annotate(
        "better",
        (x, y),
        (0.8 * x + 0.1, 0.8 * y + 0.1),
        "axes fraction",
        ha="center",
        color=_BEST_COLOR,
        arrowprops={"arrowstyle": "->", "color": _BEST_COLOR},
    )
    axis.set_xlabel(f"distortion: {_label(distortion)}")
    axis.set_ylabel(f"perception: {_label(perception)}")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
