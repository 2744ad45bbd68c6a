"""What a GPU's datasheet allows the fused kernels to reach: a PREDICTION, nothing is measured here.

    python -m benchmarks.roofline

Each kernel is taken apart into what it asks of five units that can work at the same time: the tensor cores, the FP32
lanes, the special-function units, the L2 cache and the DRAM. Were they to overlap perfectly, the busiest alone would
decide (the lower end of each bracket); without any overlap their times would add up (the upper end).

    forward     2 products of n n D, 2 n n exponentials; the columns z read once for each block of rows
    backward    4 products of n n D, 2 n n exponentials; the columns z and h read once for each block of rows
    both        in the band of possible positives, distances from three TF32 products more
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from dec_kernels.jsontext import to_json

PREDICTION = "PREDICTION from datasheets, not a measurement"


@dataclass(frozen=True)
class Architecture:
    """Peak rates of one GPU.

    Attributes:
        sm: the compute capability that kernels are compiled for.
        multiprocessors: how many of them.
        clock: boost clock in Hz.
        fp32: FP32 FLOP/s outside of the tensor cores; a multiply-add counts as two.
        tf32, bf16: FLOP/s of the tensor cores, dense, accumulating in float32.
        l2, dram: bytes/s.
        source: where the numbers come from.
    """

    sm: str
    multiprocessors: int
    clock: float
    fp32: float
    tf32: float
    bf16: float
    l2: float
    dram: float
    source: str

    @property
    def exponentials(self) -> float:
        """exp2 per second: 16 per clock and multiprocessor in all of these (CUDA C++ Programming Guide, "Arithmetic
        Instructions", compute capabilities 8.0 to 12.0)."""
        return 16 * self.multiprocessors * self.clock


# NVIDIA states the bandwidth of the L2 cache for A100 alone: 5120 bytes per clock. The others are assumed to have as
# much per clock, so their L2 terms are the weakest numbers here.
L2_BYTES_PER_CLOCK = 5120
ARCHITECTURES = {
    "A100 SXM 80 GB": Architecture(
        sm="sm_80",
        multiprocessors=108,
        clock=1.410e9,
        fp32=19.5e12,
        tf32=156e12,
        bf16=312e12,
        l2=L2_BYTES_PER_CLOCK * 1.410e9,
        dram=2.039e12,
        source="NVIDIA A100 80GB datasheet (rates, DRAM); A100 whitepaper, tables 1 and 4 (clock, SMs, L2)",
    ),
    "H100 SXM": Architecture(
        sm="sm_90",
        multiprocessors=132,
        clock=1.830e9,
        fp32=66.9e12,
        tf32=494.7e12,
        bf16=989.4e12,
        l2=L2_BYTES_PER_CLOCK * 1.830e9,
        dram=3.35e12,
        source="NVIDIA H100 whitepaper, table 2 (rates, SMs), at the clock that the dense tensor rates imply; "
        "H100 datasheet (DRAM)",
    ),
    "B200": Architecture(
        sm="sm_100",
        multiprocessors=148,
        clock=1.980e9,
        fp32=75e12,
        tf32=1125e12,
        bf16=2250e12,
        l2=L2_BYTES_PER_CLOCK * 1.980e9,
        dram=7.7e12,
        source="NVIDIA HGX B200 datasheet, an eighth of the eight GPUs, half of the sparse rates; "
        "SMs as the device reports them, the clock from FP32 rate and SMs",
    ),
    "RTX 5090": Architecture(
        sm="sm_120",
        multiprocessors=170,
        clock=2.407e9,
        fp32=104.8e12,
        tf32=104.8e12,
        bf16=209.5e12,
        l2=L2_BYTES_PER_CLOCK * 2.407e9,
        dram=1.792e12,
        source="NVIDIA RTX Blackwell GPU Architecture whitepaper, appendix A (dense, FP32 accumulate)",
    ),
}


class Preset(NamedTuple):
    """unit: the one that multiplies, "fp32" or the tensor cores at "tf32" or "bf16"; passes: products for one."""

    unit: str
    passes: int
    itemsize: int


PRESETS = {
    "ieee": Preset("fp32", 1, 4),
    "tf32x3": Preset("tf32", 3, 4),
    "tf32": Preset("tf32", 1, 4),
    "bf16": Preset("bf16", 1, 2),
}


class Kernel(NamedTuple):
    """What one pass does for each pair of rows.

    Attributes:
        products: of n n D multiply-adds each.
        column_reads: matrices of columns, (n, D), that each block of rows reads.
        operations: FP32 instructions for each pair and similarity, beside the exponential.
        gradient: whether it writes (n, D) float32.
    """

    products: int
    column_reads: int
    operations: int
    gradient: bool


KERNELS = {"forward": Kernel(2, 1, 3, gradient=False), "backward": Kernel(4, 2, 4, gradient=True)}
SIMILARITIES = 2  # S and A, one exponential each
BAND_PRODUCTS = 3  # TF32, of p less its mean in two halves: high * high, high * low, low * high
BAND = 0.023  # the share of tiles with possible positives, l2 at 34 dB on photographs


class Prediction(NamedTuple):
    """Seconds of one kernel.

    Attributes:
        terms: of each unit, were it alone.
        overlapped, added: the bracket: the longest term, and all of them.
        binding: the unit of the longest term.
    """

    terms: dict[str, float]
    overlapped: float
    added: float
    binding: str


def predict(
    gpu: Architecture,
    kernel: Kernel,
    preset: Preset,
    n: int,
    dim: int,
    *,
    columns: int | None = None,
    block_rows: int = 128,
    band: float = BAND,
) -> Prediction:
    """Seconds for n rows of dim values, `block_rows` of them owned by one worker; `band` is a share of the tiles.

    The rows meet `columns` columns, which hold them and those of other processes; None: n, themselves alone.
    """
    m = n if columns is None else columns
    product = 2 * n * m * dim  # FLOP
    multiplying = preset.passes * kernel.products * product / getattr(gpu, preset.unit)
    on_tensor_cores = preset.unit != "fp32"
    terms = {
        "tensor cores": on_tensor_cores * multiplying + band * BAND_PRODUCTS * product / gpu.tf32,
        # An instruction other than a multiply-add takes the lane for as long as one.
        "fp32": (not on_tensor_cores) * multiplying + 2 * kernel.operations * SIMILARITIES * n * m / gpu.fp32,
        "exponentials": SIMILARITIES * n * m / gpu.exponentials,
        "L2": kernel.column_reads * (n / block_rows) * m * dim * preset.itemsize / gpu.l2,
        # z and h once, and two numbers: the sums of a row that forward writes, or what backward reads of a column.
        "DRAM": (2 * m * dim * preset.itemsize + 2 * (m if kernel.gradient else n) * 4 + kernel.gradient * n * dim * 4)
        / gpu.dram,
    }
    binding = max(terms, key=lambda unit: terms[unit])
    return Prediction(terms, terms[binding], sum(terms.values()), binding)


def predictions(sizes: list[int], dims: list[int], block_rows: int, band: float) -> Iterator[dict[str, Any]]:
    """A record for each GPU, dimension, preset and size."""
    for (name, gpu), dim, (preset, how), n in (
        (gpu, dim, preset, n)
        for gpu in ARCHITECTURES.items()
        for dim in dims
        for preset in PRESETS.items()
        for n in sizes
    ):
        passes = {
            direction: predict(gpu, kernel, how, n, dim, block_rows=block_rows, band=band)
            for direction, kernel in KERNELS.items()
        }
        total = [sum(getattr(p, end) for p in passes.values()) for end in ("overlapped", "added")]
        yield {"gpu": name, "dim": dim, "precision": preset, "n": n, "total": total} | {
            direction: prediction._asdict() for direction, prediction in passes.items()
        }


def table(records: Sequence[Mapping[str, Any]], gpu: str, dim: int) -> Table:
    title = f"{PREDICTION}\n{gpu} ({ARCHITECTURES[gpu].sm}), D = {dim}: milliseconds, perfect overlap to none"
    result = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("n", "preset", "forward", "binds", "backward", "binds", "both"):
        result.add_column(heading, justify="left" if heading in ("preset", "binds") else "right")
    for r in records:
        if (r["gpu"], r["dim"]) != (gpu, dim):
            continue
        cells = [str(r["n"]), r["precision"]]
        for direction in KERNELS:
            cells += [_bracket(r[direction]["overlapped"], r[direction]["added"]), r[direction]["binding"]]
        result.add_row(*cells, _bracket(*r["total"]))
    return result


def _bracket(low: float, high: float) -> str:
    return f"{1e3 * low:#.3g} to {1e3 * high:#.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 8192, 65536, 262144], help="patches")
    parser.add_argument("--dim", type=int, nargs="+", default=[48, 192, 768], help="values of a patch")
    parser.add_argument("--block-rows", type=int, choices=(64, 128), default=128, help="rows that one worker owns")
    parser.add_argument("--band", type=float, default=BAND, help="share of the tiles with possible positives")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the same as JSON")
    given = parser.parse_args()

    records = list(predictions(given.n, given.dim, given.block_rows, given.band))
    console = Console(width=120)
    for gpu in ARCHITECTURES:
        for dim in given.dim:
            console.print(table(records, gpu, dim))
        console.print(f"Rates of {gpu}: {ARCHITECTURES[gpu].source}.")
    if given.json:
        content = {
            "what": PREDICTION,
            "architectures": {name: asdict(gpu) for name, gpu in ARCHITECTURES.items()},
            "model": {"block_rows": given.block_rows, "band": given.band, "unit": "seconds"},
            "predictions": records,
        }
        given.json.write_text(to_json(content))


if __name__ == "__main__":
    main()
