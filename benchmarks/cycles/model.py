"""Seconds of each kernel from what its code asks for, how often, and what a GPU does per second.

A unit's seconds are all that a launch asks of it, over its rate. Those of a multiprocessor grow where the programs of a
launch cannot be shared out evenly. The longest unit alone is the least that the launch can take; all units one after
the other is what it takes if nothing overlaps. Which of both is near depends on the programs that a multiprocessor runs
at the same time.

The kernels of single rows do little but move them: their seconds are those of DRAM alone. Nothing that the host does is
in here, nor PyTorch's own kernels, conflicts of banks, latencies, or clocks below the boost clock.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.cycles import WALKS, Prediction
from benchmarks.cycles.code import Amounts, Cost, costs
from benchmarks.cycles.gpus import GPUS, REGISTERS, RESERVED, Gpu
from benchmarks.cycles.walk import Band, Walk, band, banded, plain
from dec_kernels.backends.triton import aot, tiles
from dec_kernels.backends.triton.aot import Build

KERNELS = ("means", "rows", *WALKS, "sums", "weights", "images")
FLOAT = IMAGE_BYTES = 4  # the images are float32


class Launch(NamedTuple):
    """Of a kernel on a GPU.

    Attributes:
        programs: how many.
        splits: the parts of each walk among them.
        resident: how many of them a multiprocessor holds at a time.
        walk: what all of them do.
    """

    programs: int
    splits: int
    resident: int
    walk: Walk


def resident(gpu: Gpu, build: Build, cost: Cost) -> int:
    """Programs that a multiprocessor has room for."""
    threads = 32 * build.tile.warps
    registers = -(-cost.registers // 8) * 8 * threads  # they come in eights
    shared = cost.shared + RESERVED
    return min(gpu.programs, gpu.threads // threads, REGISTERS // registers, gpu.shared // shared)


def launch(gpu: Gpu, build: Build, cost: Cost, rows: Band) -> Launch:
    """Of a kernel over n rows that are all columns, in one group."""
    n, tile = len(rows.first), build.tile
    shape = tiles.shape_of(build.width, build.precision, build.architecture, build.kernel.endswith("band"))
    backward = build.kernel.startswith("backward")
    shares = int(shape["CHUNKS"]) // int(shape["OWNED"]) if backward else 1
    blocks = -(-n // tile.rows) * shares
    if build.kernel.endswith("plain"):
        walk, splits = plain(rows, tile), tiles.splits_of(tile, blocks, n, gpu.multiprocessors)
        turns = walk.turns * shares * (2 if backward else 1)  # z, then h
    else:
        walk, splits = banded(rows, build.plain.columns, tile, int(shape["CHUNKS"])), 1
        turns = walk.turns * shares
    return Launch(blocks * splits, splits, resident(gpu, build, cost), Walk(turns, walk.conditional))


def predict(gpu: Gpu, cost: Cost, launched: Launch, dram: int) -> Prediction:
    """Of one launch; `dram` is the bytes that it reads and writes there at least."""
    asked = Amounts()
    for amounts, times in (
        (cost.once, launched.programs),
        (cost.turn, launched.walk.turns),
        (cost.sometimes, launched.walk.turns * launched.walk.conditional),
    ):
        asked += Amounts({unit: amount * times for unit, amount in amounts.items()})
    # The multiprocessor with the most programs, over the mean.
    uneven = -(-launched.programs // gpu.multiprocessors) * gpu.multiprocessors / launched.programs
    seconds = {unit: amount / gpu.rates[unit] for unit, amount in asked.items()}
    terms = {
        "tensor cores": uneven * (seconds.pop("TF32", 0.0) + seconds.pop("BF16", 0.0)),
        "L2": seconds.pop("L2", 0.0),
        "DRAM": dram / gpu.dram,
    } | {unit: uneven * value for unit, value in seconds.items()}
    terms = {unit: value for unit, value in terms.items() if value}
    limit = max(terms, key=lambda unit: terms[unit])
    return Prediction((terms[limit], sum(terms.values())), limit, terms)


def dram_bytes(kernel: str, n: int, dim: int, width: int, value: int, splits: int = 1) -> int:
    """What a kernel reads and writes at least: every number once, a `value` of the prepared rows in so many bytes."""
    prepared, patches, numbers = n * width * value, n * dim * IMAGE_BYTES, n * FLOAT
    gradients = n * dim * FLOAT
    return {
        "means": patches + numbers,
        # Both images, the order (8 bytes a row) and the means; both kinds of rows, p, the square, own place, the band.
        "rows": 2 * patches + 3 * numbers + 2 * prepared + patches + 5 * numbers,
        "forward_plain": 2 * prepared + splits * numbers,
        "forward_band": 2 * prepared + patches + 7 * numbers,  # mean, square, own place, the band, both sums
        "backward_plain": 2 * prepared + numbers + splits * gradients,
        "backward_band": 2 * prepared + patches + 7 * numbers + 2 * gradients,
        # Sums of the positives and of the negatives' parts, the order; both sums, or weights, in another order.
        "sums": (1 + splits + 2 + 2) * numbers,
        "weights": (2 + 2 + 2) * numbers,
        "images": splits * gradients + 2 * patches + 2 * numbers,
    }[kernel]


def itemsize(precision: str) -> int:
    """Of a value of the prepared rows."""
    return 2 if precision == "bf16" else FLOAT


def builds(architecture: str, dim: int, precision: str) -> list[Build]:
    """Of the kernels that walk."""
    key = (architecture, tiles.width_of(dim), precision)
    return [build for build in aot.builds({key: tiles.TABLE[key]}) if build.kernel in WALKS]


def predictions(
    gpus: Sequence[str], sizes: Sequence[int], dims: Sequence[int], precisions: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A record for each of them and each kernel."""
    wanted = [(GPUS[gpu].sm, dim, precision) for gpu in gpus for dim in dims for precision in precisions]
    compiled = costs(build for key in dict.fromkeys(wanted) for build in builds(*key))
    for name in gpus:
        gpu = GPUS[name]
        for dim in dims:
            for precision in precisions:
                walking = {build.kernel: build for build in builds(gpu.sm, dim, precision)}
                for n in sizes:
                    for kernel in KERNELS:
                        place = {"gpu": name, "n": n, "dim": dim, "precision": precision, "kernel": kernel}
                        if build := walking.get(kernel):
                            yield place | _walking(gpu, build, compiled[build], n, dim)
                        else:
                            before = walking["backward_plain" if kernel == "images" else "forward_plain"]
                            splits = launch(gpu, before, compiled[before], band(n, dim)).splits
                            width, value = tiles.width_of(dim), itemsize(precision)
                            seconds = dram_bytes(kernel, n, dim, width, value, splits) / gpu.dram
                            yield place | Prediction((seconds, seconds), "DRAM", {"DRAM": seconds})._asdict()


def _walking(gpu: Gpu, build: Build, cost: Cost, n: int, dim: int) -> dict[str, Any]:
    launched = launch(gpu, build, cost, band(n, dim))
    dram = dram_bytes(build.kernel, n, dim, build.width, itemsize(build.precision), launched.splits)
    return predict(gpu, cost, launched, dram)._asdict() | {
        "tile": list(build.tile),
        "programs": launched.programs,
        "resident": launched.resident,
        "turns": launched.walk.turns,
        "conditional": launched.walk.conditional,
    }
