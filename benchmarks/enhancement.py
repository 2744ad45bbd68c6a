"""Measures what the paper's high-frequency enhancement (Appendix B) does to images and to the gradients of losses.

    python -m benchmarks.enhancement

prints a table, and writes enhancement.json and enhancement.png to benchmarks/results/.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from skimage import data
from torch import Tensor

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.spectrum import lr_lacks
from benchmarks.workload import CROP, SCALE, images, to_8_bits
from dec_kernels import dec_loss
from dec_kernels.jsontext import to_json
from dec_kernels.trainer.enhance import FrequencyEnhancement

N, PATCH_SIZE = 4096, 8
MUS = (24.0, 32.0, 48.0, 64.0, 96.0, 128.0)
SHOWN = (32.0, 48.0, 64.0, 128.0)
# Without black areas, in which the few pixels that differ from black hold most of DECLoss's gradient.
PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "immunohistochemistry")
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "L1": F.l1_loss,
    "DECLoss": lambda sr, hr: dec_loss(sr, hr, PATCH_SIZE),
}
# Okabe and Ito's palette, which colour-blind people can tell apart.
COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#009E73")

Results = Mapping[str, Any]


def measure(n: int, mus: Sequence[float | None]) -> list[dict[str, Any]]:
    """A record for each mu; None is without enhancement."""
    sr, hr = images(n, PATCH_SIZE, photographs=PHOTOGRAPHS)
    sr = to_8_bits(sr)
    records = []
    for mu in mus:
        enhance = torch.nn.Identity() if mu is None else FrequencyEnhancement(mu=mu)
        enhanced = enhance(hr)
        record: dict[str, Any] = {"mu": mu, "lowest": enhanced.min().item(), "highest": enhanced.max().item()}
        record["largest_factor"] = 1.0 if mu is None else enhance.kernel(*hr.shape[-2:]).max().item()
        for name, loss in LOSSES.items():
            images_of_it = sr.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(enhance(images_of_it), enhanced), images_of_it)
            record[name] = {"gradient_norm": gradient.norm().item(), "share_beyond_lr": share_beyond_lr(gradient)}
        records.append(record)
    return records


def share_beyond_lr(gradient: Tensor) -> float:
    """The part of a gradient's energy at frequencies that the low-resolution images cannot hold."""
    energy = torch.fft.fft2(gradient.double()).abs().square().sum((0, 1))
    return (energy[lr_lacks(*energy.shape, SCALE)].sum() / energy.sum()).item()


def draw(results: Results, path: Path) -> None:
    """A photograph in several forms; the factors; and the gradients of the losses."""
    figure = Figure(figsize=(11, 7.2), dpi=100, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1.25))
    photograph = torch.from_numpy(data.chelsea()[60 : 60 + CROP, 150 : 150 + CROP].copy()).permute(2, 0, 1) / 255
    forms = [None, *reversed(SHOWN[1:])]
    for axis, mu in zip(top.subplots(1, len(forms)), forms, strict=True):
        shown = photograph if mu is None else FrequencyEnhancement(mu=mu)(photograph)
        axis.imshow(shown.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(f"{CROP} x {CROP} pixels of a photograph" if mu is None else f"μ = {mu:g}", fontsize=10)
        axis.set_axis_off()
    left, right = bottom.subplots(1, 2)
    _draw_factors(left)
    _draw_shares(right, results)
    figure.savefig(path)


def _draw_factors(axis: Axes) -> None:
    frequencies = torch.arange(CROP // 2 + 1)
    for mu, colour in zip(SHOWN, COLOURS, strict=True):
        kernel = FrequencyEnhancement(mu=mu).kernel(CROP, CROP)
        axis.plot(frequencies / CROP, kernel.diag()[: len(frequencies)], color=colour, label=f"μ = {mu:g}")
        axis.plot(frequencies / CROP, kernel[0, : len(frequencies)], "--", color=colour)
    axis.axvline(0.5 / SCALE, color="#999999", linewidth=1, label="the highest that LR images hold")
    axis.set_yscale("log")
    axis.set_ylim(0.8, 400)  # the legend above the lines
    axis.set_xlabel("frequency in rows and columns (solid), in columns alone (dashed), cycles a pixel", fontsize=9)
    axis.set_ylabel("factor")
    _finish(axis, f"Factors for {CROP} x {CROP} pixels; the mean keeps its value", columns=3)


def _draw_shares(axis: Axes, results: Results) -> None:
    plain, *enhanced = results["records"]
    for name, colour in zip(LOSSES, COLOURS[1:], strict=False):
        shares = [100 * r[name]["share_beyond_lr"] for r in enhanced]
        axis.plot([r["mu"] for r in enhanced], shares, "o-", color=colour, label=name)
        axis.axhline(100 * plain[name]["share_beyond_lr"], color=colour, linestyle="--", label=f"{name}, not enhanced")
    axis.set_xlabel("μ")
    axis.set_ylabel("% of the gradient's energy")
    axis.set_ylim(0, 102)
    _finish(axis, "Gradient at frequencies that LR images cannot hold")


def _finish(axis: Axes, title: str, columns: int = 1) -> None:
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, ncols=columns)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def table(results: Results) -> Table:
    """The figures of a run, given the content of enhancement.json."""
    result = Table(title=f"Enhancement, n = {results['n']}, photographs", box=box.SIMPLE_HEAD)
    for heading in (
        "mu",
        "largest factor",
        "range of HR",
        *(f"{name} {part}" for name in LOSSES for part in ("|g|", "%")),
    ):
        result.add_column(heading)
    for r in results["records"]:
        cells = [str(r["mu"]), f"{r['largest_factor']:.3g}", f"{r['lowest']:.2f} to {r['highest']:.2f}"]
        for name in LOSSES:
            cells += [f"{r[name]['gradient_norm']:.2e}", f"{100 * r[name]['share_beyond_lr']:.1f}"]
        result.add_row(*cells)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS)
    parser.add_argument("--n", type=int, default=N, help=f"patches; default: {N}")
    given = parser.parse_args()
    results = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.enhancement"),
        "workload": {
            "hr": f"float32 crops of scikit-image's {', '.join(PHOTOGRAPHS)}",
            "sr": "the x4 bicubic reconstruction, rounded to 8 bits",
            "share_beyond_lr": "of the gradient's energy, at frequencies above 1/8 cycles a pixel in rows or columns",
        },
        "n": given.n,
        "records": measure(given.n, (None, *MUS)),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "enhancement.json").write_text(to_json(results))
    draw(results, given.out / "enhancement.png")
    Console(width=120).print(table(results))


if __name__ == "__main__":
    main()
