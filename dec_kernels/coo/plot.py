"""Draws the counterparts of Fig. 3 on the user's images, and the maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from dec_kernels.coo.facts import Facts
from dec_kernels.coo.groups import LEVELS
from dec_kernels.coo.linear import split
from dec_kernels.coo.photographs import Photo
from dec_kernels.coo.problem import CenterProblem, OverSmoothing
from dec_kernels.coo.tables import levels

BLUE, ORANGE = "#0072B2", "#D55E00"  # of Okabe and Ito's palette, which the colour-blind tell apart
_SHOWN = 4000  # points of a scatter plot
_LEAST = 1e-3  # gray levels: what is less is shown as this, since scales are logarithmic
_WINDOW = 16  # patches: the side of what is shown of an image


def draw(facts: Facts, problem: CenterProblem, score: OverSmoothing | None, photos: Sequence[Photo], out: Path) -> None:
    """Writes `coo.png` and, in `maps/`, the map of each image."""
    values = problem.groups.spread.sqrt() if score is None else score.place
    maps = [_to_levels(one, problem) if score is None else one.numpy() for one in problem.maps(values)]
    folder = out / "maps"
    folder.mkdir(exist_ok=True)
    for i, (photo, values_of_it) in enumerate(zip(photos, maps, strict=True)):
        picture = _picture(photo.hr, problem.shapes[i])
        figure = Figure(figsize=(8, 1 + 7 * picture.shape[0] / picture.shape[1]), dpi=100, layout="constrained")
        _draw_map(figure.subplots(), picture, values_of_it, problem, score is not None, _titled(facts, i))
        figure.savefig(folder / f"{i:03d}_{Path(photo.name).name}.png", format="png")
    _draw_figure(facts, problem, score, photos, maps, out / "coo.png")


def _draw_figure(
    facts: Facts,
    problem: CenterProblem,
    score: OverSmoothing | None,
    photos: Sequence[Photo],
    maps: Sequence[np.ndarray],
    path: Path,
) -> None:
    figure = Figure(figsize=(14, 8.4), dpi=100, layout="constrained")
    curves, pictures = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))[:, 0]
    length, entropy, distance = curves.subplots(1, 3)
    _draw_length(length, facts, problem)
    _draw_entropy(entropy, facts, problem)
    _draw_distance(distance, facts)
    shown = _most_smoothed(facts)
    picture = _picture(photos[shown].hr, problem.shapes[shown])
    axes = pictures.subplots(1, 4)
    top, left, size = _window(problem, shown)
    for axis, (title, image) in zip(axes, _pictures(problem, shown, photos[shown], picture).items(), strict=False):
        axis.imshow(image[top : top + size, left : left + size])
        axis.set_title(title, fontsize=10, loc="left")
    _draw_map(axes[-1], picture, maps[shown], problem, score is not None, _titled(facts, shown))
    axes[-1].add_patch(Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor="black", linewidth=1.5))
    for axis in axes:
        axis.set_axis_off()
    side, scale, threshold = (facts["settings"][name] for name in ("patch_size", "scale", "threshold"))
    title = (
        f"{facts['measured']:,} patches of {side} x {side} pixels, x{scale}; groups from {threshold:g} dB PSNR in LR"
    )
    curves.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, format="png")


def _draw_length(axes: Axes, facts: Facts, problem: CenterProblem) -> None:
    groups = problem.groups
    sizes_of_some, lengths_of_some = _some(groups.size.numpy(), _to_levels(groups.length, problem).clip(_LEAST))
    axes.scatter(sizes_of_some, lengths_of_some, s=3, color="#BBBBBB", linewidths=0)
    sizes = [one["size"] for one in facts["by_size"]]
    for key, style, label in (
        ("length_square", "o-", "L, mean of groups of like size"),
        ("expected_length_square", "--", "√(tr Σ / (N - 1)): the null parts have mean 0"),
    ):
        squares = [one[key] for one in facts["by_size"]]  # type: ignore[literal-required]
        color = BLUE if style == "o-" else "black"
        lengths = [max(levels(each, facts["values"]), _LEAST) for each in squares]
        axes.plot(sizes, lengths, style, color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _style(axes, "Theorem 1: L = |center - D⁺Iₓ| over N", "N, patches in a group", "L, gray levels (rms)")
    _mark_theta(axes, facts)
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def _draw_entropy(axes: Axes, facts: Facts, problem: CenterProblem) -> None:
    groups, theta = problem.groups, facts["settings"]["theta"]
    small, large = groups.size < theta, ~groups.shrinkage.isnan()
    axes.plot(groups.size[small].unique(), groups.size[small].unique().double().log(), "o-", color=BLUE, markersize=3)
    axes.set_xscale("log")
    _style(axes, "Entropy of a group", "N, patches in a group", f"log N (N < Θ = {theta}), nats")
    axes.yaxis.label.set_color(BLUE)
    axes.set_ylim(bottom=0)
    other = axes.twinx()
    other.scatter(groups.size[large], groups.entropy[large], s=10, color=ORANGE, alpha=0.7, linewidths=0)
    other.set_ylabel("Gaussian (N ≥ Θ), nats", color=ORANGE)
    other.spines[["top"]].set_visible(False)
    other.tick_params(length=0)
    _mark_theta(axes, facts)


def _draw_distance(axes: Axes, facts: Facts) -> None:
    bins = facts["by_spread"]
    spreads = [levels(one["spread"], facts["values"]) for one in bins]
    for key, color, label in (
        ("square_distance", BLUE, "HR patch to center"),
        ("square_error", ORANGE, "output to HR patch"),
    ):
        squares = [one[key] for one in bins]  # type: ignore[literal-required]
        if None not in squares:
            axes.plot(
                spreads,
                [levels(each, facts["values"]) for each in squares],
                "o",
                color=color,
                label=label,
                markersize=5,
            )
    positive = [each for each in spreads if each > 0]
    if positive:
        axes.plot(positive, positive, "--", color="black", linewidth=1, label="E[L] = tr Σ")
        axes.set_xscale("log")
        axes.set_yscale("log")
    _style(axes, "Theorem 2: distances over tr Σ", "√tr Σ, gray levels (rms)", "√E[L], gray levels (rms)")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _pictures(problem: CenterProblem, shown: int, photo: Photo, hr: np.ndarray) -> dict[str, np.ndarray]:
    """Title -> picture: HR, the centers, and the output or, without one, the blurriest point."""
    offsets = problem.maps(problem.groups.to_center)[shown].numpy()
    rows, columns = offsets.shape[:2]
    side, channels = problem.settings.patch, problem.shapes[shown][0]
    blocks = offsets.reshape(rows, columns, channels, side, side).transpose(0, 3, 1, 4, 2)
    centers = hr.copy()
    centers[: rows * side, : columns * side] += np.nan_to_num(blocks.reshape(rows * side, columns * side, channels))
    if photo.sr is not None:
        last = "output (SR)", _picture(photo.sr, problem.shapes[shown])
    else:
        blurriest = split(_cut(photo.hr, problem.shapes[shown]), problem.settings.scale).range
        last = "D⁺Iₓ, the blurriest point", blurriest.permute(1, 2, 0).numpy()
    return {"HR": hr, "centers of the groups": centers.clip(0, 1), last[0]: last[1].clip(0, 1)}


def _window(problem: CenterProblem, shown: int) -> tuple[int, int, int]:
    """Top, left and side of the square where HR and the centers differ most, in pixels."""
    squares = problem.maps(problem.groups.to_center.square().sum(1))[shown].nan_to_num()
    rows, columns = squares.shape
    side = min(_WINDOW, rows, columns)
    top, left = divmod(int(F.avg_pool2d(squares[None], side, stride=1).argmax()), columns - side + 1)
    patch = problem.settings.patch
    return patch * top, patch * left, patch * side


def _draw_map(axes: Axes, hr: np.ndarray, values: np.ndarray, problem: CenterProblem, scored: bool, title: str) -> None:
    """Values of the patches over the gray image, which is seen where there is no value."""
    axes.imshow(hr.mean(-1), cmap="gray", vmin=0, vmax=1)
    side = problem.settings.patch
    rows, columns = values.shape
    extent = (-0.5, columns * side - 0.5, rows * side - 0.5, -0.5)
    picture = axes.imshow(
        np.ma.masked_invalid(values),
        cmap="RdYlBu_r" if scored else "viridis",
        vmin=0,
        vmax=1 if scored else None,
        extent=extent,
        interpolation="nearest",
    )
    label = "0: HR, 1: center" if scored else "√tr Σ, gray levels (rms)"
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(picture, ax=axes, shrink=0.8, label=label, extend="both" if scored else "neither")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.set_axis_off()


def _titled(facts: Facts, i: int) -> str:
    image = facts["images"][i]
    if image["informative"] is None:
        return f"{image['name']}: uncertainty"
    return f"{image['name']}: " + ("no informative patch" if image["score"] is None else f"score {image['score']:.2f}")


def _most_smoothed(facts: Facts) -> int:
    """The image with the highest score, or with the most uncertainty where there are no scores."""
    images = facts["images"]
    key = "spread" if facts["score"] is None else "score"
    return max(range(len(images)), key=lambda i: -math.inf if images[i][key] is None else images[i][key])  # type: ignore


def _cut(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    return image[:, : shape[1], : shape[2]].double() / torch.iinfo(image.dtype).max


def _picture(image: Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    """(H, W, C) in [0, 1]."""
    return _cut(image, shape).permute(1, 2, 0).numpy()


def _to_levels(distance: Tensor, problem: CenterProblem) -> np.ndarray:
    return (LEVELS * distance / math.sqrt(problem.hr.shape[1])).numpy()


def _some(*columns: np.ndarray) -> list[np.ndarray]:
    step = max(1, len(columns[0]) // _SHOWN)
    return [column[::step] for column in columns]


def _mark_theta(axes: Axes, facts: Facts) -> None:
    axes.axvline(facts["settings"]["theta"], color="#555555", linestyle=":", linewidth=1)


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
