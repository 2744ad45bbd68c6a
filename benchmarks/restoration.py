"""Measures what trained networks of scale 1 make of their config's validation images, whole and in tiles.

    dec-train fit --config denoise_small
    dec-train fit --config denoise_small --out runs/denoise_small_dec \\
        --model.dec dec_kernels.DECLoss --model.dec.patch_size 8 --model.dec_weight 3
    python -m benchmarks.restoration runs/denoise_small runs/denoise_small_dec

prints a table, and writes restoration.json and restoration.png to benchmarks/results/.
"""

import argparse
import csv
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from benchmarks import machine
from benchmarks.compare import RESULTS
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.checkpoints import LAST
from dec_kernels.trainer.cli import TrainerCLI
from dec_kernels.trainer.data import ImagePairs
from dec_kernels.trainer.lpips import LPIPS
from dec_kernels.trainer.metrics import measure
from dec_kernels.trainer.models import load_weights
from dec_kernels.trainer.module import SuperResolution
from dec_kernels.trainer.samples import INPUT, baseline, cut_sample, draw_samples
from dec_kernels.trainer.tables import metrics_table, summarize

TILE, OVERLAP = 256, 32  # of `dec-train predict`, if nothing else is said
CROP = 112
PLACES = {"chelsea": (80, 110), "coffee": (230, 300)}  # where the picture shows the photographs: top and left


def trained(run: Path) -> tuple[str, SuperResolution, ImagePairs]:
    """A run's name by its weight of DECLoss, its network with the last weights, and its validation images."""
    cli = TrainerCLI(["--config", str(run / "config.yaml"), "--trainer.logger=false"], run=False)
    model: SuperResolution = cli.model
    load_weights(model.generator, run / LAST)
    model.eval()
    cli.datamodule.setup("validate")
    dec = f" + {model.term_weights['dec']:g} DECLoss" if model.dec else ""
    return f"{type(model.generator).__name__}{dec}", model, cli.datamodule.pairs["val"]


def restore(model: SuperResolution, lr: Tensor, tile: int | None) -> Tensor:
    model.tile, model.overlap = tile, OVERLAP
    return model.upscale_image(lr)


def pull_of_dec(run: Path, pixel: str) -> float:
    """How hard DECLoss pulled at the output compared with the pixel loss: the ratio of their mean gradient norms."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/dec_pull"]]
    dec, other = (math.fsum(float(row[f"train/{name}_pull"]) for row in rows) for name in ("dec", pixel))
    return dec / other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="folder of a run of `dec-train fit`")
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS)
    parser.add_argument("--lpips", metavar="FILE", type=Path, help="AlexNet's weights; without, no LPIPS is measured")
    given = parser.parse_args()

    lpips = None if given.lpips is None else LPIPS(given.lpips)
    images: dict[str, dict[str, Tensor]] = {}
    pulls: dict[str, float] = {}
    for run in given.runs:
        name, model, pairs = trained(run)
        images[INPUT] = {pair.name: baseline(pair)[1] for pair in pairs}
        images[name] = {pair.name: restore(model, pair.lr, None) for pair in pairs}
        images[f"{name}, tiles"] = {pair.name: restore(model, pair.lr, TILE) for pair in pairs}
        if model.dec is not None:
            pulls[name] = pull_of_dec(run, model.pixel)
    figures = summarize(
        {
            method: {pair.name: measure(of_method[pair.name], pair.hr, 0, lpips) for pair in pairs}
            for method, of_method in images.items()
        }
    ).figures
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.restoration"),
        "tile": {"side": TILE, "overlap": OVERLAP},
        "pull_of_dec": pulls,
        "figures": figures,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "restoration.json").write_text(to_json(results))
    whole = {method: of_method for method, of_method in images.items() if not method.endswith(", tiles")}
    draw_samples(
        given.out / "restoration.png",
        [
            cut_sample(
                pair,
                {method: image[pair.name] for method, image in whole.items()},
                *PLACES.get(pair.name, (0, 0)),
                CROP,
            )
            for pair in pairs
        ],
    )
    Console(width=120).print(metrics_table(figures, "PSNR in dB; every pixel measured"))


if __name__ == "__main__":
    main()
