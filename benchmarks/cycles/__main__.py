import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import triton
from rich import box
from rich.console import Console
from rich.table import Table

import benchmarks.cycles
from benchmarks import machine
from benchmarks.cycles import PREDICTED, WALKS, model
from benchmarks.cycles.gpus import GPUS
from dec_kernels.backends.triton import aot, tiles
from dec_kernels.jsontext import to_json

NOTES = {
    "unit": "seconds of one launch: of the longest term, and of all terms together",
    "rows": "n rows that are all columns, one group: crops of photographs, l2 at 34 dB, temperature outside",
    "turns": "of the loop over tiles, of all programs; conditional is the share that computes distances",
    "resident": "programs that a multiprocessor has room for",
    "left out": "the host, PyTorch's own kernels, conflicts of banks, latencies, clocks below the boost clock",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=benchmarks.cycles.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", nargs="+", choices=GPUS, default=list(GPUS), metavar="NAME", help=", ".join(GPUS))
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 8192, 65536], help="patches")
    parser.add_argument("--dim", type=int, nargs="+", choices=list(aot.DIMS.values()), default=[48, 192, 768])
    parser.add_argument("--precision", nargs="+", choices=tiles.PRECISIONS, default=tiles.PRECISIONS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the same as JSON")
    given = parser.parse_args()

    records = [rounded(r) for r in model.predictions(given.gpu, given.n, given.dim, given.precision)]
    console = Console(width=200)
    for gpu in given.gpu:
        for dim in given.dim:
            console.print(table(records, gpu, dim))
        console.print(f"Rates of {gpu}: {GPUS[gpu].source}.")
    if given.json:
        content = {
            "what": PREDICTED,
            "run": machine.provenance("benchmarks.cycles"),
            "triton": triton.__version__,
            "gpus": {name: asdict(GPUS[name]) for name in given.gpu},
            "notes": NOTES,
            "predictions": records,
        }
        given.json.write_text(to_json(content))


def rounded(value: Any) -> Any:
    """Records with numbers of four digits, which is more than the model knows."""
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def table(records: Sequence[Mapping[str, Any]], gpu: str, dim: int) -> Table:
    title = f"{PREDICTED}\n{gpu} ({GPUS[gpu].sm}), D = {dim}: milliseconds, and the unit that limits a kernel"
    result = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("n", "preset", *(kernel.replace("_", " ") for kernel in WALKS), "others", "all"):
        result.add_column(heading, justify="left" if heading == "preset" else "right")
    ours = [r for r in records if (r["gpu"], r["dim"]) == (gpu, dim)]
    for n, precision in dict.fromkeys((r["n"], r["precision"]) for r in ours):
        launches = {r["kernel"]: r for r in ours if (r["n"], r["precision"]) == (n, precision)}
        others = [r for kernel, r in launches.items() if kernel not in WALKS]
        result.add_row(
            str(n),
            precision,
            *(f"{_bracket([launches[kernel]])} {launches[kernel]['limit']}" for kernel in WALKS),
            _bracket(others),
            _bracket(list(launches.values())),
        )
    return result


def _bracket(launches: Sequence[Mapping[str, Any]]) -> str:
    low, high = (1e3 * sum(r["seconds"][end] for r in launches) for end in (0, 1))
    return f"{low:#.3g}" if low == high else f"{low:#.3g} to {high:#.3g}"


if __name__ == "__main__":
    main()
