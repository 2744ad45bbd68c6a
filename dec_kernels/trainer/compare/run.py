"""Measures the results of several methods, and chooses and shows crops of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from dec_kernels.console import command_line
from dec_kernels.images import printable, read_image
from dec_kernels.trainer.compare.blind import check_page, write_page
from dec_kernels.trainer.compare.crops import check_crops, most_different, parse_crop
from dec_kernels.trainer.compare.results import (
    GROUND_TRUTH,
    ComparisonError,
    Entry,
    data_sets,
    find_results,
    named_folders,
)
from dec_kernels.trainer.data.sources import MEAN
from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.files import require_folder, write_json
from dec_kernels.trainer.lpips import LPIPS, SMALLEST
from dec_kernels.trainer.metrics import border_of, measure
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.pixels import to_uint8
from dec_kernels.trainer.ranges import NonNegativeInt, PositiveInt, Scale, check_arguments
from dec_kernels.trainer.samples import Crop, Sample, draw_samples
from dec_kernels.trainer.tables import Figures, Summary, metrics_table, summarize, table_title, write_lines

_CROPS = 4  # to choose, where none is named
_SSIM_WINDOW = 11  # pixels; `measure` needs as many


class Shown(NamedTuple):
    """A crop that is shown.

    Attributes:
        crop: where it is.
        sample: its tile of each method, and of the ground truth.
        difference: how much the methods differ there, see `most_different`; None for a crop that was chosen by hand.
    """

    crop: Crop
    sample: Sample
    difference: float | None


class Comparison(NamedTuple):
    """What came of a comparison.

    Attributes:
        summaries: data set -> the figures of each method and image, and their means.
        shown: the crops, in the order of the picture.
        notes: what the user should know about the files.
        border: pixels at each side that PSNR and SSIM leave out.
    """

    summaries: dict[str, Summary]
    shown: list[Shown]
    notes: list[str]
    border: int


def compare(
    hr: Sequence[str],
    methods: Sequence[str],
    scale: Scale = 4,
    lpips: str | Path | None = None,
    crop: Sequence[str] = (),
    crops: int | None = None,
    crop_size: PositiveInt = 96,
    out: str | Path | None = None,
    blind: str | Path | None = None,
    seed: NonNegativeInt = 0,
) -> Comparison:
    """Measures methods by the images that they made; writes the table, the picture and the page of a user study.

    Memory holds one image of all methods at a time, and the crops.

    Args:
        hr: a folder of high-resolution images; or SET=DIR for each of several data sets. Results of a data set that has
            a name lie in the subfolder SET of each method's folder.
        methods: NAME=DIR for each method: the folder of its results. `baby.png`, `babyx4.png`, `baby_NAME.png` and
            `babyx4_NAME.png` are results for `baby.png` at scale 4.
        scale: images are cropped to multiples of it; and as many pixels are left out at each border, but none at 1.
        lpips: file of AlexNet's weights, alexnet-owt-7be5be79.pth; without it, LPIPS is not measured.
        crop: IMAGE:top,left,size for each crop that is chosen by hand, in HR pixels. Where there are several data sets,
            IMAGE is SET/NAME.
        crops: how many crops to choose where the methods differ most, behind those of `crop`. None is 4 without `crop`
            and 0 with it.
        crop_size: height and width of these crops, in HR pixels.
        out: folder for table.csv, images.csv, comparison.json and crops.png.
        blind: file of the HTML page to write, on which people rank the methods; the key goes beside it.
        seed: of the page's random order.

    Returns:
        The figures and the crops.

    Raises:
        ComparisonError: the results cannot be compared, or a crop does not exist.
        FileExistsError: the page of `blind` or its key exists already: answers to it would lose their key.
        FileNotFoundError: a folder holds no image, or there are no such weights.
        UnreadableImageError: a file cannot be decoded.
        ValueError: a number is out of its range, or `out` or `blind` cannot be written to.
    """
    check_arguments(compare, locals())
    chosen = [parse_crop(text) for text in crop]
    crops = (0 if chosen else _CROPS) if crops is None else crops
    side = SMALLEST if lpips else _SSIM_WINDOW
    require_at_least(0, crops=crops)
    require_at_least(side, crop_size=crop_size)
    if chosen and out is None and blind is None:
        raise ComparisonError("--crop: without --out and --blind there is nothing that shows crops")
    folders = named_folders(methods, "a method")
    if blind is not None:
        check_page(Path(blind), len(folders), crops + len(chosen))
    sets, subfolders = data_sets(hr)
    if out is not None:
        require_folder(Path(out), "--out")
    network = LPIPS(lpips) if lpips else None
    border = border_of(scale)
    entries, notes = find_results(sets, folders, subfolders, scale, smallest=2 * border + side)
    labels = [entry.name if len(sets) == 1 else f"{entry.data_set}/{entry.name}" for entry in entries]
    check_crops(chosen, {label: entry.size for label, entry in zip(labels, entries, strict=True)}, side)

    figures: dict[str, Figures] = {name: {method: {} for method in folders} for name in sets}
    by_hand: dict[Crop, Shown] = {}
    found: list[tuple[int, float, Shown]] = []
    for label, entry in _with_progress(labels, entries):
        truth, images = _read(entry)
        for method, image in images.items():
            figures[entry.data_set][method][entry.name] = measure(image, truth, border, network)
        for square in chosen:
            if square.image == label:
                by_hand[square] = _cut(square, truth, images, None)
        if out is not None or blind is not None:
            rivals = [*images.values()] if len(images) > 1 else [*images.values(), truth]
            for place, (difference, *where) in enumerate(most_different(rivals, crop_size, border, crops)):
                # The best of every image come before the second best of any.
                found.append((place, -difference, _cut(Crop(label, *where), truth, images, difference)))
            found = sorted(found, key=lambda each: each[:2])[:crops]
    summaries = {name: summarize(rows) for name, rows in figures.items()}
    shown = [by_hand[square] for square in chosen] + [each for *_, each in found]
    comparison = Comparison(summaries, shown, notes, border)
    if out is not None:
        _write(Path(out), comparison, sets, folders, scale, network)
    if blind is not None:
        write_page(Path(blind), [(each.crop, each.sample) for each in shown], seed)
    return comparison


def _with_progress(labels: Sequence[str], entries: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=rich.get_console(), transient=True) as progress:
        task = progress.add_task("", total=len(entries), speed="")
        for done, each in enumerate(zip(labels, entries, strict=True), start=1):
            yield each
            progress.update(task, completed=done, speed=f"{done / (time.monotonic() - started):.2f} images/s")


def _read(entry: Entry) -> tuple[Tensor, dict[str, Tensor]]:
    """The ground truth and each method's result: (3, H, W) uint8."""
    height, width = entry.size

    def read(path: Path) -> Tensor:
        return to_uint8(read_image(path))[:, :height, :width]

    return read(entry.hr), {method: read(path) for method, path in entry.results.items()}


