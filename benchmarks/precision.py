"""Measures the errors of every preset against float64 on photographs.

    python -m benchmarks.precision

prints a table and writes precision.json to benchmarks/results/. Without a GPU the Triton kernels run in Triton's
interpreter. It rounds the operands as a GPU does, to float32 numbers with the bits of TF32 or bfloat16, and adds in
float32. The order of a GPU's sums and its exp2 are not part of these figures, and "tf32x3" is the same as "ieee" here.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.workload import images
from dec_kernels import dec_loss
from dec_kernels.jsontext import to_json

N, PATCH_SIZE, DIM = 512, 8, 192
PRESETS = {"triton": ("ieee", "tf32x3", "tf32", "bf16"), "cpp": ("ieee", "bf16"), "torch": ("ieee", "bf16")}


def measure(n: int, presets: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Relative errors of the loss and, in the 2-norm, of the gradient, for each backend, preset and temperature."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    records = []
    for temperature in ("outside", "inside"):
        arguments = {"patch_size": PATCH_SIZE, "temperature": temperature}
        sr, hr = images(n, PATCH_SIZE, device=device)
        true_loss, true = _evaluate(sr.double(), hr.double(), arguments | {"backend": "reference"})
        for backend, of_it in presets.items():
            for precision in of_it:
                loss, gradient = _evaluate(sr, hr, arguments | {"backend": backend, "precision": precision})
                record = {"backend": backend, "precision": precision, "temperature": temperature}
                record["loss_error"] = ((loss.double() - true_loss).abs() / true_loss.abs()).item()
                record["gradient_error"] = ((gradient.double() - true).norm() / true.norm()).item()
                records.append(record)
    return records


def _evaluate(sr: torch.Tensor, hr: torch.Tensor, arguments: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    sr = sr.detach().requires_grad_()
    loss = dec_loss(sr, hr, **arguments)
    return loss.detach(), torch.autograd.grad(loss, sr)[0]


def table(results: Mapping[str, Any]) -> Table:
    """The errors of a run, given the content of precision.json."""
    result = Table(title=f"Relative errors, n = {results['n']}, D = {DIM}, photographs", box=box.SIMPLE_HEAD)
    for heading in ("backend", "precision", "temperature", "loss", "gradient"):
        result.add_column(heading, justify="left")
    for r in results["errors"]:
        errors = (f"{r['loss_error']:.1e}", f"{r['gradient_error']:.1e}")
        result.add_row(r["backend"], r["precision"], r["temperature"], *errors)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS)
    parser.add_argument("--n", type=int, default=N, help=f"patches; default: {N}")
    given = parser.parse_args()
    interpreted = not torch.cuda.is_available()
    results = {
        "machine": machine.describe() | ({} if interpreted else machine.describe_gpu()),
        "run": machine.provenance("benchmarks.precision"),
        "triton_interpreted": interpreted,
        "n": given.n,
        "errors": measure(given.n, PRESETS),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "precision.json").write_text(to_json(results))
    Console().print(table(results))


if __name__ == "__main__":
    main()
