"""How long a step with landmarks should take beside an exact one: a PREDICTION, from the stored ones and datasheets.

    python -m benchmarks.cycles.landmarks [--gpu "H100 SXM"] [--dim 192] [--landmarks 128] [--distance l2]

The kernels of the band, and for the exact step the plain ones, take what `benchmarks.cycles` has stored for each turn
of their loops, times the turns that they make on photographs, whose bands are wider with landmarks. PyTorch's products
take their multiply-adds at the peak rate of their precision, or the bytes of their operands and results at DRAM's,
whichever is longer. Left out are the host, the starts of kernels, which are most of a step of few patches, the choice
of the landmarks, the factor of their matrix, and the kernels of single rows.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import cycles
from benchmarks.cycles.gpus import GPUS, Gpu
from benchmarks.cycles.model import itemsize
from benchmarks.cycles.walk import Band, banded, plain
from benchmarks.workload import images
from dec_kernels.backends.triton import far, tiles
from dec_kernels.backends.triton.aot import DIMS, PATCH_SIZES
from dec_kernels.backends.triton.layout import Operand, Size
from dec_kernels.spec import Spec

STORED = 65536  # patches: so many that the kernels' loops are all that counts
SIZES = tuple(2**k for k in range(10, 19))  # 1024 to 262144


class Bands(NamedTuple):
    """Of n patches of photographs: of each row, and of its block."""

    own: Band
    widened: Band


class Products(NamedTuple):
    """Of PyTorch: multiply-adds as the preset rounds, others in float32, and bytes of operands and results."""

    rounded: float
    float32: float
    bytes: float


def bands(n: int, dim: int, distance: str) -> Bands:
    patch_size = PATCH_SIZES[next(width for width, value in DIMS.items() if value == dim)]
    width = Spec(patch_size=patch_size, distance=distance).radius(dim) / math.sqrt(dim)
    mean = torch.nn.functional.avg_pool2d(images(n, patch_size)[1].double(), patch_size).mean(1).float()
    mean = mean.flatten().sort().values
    block = Size(1, n, n, dim, Operand.of(dim, "ieee", tiles.INTERPRETER), 1).block
    first, last = (ends[0].repeat_interleave(block)[:n] * block for ends in far.near_blocks(mean[None], width, block))
    own = torch.searchsorted(mean, mean - width), torch.searchsorted(mean, mean + width, right=True)
    return Bands(Band(*(x.numpy() for x in own)), Band(first.numpy(), last.clamp(max=n).numpy()))


def products(n: int, dim: int, count: int, precision: str) -> Products:
    """As `dec_kernels.backends.triton.far` makes them, forward and backward."""
    size = Size(1, n, n, dim, Operand.of(dim, precision, "sm_90"), count)
    wide, sums = size.operand.width, size.blocks * count
    similar, features = 2 * n * wide * count, 2 * n * count * count
    of_blocks, outside, of_columns = 3 * n * dim * count, size.blocks * sums * (2 * dim + 1), 2 * n * count * dim
    # Of the similarities: both operands, read in their dtype and in float32, and the result, which is read and written
    # twice more. The features are read and written some ten times, z and h three times, the sums of blocks eight times.
    floats = 2 * (n * wide + 3 * n * count) + 20 * n * count + 8 * n * dim + 2 * 8 * sums * dim
    numbers = 2 * n * wide * itemsize(precision) + 4 * floats
    return Products(similar + of_blocks + of_columns, features + outside, numbers)


def seconds_of_products(gpu: Gpu, asked: Products, precision: str) -> float:
    float32 = gpu.rates["FP32"]
    rounded = gpu.rates["TF32"] if precision in ("tf32", "bf16") else float32
    return max(asked.rounded / rounded + asked.float32 / float32, asked.bytes / gpu.dram)


def seconds_of_kernels(
    gpu: str, dim: int, precision: str, rows: Band, at: Band, kernels: list[str]
) -> tuple[float, float]:
    """Of kernels over some bands, from perfect overlap to none; stored is what they take over the bands `at`."""
    low = high = 0.0
    stored = cycles.stored(gpu, STORED, dim, precision)
    chosen = tiles.TABLE[GPUS[gpu].sm, tiles.width_of(dim), precision]
    for kernel in kernels:
        direction = kernel.partition("_")[0]
        tile, columns = getattr(chosen, kernel.removesuffix("_plain")), getattr(chosen, direction).columns

        def turns(band: Band, kernel: str = kernel, tile: tiles.Tile = tile, columns: int = columns) -> int:
            return (plain(band, tile) if kernel.endswith("plain") else banded(band, columns, tile, 1)).turns

        ratio = turns(rows) / turns(at)
        low, high = low + ratio * stored[kernel].seconds[0], high + ratio * stored[kernel].seconds[1]
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=GPUS, default="H100 SXM", metavar="NAME", help=", ".join(GPUS))
    parser.add_argument("--dim", type=int, choices=[48, 192, 768], default=192)
    parser.add_argument("--precision", nargs="+", choices=tiles.PRECISIONS, default=tiles.PRECISIONS)
    parser.add_argument("--landmarks", type=int, default=128)
    parser.add_argument("--distance", choices=["l2", "rmse"], default="l2")
    parser.add_argument("--n", type=int, nargs="+", default=SIZES, help="patches")
    given = parser.parse_args()
    place = f"{given.gpu}, D = {given.dim}, {given.distance}, {given.landmarks} landmarks"
    table = Table(title=f"{cycles.PREDICTED}\n{place}; milliseconds", box=box.SIMPLE_HEAD)
    for heading in ("n", "band", "widened", "preset", "exact step", "band with landmarks", "products", "step", "times"):
        table.add_column(heading, justify="right")
    at = bands(STORED, given.dim, "l2").own
    for n in given.n:
        found = bands(n, given.dim, given.distance)
        shares = [f"{(band.last - band.first).mean() / n:.2%}" for band in found]
        for precision in given.precision:
            of = given.gpu, given.dim, precision
            exact = seconds_of_kernels(*of, found.own, at, cycles.WALKS)
            band = seconds_of_kernels(*of, found.widened, at, ("forward_band", "backward_band"))
            asked = products(n, given.dim, given.landmarks, precision)
            more = seconds_of_products(GPUS[given.gpu], asked, precision)
            step = band[0] + more, band[1] + more
            times = exact[0] / step[0], exact[1] / step[1]
            cells = [_range(exact), _range(band), f"{1e3 * more:.3g}", _range(step)]
            table.add_row(str(n), *shares, precision, *cells, f"{min(times):.2g} to {max(times):.2g}")
    Console(width=160).print(table)


def _range(seconds: tuple[float, float]) -> str:
    return f"{1e3 * seconds[0]:.3g} to {1e3 * seconds[1]:.3g}"


if __name__ == "__main__":
    main()