def _cut(crop: Crop, truth: Tensor, images: dict[str, Tensor], difference: float | None) -> Shown:
    label, top, left, size = crop
    window = (slice(None), slice(top, top + size), slice(left, left + size))
    # Copies, so that the whole images do not stay in memory.
    tiles = {name: image[window].clone() for name, image in {**images, GROUND_TRUTH: truth}.items()}
    return Shown(crop, Sample(label, tiles), difference)


def comparison_table(comparison: Comparison) -> Any:
    """The means of each data set for the terminal, the best of each in bold; and what is left out of them."""
    means: Figures = {}
    notes: list[str] = []
    for data_set, (figures, left, sentences) in comparison.summaries.items():
        count = next(iter(left.values()))["images"]
        label = f"{data_set} ({count} image{'s' if count > 1 else ''})"
        for method, rows in figures.items():
            means.setdefault(method, {})[label] = rows[MEAN]
        notes += [f"{data_set}: {sentence}" for sentence in sentences]
    return metrics_table(means, table_title("Means", comparison.border), notes, heading="data set")


def _write(
    out: Path,
    comparison: Comparison,
    sets: dict[str, Path],
    folders: dict[str, Path],
    scale: int,
    network: LPIPS | None,
) -> None:
    images, means = [], []
    record: dict[str, Any] = {}
    for data_set, (figures, left, _) in comparison.summaries.items():
        record[data_set] = {"hr": printable(sets[data_set]), "methods": {}}
        for method, rows in figures.items():
            within = {"data_set": data_set, "method": method}
            images += [within | {"image": name} | row for name, row in rows.items() if name != MEAN]
            means.append(within | {"images": left[method]["images"]} | rows[MEAN])
            record[data_set]["methods"][method] = {
                "mean": rows[MEAN],
                "left_out": left[method],
                "images": {name: row for name, row in rows.items() if name != MEAN},
            }
    write_lines(out / "images.csv", images)
    write_lines(out / "table.csv", means)
    content = {
        "scale": scale,
        "border": comparison.border,
        "methods": {method: printable(folder) for method, folder in folders.items()},
        "data_sets": record,
        "crops": [{**each.crop._asdict(), "difference": each.difference} for each in comparison.shown],
        "notes": comparison.notes,
    }
    write_json(out / "comparison.json", content)
    if comparison.shown:
        draw_samples(out / "crops.png", [each.sample for each in comparison.shown], network)


def _say(message: str) -> None:
    print(f"dec-train compare: {message}", file=sys.stderr)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `dec-train compare`: 0 if all is well, 2 if the results cannot be compared."""
    parser = SuggestingParser(
        prog="dec-train compare", description="Measure the results of several methods, and show where they differ."
    )
    parser.add_argument("methods", nargs="+", type=str, metavar="NAME=DIR", help="a method and its folder of results")
    parser.add_argument(
        "--hr",
        action="append",
        type=str,
        required=True,
        metavar="DIR or SET=DIR",
        help="folder of high-resolution images; again for each of several data sets, whose results then lie in DIR/SET",
    )
    parser.add_argument(
        "--crop",
        action="append",
        type=str,
        default=[],
        metavar="IMAGE:top,left,size",
        help="a crop to show, in HR pixels; again for each",
    )
    parser.add_function_arguments(compare, as_group=False, skip={"hr", "methods", "crop"})
    settings = parser.parse_args(argv)
    try:
        comparison = compare(**vars(settings))
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        _say(str(error))
        return 2
    rich.print(comparison_table(comparison))
    for note in comparison.notes:
        _say(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
