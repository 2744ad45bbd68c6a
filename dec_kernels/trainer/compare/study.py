"""What people answered on the page of a user study: the figures of the paper's section 5.4."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from dec_kernels.console import command_line
from dec_kernels.trainer.compare.results import ComparisonError
from dec_kernels.trainer.files import require_folder, write_json
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.samples import save_figure
from dec_kernels.trainer.tables import write_lines
from dec_kernels.trainer.wording import first_few

_COLOR, _BEST_COLOR = "#5e81ac", "#d08770"

Ranking = Sequence[str]  # methods from the best to the worst


class Key(NamedTuple):
    """What the key of a page says.

    Attributes:
        page: the page's identifier.
        methods: in the order of the comparison.
        groups: group -> image's identifier -> method.
    """

    page: str
    methods: list[str]
    groups: dict[str, dict[str, str]]


class Standing(NamedTuple):
    """How a method stands in a study. A vote is what one participant says of one group.

    Attributes:
        top1: share of the votes that rank the method first.
        top3: share of the votes that rank it first, second or third; NaN where there are three methods or fewer.
        won: share of the groups in which more participants rank it first than any other method; methods that are equal
            share a group.
        rank: mean rank over all votes; 1 is the best.
        error: standard error of the mean rank: the standard deviation of the participants' own mean ranks, over the
            root of their number, since the votes of one participant are not independent. NaN for one participant.
    """

    top1: float
    top3: float
    won: float
    rank: float
    error: float


class _Column(NamedTuple):
    label: str
    unit: str
    is_share: bool = True  # of 1, shown in percent, and the higher the better


_COLUMNS = {
    "top1": _Column("top 1", "% of votes"),
    "top3": _Column("top 3", "% of votes"),
    "won": _Column("groups won", "% of groups"),
    "rank": _Column("mean rank", "rank; 1 is the best", is_share=False),
}


def read_study(key: Path, answers: Sequence[Path]) -> tuple[Key, dict[str, list[Ranking]]]:
    """The rankings of each participant, one for each group, in the key's order.

    Args:
        key: the file that `dec-train compare --blind` wrote beside the page.
        answers: the files that participants downloaded from the page.

    Raises:
        ComparisonError: a file has another form; or answers are those of another page, are incomplete, or come from a
            participant of whom there are others.
        OSError: a file cannot be read.
    """
    content = _read_json(key)
    try:
        found = Key(content["page"], [*content["methods"]], {g: {**v["tiles"]} for g, v in content["groups"].items()})
    except (AttributeError, KeyError, TypeError) as error:
        raise ComparisonError(f"{key} is not the key of a page: it has no page, methods and groups") from error
    if other := [group for group, tiles in found.groups.items() if sorted(tiles.values()) != sorted(found.methods)]:
        raise ComparisonError(
            f"{key} is damaged: in {first_few(other)}, the methods are not {first_few(found.methods)}"
        )
    rankings: dict[str, list[Ranking]] = {}
    origins: dict[str, Path] = {}
    for path in answers:
        participant, given = _read_answers(path, found)
        name = participant.strip().casefold()
        if name in origins:
            raise ComparisonError(f"{origins[name]} and {path} are both of the participant {participant!r}")
        origins[name] = path
        rankings[participant] = given
    return found, rankings


def _read_answers(path: Path, key: Key) -> tuple[str, list[Ranking]]:
    content = _read_json(path)
    try:
        page, participant = content["page"], content["participant"]
        given = [(each["group"], [*map(str, each["ranking"])]) for each in content["answers"]]
        ranked = dict(given)
        wrong = not isinstance(participant, str) or not participant.strip()
    except (KeyError, TypeError, ValueError) as error:
        raise ComparisonError(f"{path} holds no answers: it has no page, participant and answers") from error
    if wrong:
        raise ComparisonError(f"{path}: the participant must be a name, got {participant!r}")
    if page != key.page:
        raise ComparisonError(f"{path} holds answers to the page {page!r}, and the key is that of {key.page!r}")
    if strangers := [group for group in ranked if group not in key.groups]:
        raise ComparisonError(f"{path} ranks groups that the page does not have: {first_few(strangers)}")
    if missing := [group for group in key.groups if group not in ranked]:
        raise ComparisonError(
            f"{path} is incomplete: {len(missing)} of {len(key.groups)} groups have no ranks: {first_few(missing)}"
        )
    if len(given) > len(ranked):
        twice = Counter(group for group, _ in given).most_common(1)[0][0]
        raise ComparisonError(f"{path} ranks the group {twice} twice")
    for group, tiles in key.groups.items():
        if sorted(ranked[group]) != sorted(tiles):
            raise ComparisonError(f"{path} does not rank each image of group {group} once: {first_few(ranked[group])}")
    return participant, [[tiles[tile] for tile in ranked[group]] for group, tiles in key.groups.items()]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # neither JSON nor UTF-8
        raise ComparisonError(f"{path} is not JSON: {error}") from error


def standings(methods: Sequence[str], rankings: Mapping[str, Sequence[Ranking]]) -> dict[str, Standing]:
    """How each method stands.

    Args:
        rankings: participant -> rankings of the same groups in the same order; at least one of both.
    """
    votes = [ranking for given in rankings.values() for ranking in given]
    firsts = [Counter(ranking[0] for ranking in group) for group in zip(*rankings.values(), strict=True)]
    winners = [[method for method in methods if count[method] == max(count.values())] for count in firsts]
    table = {}
    for method in methods:
        means = [statistics.fmean(ranking.index(method) + 1 for ranking in given) for given in rankings.values()]
        table[method] = Standing(
            top1=statistics.fmean(ranking[0] == method for ranking in votes),
            top3=statistics.fmean(method in ranking[:3] for ranking in votes) if len(methods) > 3 else math.nan,
            won=math.fsum((method in names) / len(names) for names in winners) / len(winners),
            rank=statistics.fmean(means),
            error=statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan,
        )
    return table


def _columns(table: Mapping[str, Standing]) -> dict[str, dict[str, float]]:
    """Column -> method -> value, without columns that have none."""
    columns = {name: {method: getattr(row, name) for method, row in table.items()} for name in _COLUMNS}
    return {name: values for name, values in columns.items() if not any(map(math.isnan, values.values()))}


def _best(name: str, values: Mapping[str, float]) -> float:
    return max(values.values()) if _COLUMNS[name].is_share else min(values.values())


def _text(name: str, row: Standing) -> str:
    value: float = getattr(row, name)
    if _COLUMNS[name].is_share:
        return f"{100 * value:.1f} %"
    return f"{value:.2f}" + ("" if math.isnan(row.error) else f" ± {row.error:.2f}")


def standings_table(table: Mapping[str, Standing], title: str) -> Table:
    """The standings for the terminal, the best of each column in bold."""
    columns = _columns(table)
    shown = Table(title=Text(title), title_justify="left")
    shown.add_column("method")
    for name in columns:
        shown.add_column(_COLUMNS[name].label, justify="right")
    for method, row in table.items():
        cells = [
            Text(_text(name, row), style="bold" if getattr(row, name) == _best(name, values) else "")
            for name, values in columns.items()
        ]
        shown.add_row(Text(method), *cells)
    return shown


def draw_standings(table: Mapping[str, Standing], title: str) -> Figure:
    """The counterpart of Fig. 11: a panel for each column, with the standard error of the mean rank as black lines."""
    columns = _columns(table)
    figure = Figure(figsize=(0.8 + (1.4 + 0.55 * len(table)) * len(columns), 4), dpi=160, layout="constrained")
    for axis, (name, values) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns.items(), strict=True):
        _draw_bars(axis, name, values, table)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_bars(axis: Axes, name: str, values: Mapping[str, float], table: Mapping[str, Standing]) -> None:
    column, best = _COLUMNS[name], _best(name, values)
    heights = [100 * value if column.is_share else value for value in values.values()]
    colors = [_BEST_COLOR if value == best else _COLOR for value in values.values()]
    errors = None if column.is_share else [0 if math.isnan(row.error) else row.error for row in table.values()]
    bars = axis.bar(range(len(values)), heights, color=colors, yerr=errors, capsize=4, width=0.7)
    axis.bar_label(bars, [f"{height:.{0 if column.is_share else 2}f}" for height in heights], fontsize=8, padding=2)
    axis.set_xticks(range(len(values)), list(values), rotation=35, ha="right", fontsize=9, parse_math=False)
    axis.set_title(column.label, fontsize=11)
    axis.set_ylabel(column.unit)
    axis.margins(y=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _write(out: Path, title: str, table: Mapping[str, Standing], rankings: Mapping[str, Sequence[Ranking]]) -> None:
    write_lines(out / "study.csv", [{"method": method, **row._asdict()} for method, row in table.items()])
    content = {
        "participants": len(rankings),
        "groups": len(next(iter(rankings.values()))),
        "methods": {method: row._asdict() for method, row in table.items()},
    }
    write_json(out / "study.json", content)
    save_figure(out / "study.png", draw_standings(table, title))


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `dec-train study`: 0 if all is well, 2 if the answers cannot be counted."""
    parser = SuggestingParser(prog="dec-train study", description="Count the answers to a page of dec-train compare.")
    parser.add_argument("answers", nargs="+", type=str, metavar="FILE", help="what participants downloaded")
    parser.add_argument("--key", type=str, required=True, metavar="FILE", help="the key that lies beside the page")
    parser.add_argument("--out", type=str, metavar="DIR", help="folder for study.csv, study.json and study.png")
    settings = parser.parse_args(argv)
    try:
        if settings.out is not None:
            require_folder(Path(settings.out), "--out")
        key, rankings = read_study(Path(settings.key), [Path(path) for path in settings.answers])
        table = standings(key.methods, rankings)
        people, groups = len(rankings), len(key.groups)
        title = f"{people} participant{'s' * (people > 1)}, {groups} group{'s' * (groups > 1)}: {people * groups} votes"
        if settings.out is not None:
            _write(Path(settings.out), title, table, rankings)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        print(f"dec-train study: {error}", file=sys.stderr)
        return 2
    rich.print(standings_table(table, title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
