"""Measures how exact the loss by landmarks is, against the exact loss in float64.

    python -m benchmarks.landmarks

trains a small network for a minute, prints tables, and writes landmarks.json and landmarks.png to benchmarks/results/.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.competitors import T_NEG
from benchmarks.workload import SCALE, images, to_8_bits
from dec_kernels import dec_loss
from dec_kernels.jsontext import to_json

N, STEPS, PATCH_SIZE = 4096, 400, 8
COUNTS = (32, 64, 128, 256, 512, 1024)
PRESETS = ("ieee", "bf16")
PATCH_SIZES = (4, 8, 16)
T_NEGS = (0.2, 0.5, 1.0, 1.5, 2.0)  # with the temperature inside
SIGMA = 0.1
KINDS = {
    "bicubic": "the x4 bicubic reconstruction",
    "trained": "that of a small RRDBNet, after a short training with L1",
    "noisy": f"HR with Gaussian noise, sigma = {SIGMA}",
    "uniform": "uniform noise",
}
# Okabe and Ito's palette, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")

Network = Callable[[Tensor], Tensor]
Results = Mapping[str, Any]
Record = Mapping[str, Any]


class Case(NamedTuple):
    """Images and arguments.

    Attributes:
        sr: what the SR images are, of `KINDS`.
        n: patches.
        patch_size: P, in pixels.
        temperature, t_neg: arguments of the loss.
    """

    sr: str = "bicubic"
    n: int = N
    patch_size: int = PATCH_SIZE
    temperature: str = "outside"
    t_neg: float = T_NEG


def cases(n: int) -> list[Case]:
    """Every kind of images with every size of patches and with every temperature inside, and bicubic ones over n."""
    sizes = [Case(kind, n, patch_size) for kind in KINDS for patch_size in PATCH_SIZES]
    inside = [Case(kind, n, PATCH_SIZE, "inside", t_neg) for kind in KINDS for t_neg in T_NEGS]
    return [*sizes, *inside, *(Case(n=number) for number in (n // 4, n // 2, 2 * n, 4 * n))]


def measure(chosen: Sequence[Case], network: Network) -> Iterator[dict[str, Any]]:
    """For each case a record of each number of landmarks, and of the presets without landmarks."""
    for case in chosen:
        sr, hr = _images(case, network)
        true = _evaluate(sr.double(), hr.double(), case, None, "ieee")
        for landmarks, precision in (*((m, "ieee") for m in COUNTS), *((None, preset) for preset in PRESETS)):
            found = _evaluate(sr, hr, case, landmarks, precision)
            yield {**case._asdict(), "landmarks": landmarks, "precision": precision, "errors": _errors(found, true)}


def _images(case: Case, network: Network) -> tuple[Tensor, Tensor]:
    sr, hr = images(case.n, case.patch_size)
    generator = torch.Generator().manual_seed(0)
    if case.sr == "trained":
        lr = F.interpolate(hr, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
        with torch.no_grad():
            sr = torch.cat([network(batch) for batch in lr.split(16)]).clamp(0, 1)
    elif case.sr == "noisy":
        sr = (hr + SIGMA * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    elif case.sr == "uniform":
        sr = torch.rand(hr.shape, generator=generator)
    return to_8_bits(sr), hr


class Evaluation(NamedTuple):
    """log(Qneg / Qpos) of every patch, and the gradient of their mean with respect to SR."""

    losses: Tensor
    gradient: Tensor


def _evaluate(sr: Tensor, hr: Tensor, case: Case, landmarks: int | None, precision: str) -> Evaluation:
    sr = sr.detach().requires_grad_()
    losses = dec_loss(
        sr,
        hr,
        case.patch_size,
        temperature=case.temperature,
        t_neg=case.t_neg,
        reduction="none",
        precision=precision,
        backend="cpp",
        landmarks=landmarks,
    )
    return Evaluation(losses.detach().double(), torch.autograd.grad(losses.mean(), sr)[0].double())


def _errors(found: Evaluation, true: Evaluation) -> dict[str, float]:
    """Relative errors: of a patch's Qneg / Qpos, of which landmarks approximate Qneg alone; loss; gradient."""
    of_rows = (found.losses - true.losses).expm1()
    loss = true.losses.mean()
    return {
        "qneg_rms": of_rows.square().mean().sqrt().item(),
        "qneg_largest": of_rows.abs().max().item(),
        "loss": ((found.losses.mean() - loss).abs() / loss.abs()).item(),
        "gradient": ((found.gradient - true.gradient).norm() / true.gradient.norm()).item(),
    }


def trained_network(steps: int) -> Network:
    """The demo's network after so many steps of the demo's first training, which begins from scratch with L1 alone."""
    from dec_kernels.trainer.cli import TrainerCLI

    with tempfile.TemporaryDirectory() as folder:
        cli = TrainerCLI(
            [
                "--config=demo_stage1",
                f"--out={folder}/run",
                f"--data.batches_per_epoch={steps}",
                "--trainer.precision=32-true",
                "--trainer.limit_val_batches=0",
                "--trainer.logger=false",
                "--trainer.enable_progress_bar=false",
                "--trainer.enable_model_summary=false",
            ],
            run=False,
        )
        cli.trainer.fit(cli.model, cli.datamodule)
    network: torch.nn.Module = cli.model.generator
    return network.eval()


