"""Running a sweep: which of its trainings are to be run, and running them."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from dec_kernels.console import CLOSED_PIPE, INTERRUPTED
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.files import require_folder, write_json
from dec_kernels.trainer.samples import save_figure
from dec_kernels.trainer.shipped import SWEEPS, TRAININGS, find_config, names_in
from dec_kernels.trainer.sweep.figure import Results, draw, results_table
from dec_kernels.trainer.sweep.spec import Sweep, folder_of, load_sweep, to_arguments

_RECORD = "sweep.json"  # in each run's folder: what it is trained with
_INTERRUPTED = (INTERRUPTED, 143)  # the latter is what a shell reports for a program that SIGTERM ended

Command = Callable[[list[str]], int]  # `dec-train`: its arguments -> the exit status
Record = dict[str, Any]  # {"base": the base config's content, "arguments": what else the fit gets}


def main(argv: Sequence[str], dec_train: Command) -> int:
    """Runs a sweep, each training by `dec_train`; returns 0, or 1 if one failed or the figure cannot be drawn."""
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
        require_folder(out, "--out")
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
        except ValueError as error:  # a file in one of the folders is damaged
            _complain(str(error))
            return 1
    return report(sweep, out, results)


def report(sweep: Sweep, out: Path, results: Results) -> int:
    """Prints the table, writes the figure, and returns the exit status."""
    console = Console()
    console.print(results_table(sweep, results))
    errors = {name: result["error"] for name, result in results.items() if "error" in result}
    for name, error in errors.items():
        _complain(f"{name} failed: {error}")
    try:
        save_figure(out / "figure.png", draw(sweep, results))
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
        ValueError: `handed_on` sets what the sweep does, or a run's folder holds what other settings came to.
    """
    set_here = {f"--{key}" for settings in sweep.runs.values() for key in settings}
    for argument in handed_on:
        if argument.partition("=")[0] in set_here:
            raise ValueError(f"{argument.partition('=')[0]} is what the sweep sets itself")
    base = yaml.safe_load(find_config(sweep.base, TRAININGS, "config").read_text(encoding="utf-8"))
    records: dict[str, Record] = {}
    for name, settings in sweep.runs.items():
        record = {"base": base, "arguments": [*to_arguments(settings), *handed_on]}
        records[name] = json.loads(to_json(record))  # as it will be read back
        folder = out / folder_of(name)
        changed = _difference(_read(folder / _RECORD), records[name])
        if changed and any((folder / left).exists() for left in ("checkpoints", "summary.json")):
            raise ValueError(f"{folder} holds another training ({changed}): remove it, or choose another --out")
    return records


def _read(path: Path) -> Any:
    """The JSON in `path`, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _difference(old: Record | None, new: Record) -> str:
    if old is None:
        return f"without a {_RECORD}"
    if old["base"] != new["base"]:
        return "the base config was another one"
    if old["arguments"] != new["arguments"]:
        return f"with {' '.join(old['arguments'])}, now {' '.join(new['arguments'])}"
    return ""


def train(sweep: Sweep, out: Path, records: Mapping[str, Record], dec_train: Command) -> Results:
    """Trains each run that is not finished; `results.json` in `out` is up to date after each of them.

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
            if "left_out" in summary:  # those of older trainings are without
                results[name]["left_out"] = summary["left_out"]
        else:
            results[name]["error"] = error
        write_json(out / "results.json", {"title": sweep.title, "base": sweep.base, "runs": results})
    return results


def _fit(base: str, folder: Path, arguments: Sequence[str], dec_train: Command) -> str | None:
    """Trains in `folder`; returns what went wrong, if anything did."""
    try:
        status = dec_train(["fit", "--config", base, "--out", str(folder), "--resume", "auto", *arguments])
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    if status == CLOSED_PIPE:
        raise SystemExit(CLOSED_PIPE)
    if status in _INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        return f"its exit status is {status}; the reason is further up"
    return None if (folder / "summary.json").exists() else "it ended without a summary.json"


def read_results(sweep: Sweep, out: Path) -> Results:
    """The runs in `results.json` of `out`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a run there is none of the sweep's, or has other settings.
    """
    path = out / "results.json"
    if not path.exists():
        raise FileNotFoundError(f"no {path}: train first, without --figure-only")
    content = _read(path)
    if not isinstance(content, dict) or not isinstance(content.get("runs"), dict):
        raise ValueError(f"{path} holds no results of a sweep")
    results: Results = content["runs"]
    for name, result in results.items():
        if result["settings"] != sweep.runs.get(name):
            raise ValueError(
                f"{name!r} in {path} is not this sweep's: {result['settings']}, {sweep.runs.get(name)} now"
            )
    return results
