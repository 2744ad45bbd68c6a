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

Settings = dict[str, Any]  # a dotted key of the config, as on the command line -> its value


@dataclass(frozen=True)
class Axis:
    """An axis of a figure: its label, and the setting that gives each run its place; None takes the runs' names."""

    label: str
    setting: str | None = None


@dataclass(frozen=True)
class Plot:
    """What the figure of a sweep looks like.

    Args:
        kind: "line", a panel for each metric over `x`; "heatmap", a panel for each metric over `x` and `y`, whose
            settings have to be numbers; or "plane", the second metric over the first, a point for each run.
        metrics: names of `METRICS`; two of them for "plane".
        x: the horizontal axis, if the kind has one.
        y: the vertical axis, if the kind has one.

    Raises:
        ValueError: an argument is not of that form.
    """

    kind: Literal["line", "heatmap", "plane"]
    metrics: list[MetricName] = field(default_factory=lambda: ["psnr_y", "lpips"])
    x: Axis | None = None
    y: Axis | None = None

    def __post_init__(self) -> None:
        axes = {"line": ["x"], "heatmap": ["x", "y"], "plane": []}
        if not self.metrics:
            raise ValueError(f"figure.metrics must be at least one of {', '.join(METRICS)}, got none")
        if self.kind == "plane" and len(self.metrics) != 2:
            raise ValueError(f"figure.metrics of a plane must be two, got {', '.join(self.metrics)}")
        if [name for name in ("x", "y") if getattr(self, name)] != axes[self.kind]:
            raise ValueError(f"figure: a {self.kind} has {' and '.join(axes[self.kind]) or 'neither x nor y'}")
        if self.kind == "heatmap" and not (self.x and self.x.setting and self.y and self.y.setting):
            raise ValueError("figure: both axes of a heatmap need a setting")


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
        """The label of the figure's axis `name`, the place of each run on it, and what is written at each place."""
        axis: Axis = getattr(self.figure, name)
        if axis.setting:
            places = {run: settings[axis.setting] for run, settings in self.runs.items()}
            return axis.label, places, {place: f"{place:g}" for place in sorted(places.values())}
        return axis.label, dict(zip(self.runs, range(len(self.runs)), strict=True)), dict(enumerate(self.runs))


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
