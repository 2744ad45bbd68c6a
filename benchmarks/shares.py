"""Counts the pairs whose exact distance decides about them: those in the band, and of these the near ones.

    python -m benchmarks.shares

prints a table and writes shares.json to benchmarks/results/. The band is what the means of the patches leave open; near
are the pairs of it whose sketches are within reach of each other (`dec_kernels.patches.Patches`).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.compare import RESULTS
from benchmarks.workload import images
from dec_kernels.jsontext import to_json
from dec_kernels.patches import Batch, Patches, prepare
from dec_kernels.spec import Spec

SIZES, PATCH_SIZE, DIM = (8192, 32768), 8, 192
_ROWS = 256  # at a time
_DIFFERENCES = "donot_use_mm_for_euclid_dist"


def measure(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """For each n and distance the shares of all n * n pairs that are in the band, and near."""
    records = []
    for n in sizes:
        batch = Batch.alone(*images(n, PATCH_SIZE))
        for distance in ("l2", "rmse"):
            constants = Spec(patch_size=PATCH_SIZE, distance=distance).constants(DIM, "ieee")
            band, near = count(prepare(batch, PATCH_SIZE, False, constants, torch.float32))
            records.append({"n": n, "distance": distance, "band": band / n**2, "near": near / n**2})
    return records


def count(rows: Patches) -> tuple[int, int]:
    """How many pairs are in the band, and how many of those are near."""
    near = 0
    for group, sketch in enumerate(rows.sketch):
        for first, last, of_rows in zip(
            rows.first[group].split(_ROWS),
            rows.last[group].split(_ROWS),
            rows.of_rows(rows.sketch)[group].split(_ROWS),
            strict=True,
        ):
            start, stop = int(first.min()), int(last.max())
            columns = torch.arange(start, stop)
            in_band = (first[:, None] <= columns) & (columns < last[:, None])
            far = torch.cdist(of_rows.double(), sketch[start:stop].double(), compute_mode=_DIFFERENCES) > rows.reach
            near += int((in_band & ~far).sum())
    return int((rows.last - rows.first).sum()), near


def table(results: Mapping[str, Any]) -> Table:
    """The shares of a run, given the content of shares.json."""
    result = Table(title="Pairs whose exact distance is computed, of all", box=box.SIMPLE_HEAD)
    for heading in ("n", "distance", "of the band", "of the band and near"):
        result.add_column(heading, justify="right")
    for r in results["shares"]:
        result.add_row(str(r["n"]), r["distance"], f"{r['band']:.3%}", f"{r['near']:.3%}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS)
    given = parser.parse_args()
    results = {
        "machine": machine.describe(),
        "run": machine.provenance("benchmarks.shares"),
        "shares": measure(SIZES),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "shares.json").write_text(to_json(results))
    Console().print(table(results))


if __name__ == "__main__":
    main()