def tables(results: Results) -> list[Table]:
    """Errors of the gradient in all cases, and all errors of one case."""
    errors = Table(title=f"Gradient: relative error, photographs, n = {results['n']}", box=box.SIMPLE_HEAD)
    for heading in ("SR", "n", "P", "temperature", *(f"m = {count}" for count in COUNTS), *PRESETS):
        errors.add_column(heading)
    for case, gradients in of_cases(results, "gradient").items():
        temperature = case.temperature if case.temperature == "outside" else f"inside, {case.t_neg}"
        errors.add_row(case.sr, str(case.n), str(case.patch_size), temperature, *map(scientific, gradients.values()))
    case = Case(n=results["n"])
    one = Table(title=f"SR {case.sr}, P = {case.patch_size}, temperature {case.temperature}", box=box.SIMPLE_HEAD)
    kinds = {"qneg_rms": "Qneg, rms", "qneg_largest": "Qneg, largest", "loss": "loss", "gradient": "gradient"}
    for heading in ("", *kinds.values()):
        one.add_column(heading)
    of_one = {kind: of_cases(results, kind)[case] for kind in kinds}
    for which in of_one["gradient"]:
        one.add_row(str(which), *(scientific(of_one[kind][which]) for kind in kinds))
    return [errors, one]


def of_cases(results: Results, kind: str) -> dict[Case, dict[int | str, float]]:
    """Case -> its errors of a kind, by the number of landmarks, and then by the preset without landmarks."""
    found: dict[Case, dict[int | str, float]] = {}
    for r in results["errors"]:
        case = Case(*(r[field] for field in Case._fields))
        found.setdefault(case, {})[r["landmarks"] or r["precision"]] = r["errors"][kind]
    return found


def scientific(value: float) -> str:
    return f"{value:.1e}"


def draw(results: Results, path: Path) -> None:
    """Writes the plot as PNG: the gradient's error over m, of each kind of images and of each temperature inside."""
    figure = Figure(figsize=(10.4, 4.4), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    n = results["n"]
    errors = of_cases(results, "gradient")
    _draw(left, {kind: errors[Case(kind, n)] for kind in KINDS}, "SR images, temperature outside")
    inside = {f"$t_{{neg}}$ = {t_neg}": errors[Case("bicubic", n, PATCH_SIZE, "inside", t_neg)] for t_neg in T_NEGS}
    _draw(right, inside, "Temperature inside, bicubic SR")
    for label, error in (("bf16", errors[Case(n=n)]["bf16"]), ("tf32", results["tf32"]["gradient_error"])):
        left.axhline(error, color="#666666", linewidth=1, linestyle=":")
        left.annotate(f'precision="{label}"', (COUNTS[-1], error), (0, 3), textcoords="offset points", ha="right")
    note = (
        f'Relative to float64, 2-norm; photographs, n = {n}, P = {PATCH_SIZE}. precision="tf32" was measured at '
        f"n = {results['tf32']['n']}."
    )
    figure.supxlabel(note, fontsize=8, color="#666666", x=0.01, ha="left")
    figure.savefig(path)


def _draw(axes: Axes, lines: Mapping[str, Mapping[int | str, float]], title: str) -> None:
    for (label, errors), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(COUNTS, [errors[count] for count in COUNTS], "o-", color=colour, markersize=4, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(COUNTS, map(str, COUNTS))
    axes.minorticks_off()
    axes.set_xlabel("m, landmarks")
    axes.set_title(f"Error of the gradient\n{title}", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def _tf32() -> dict[str, float]:
    """The error of the preset "tf32" that no CPU has, as `benchmarks.precision` measured it, and at which n."""
    results = json.loads((RESULTS / "precision.json").read_text())
    wanted = {"backend": "triton", "precision": "tf32", "temperature": "outside"}
    (record,) = (r for r in results["errors"] if wanted.items() <= r.items())
    return {"n": results["n"], "gradient_error": record["gradient_error"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS)
    parser.add_argument("--n", type=int, default=N, help=f"patches; default: {N}")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of training the network; default: {STEPS}")
    given = parser.parse_args()

    console = Console(width=140)
    network = trained_network(given.steps)
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.landmarks"),
        "workload": {
            "hr": "float32 crops of four photographs of scikit-image",
            "sr": KINDS | {"trained": f"{KINDS['trained']}: {given.steps} steps of the demo's stage 1"},
            "values": "SR is rounded to 8 bits, as HR is",
            "errors": "relative to the exact loss in float64: of Qneg / Qpos of a patch, of which landmarks "
            "approximate Qneg alone; of the loss; and of the gradient in the 2-norm. Backend cpp",
        },
        "n": given.n,
        "tf32": _tf32(),
        "errors": [],
    }
    for record in measure(cases(given.n), network):
        results["errors"].append(record)
        if record["precision"] == PRESETS[-1]:
            console.print(f"{record['sr']}, n = {record['n']}, P = {record['patch_size']}, {record['temperature']}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "landmarks.json").write_text(to_json(results))
    draw(results, given.out / "landmarks.png")
    for table in tables(results):
        console.print(table)


if __name__ == "__main__":
    main()
