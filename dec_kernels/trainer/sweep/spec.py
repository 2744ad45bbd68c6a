"""What a sweep is: its file, read and checked."""

from __future__ import annotations

import json
import re
from argparse import ArgumentError
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from dec_kernels.trainer.metrics import METRICS, MetricName
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.shipped import SWEEPS, find_config
from dec_kernels.trainer.wording import did_you_mean

Settings = dict[str, Any]  # a dotted key of the config, as on the command line -> its value


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of a figure: its label, and the setting that gives each run its place; None takes the runs'
    names."""

    label: str
    setting: str | None = None


@dataclass(frozen=True)
class Series:
    """A line of a figure that has several: its runs, and the setting that gives each its place on the horizontal axis;
    None takes the axis's."""

    runs: list[str]
    setting: str | None = None


@dataclass(frozen=True)
class Plot:
    """What the figure of a sweep looks like.

    Args:
        kind: "line", a panel for each metric over `x`; or "plane", the second metric over the first.
        metrics: names of `METRICS`; two of them for "plane".
        x: the horizontal axis of "line".
        series: the lines, by the names that the legend gives them. A run may lie on several. None is one line of all
            runs.

    Raises:
        ValueError: an argument is not of that form.
    """

    kind: Literal["line", "plane"]
    metrics: list[MetricName] = field(default_factory=lambda: ["psnr_y", "lpips"])
    x: Axis | None = None
    series: dict[str, Series] | None = None

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError(f"figure.metrics must be at least one of {', '.join(METRICS)}, got none")
        if self.kind == "plane" and len(self.metrics) != 2:
            raise ValueError(f"figure.metrics of a plane must be two, got {', '.join(self.metrics)}")
        if self.kind == "plane" and (self.x or any(line.setting for line in (self.series or {}).values())):
            raise ValueError("figure: a plane has neither x nor settings, since the metrics are its axes")
        if self.kind == "line" and self.x is None:
            raise ValueError("figure: a line needs x")


@dataclass(frozen=True)
class Sweep:
    """A sweep, as its file describes it; `runs` are with `settings` once it is read.

    Raises:
        ValueError: there is no run, two runs would have one folder, or a run lacks a place of its own in the figure.
    """

    title: str
    base: str
    figure: Plot
    # Of dicts without types for their values, the parser leaves the values as they are.
    runs: dict[str, dict]  # type: ignore[type-arg]
    settings: dict = field(default_factory=dict)  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs: there is none")
        folders = [folder_of(name) for name in self.runs]
        for name, folder in zip(self.runs, folders, strict=True):
            if not folder or folders.count(folder) > 1:
                raise ValueError(f"runs: {name!r} would have the folder {folder!r}: give each run a name of its own")
        for line, series in self.lines.items():
            for name in series.runs:
                if name not in self.runs:
                    raise ValueError(f"figure.series: {line!r} has no run {name!r}.{did_you_mean(name, self.runs)}")
                if series.setting:
                    place = self.runs[name].get(series.setting)
                    if not isinstance(place, int | float):
                        raise ValueError(f"runs: {name!r} needs a number for {series.setting}, got {place!r}")
        shown = [name for series in self.lines.values() for name in series.runs]
        for name in self.runs:
            if name not in shown:
                raise ValueError(f"figure.series: {name!r} is on none of {', '.join(map(repr, self.lines))}")

    @property
    def lines(self) -> dict[str, Series]:
        """The lines of the figure, each with the setting that places its runs; a line alone has no name."""
        setting = self.figure.x.setting if self.figure.x else None
        if self.figure.series is None:
            return {"": Series([*self.runs], setting)}
        return {name: Series(line.runs, line.setting or setting) for name, line in self.figure.series.items()}

    def places(self, line: Series) -> dict[str, float]:
        """Where on the horizontal axis each run of `line` stands."""
        if line.setting:
            return {name: self.runs[name][line.setting] for name in line.runs}
        return {name: [*self.runs].index(name) for name in line.runs}

    def ticks(self) -> dict[float, str]:
        """What is written at each place on the horizontal axis."""
        texts: dict[float, str] = {}
        for line in self.lines.values():
            texts |= {place: f"{place:g}" if line.setting else name for name, place in self.places(line).items()}
        return dict(sorted(texts.items()))


def folder_of(name: str) -> str:
    """The folder of the run `name`, within that of the sweep."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")


def load_sweep(name: str) -> Sweep:
    """The sweep in the file `name`, or the shipped one of that name.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the file is no sweep; the message says where.
    """
    file = find_config(name, SWEEPS, "sweep")
    parser = SuggestingParser(exit_on_error=False)
    parser.add_class_arguments(Sweep, as_group=False)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)
        if not isinstance(content, dict):
            raise ValueError(f"the file must hold keys and their values, got {content!r}")
        parts = vars(parser.instantiate(parser.parse_object(content)))
        runs = {run: parts["settings"] | settings for run, settings in parts["runs"].items()}
        return Sweep(**parts | {"runs": runs})
    except (ArgumentError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name} is no sweep: {error}") from error


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]
    """YAML whose keys are text, and are there once: a run copied and not renamed would replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"the key {key!r} is there twice (line {node.start_mark.line + 1} on)")
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


def to_arguments(settings: Settings) -> list[str]:
    """Settings as the command line has them: `--key=value`."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]
