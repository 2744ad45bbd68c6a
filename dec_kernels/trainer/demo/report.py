"""What came of the demo's trainings: tables, figures and pictures."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from dec_kernels.coo import examine
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.data import Pair
from dec_kernels.trainer.demo.pictures import draw_curves, draw_grid, pull_maps, pull_ratio
from dec_kernels.trainer.demo.stages import PRETRAIN, WITH_DEC, WITHOUT_DEC, Stage
from dec_kernels.trainer.files import write_json
from dec_kernels.trainer.lpips import LPIPS, URL
from dec_kernels.trainer.metrics import border_of, measure, psnr_y
from dec_kernels.trainer.models.pretrained import cached
from dec_kernels.trainer.samples import BICUBIC, Crop, bicubic
from dec_kernels.trainer.sharpness import amount_at_psnr, gradient_energy, unsharp_mask
from dec_kernels.trainer.tables import metrics_table, summarize

Images = dict[str, Tensor]  # photograph -> (3, H, W) uint8
Results = dict[str, Images]  # method -> images

MASK = "L1, unsharp mask"
PULL = "where DECLoss pulls"
WITHOUT_LPIPS = (
    f"LPIPS was left out. To have it measured, get {URL} and give its path as --lpips, or put the file into "
    f"{cached(URL).parent}."
)

CROPS = (
    Crop("chelsea", top=68, left=116, size=96),
    Crop("chelsea", top=196, left=204, size=96),
    Crop("coffee", top=236, left=316, size=96),
    Crop("coffee", top=60, left=340, size=96),
)


class Control(NamedTuple):
    """L1's output through the strongest unsharp mask that leaves it at L1 + DECLoss's PSNR or more."""

    images: Images
    amount: float


def report(
    out: Path,
    trained: Mapping[Stage, TrainerCLI],
    interrupted: bool,
    started: float,
    lpips: LPIPS | None,
    console: Console,
) -> None:
    """Measures the networks on the held-out photographs; prints the tables, writes the JSON and the pictures.

    Args:
        out: the folder of the run.
        trained: of each stage that made a step.
        interrupted: whether stages or steps are missing.
        started: `time.monotonic()` at the start of the run.
        lpips: the perceptual distance, or None to leave it out.
        console: where to print.
    """
    pairs = trained[PRETRAIN].datamodule.pairs["val"]
    results: Results = {BICUBIC: {pair.name: bicubic(pair) for pair in pairs}}
    for stage, cli in trained.items():
        results[stage.name] = {pair.name: cli.model.upscale_image(pair.lr) for pair in pairs}
    maps, more, remarks = {}, {}, [] if lpips is not None else [WITHOUT_LPIPS]
    if WITH_DEC in trained:
        l1, dec = results[WITHOUT_DEC.name], results.pop(WITH_DEC.name)
        control = control_of(l1, dec, pairs)
        results |= {MASK: control.images, WITH_DEC.name: dec}
        maps = {PULL: pull_maps(trained[WITH_DEC].model.dec, l1, pairs)}
        more = {"unsharp_amount": control.amount, "dec_pull": pull_ratio(out / WITH_DEC.folder / "metrics.csv")}
        remarks += [
            f"{MASK}: of the amount {control.amount:.2f}, the largest with which PSNR Y is no lower than with DECLoss.",
            f"DECLoss pulled at the output {more['dec_pull']:.2f} times as hard as L1 while it trained.",
        ]
    figures, left_out, notes = summarize(
        {
            method: {pair.name: measure(images[pair.name], pair.hr, border_of(pair.scale), lpips) for pair in pairs}
            for method, images in results.items()
        }
    )
    sharpness = sharpness_of(results, pairs)
    branches = [name for name in (WITHOUT_DEC.name, MASK, WITH_DEC.name) if name in results] or [PRETRAIN.name]
    draw_grid(out / "samples.png", CROPS, pairs, results, [BICUBIC, *branches], maps, lpips)
    logs = {stage.name: (out / stage.folder / "metrics.csv", _first_step(stage, trained)) for stage in trained}
    draw_curves(out / "curves.png", logs, figures[BICUBIC]["mean"]["psnr_y"])
    console.print(metrics_table(figures, notes=notes))
    console.print(sharpness_table(sharpness))
    for remark in remarks:
        console.print(Text(remark))
    content = {
        "interrupted": interrupted,
        "steps": {stage.name: cli.trainer.global_step for stage, cli in trained.items()},
        "figures": figures,
        "left_out": left_out,
        "sharpness": sharpness,
        **more,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(out / "metrics.json", content)
    # As text, since the folder's name may hold brackets.
    console.print(Text(f"{content['seconds']:.0f} s. Pictures, figures, logs and weights are in {out}:"))
    for path in sorted(out.iterdir()):
        console.print(Text(f"  {path.name}{'/' if path.is_dir() else ''}"))


def control_of(l1: Images, dec: Images, pairs: Sequence[Pair]) -> Control:
    """The control of DECLoss: what a mask makes of L1's images for the same PSNR."""
    psnr = fmean(psnr_y(dec[pair.name], pair.hr, border_of(pair.scale)) for pair in pairs)
    amount = amount_at_psnr(l1, pairs, psnr)
    return Control({name: unsharp_mask(image, amount) for name, image in l1.items()}, amount)


def sharpness_of(results: Results, pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Of each method, means over the images: gradient energy, relative to HR's, and the over-smoothing score."""
    problem = examine([pair.hr for pair in pairs], pairs[0].scale)
    found = {}
    for method, images in results.items():
        energies = [gradient_energy(images[pair.name]) / gradient_energy(pair.hr) for pair in pairs]
        scores = problem.score([images[pair.name] for pair in pairs]).image_scores
        found[method] = {"gradient_energy": fmean(energies), "over_smoothing": scores.mean().item()}
    return found


def sharpness_table(found: Mapping[str, Mapping[str, float]]) -> Table:
    """`sharpness_of` for the terminal."""
    table = Table(title="Sharpness, means of the photographs", title_justify="left")
    table.add_column("method")
    table.add_column("gradient energy (HR: 1)", justify="right")
    table.add_column("over-smoothing (HR: 0)", justify="right")
    for method, figures in found.items():
        table.add_row(method, f"{figures['gradient_energy']:.3f}", f"{figures['over_smoothing']:.3f}")
    return table


def _first_step(stage: Stage, trained: Mapping[Stage, TrainerCLI]) -> int:
    return 0 if stage is PRETRAIN else trained[PRETRAIN].trainer.global_step
