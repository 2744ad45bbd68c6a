"""What one step costs each of N processes that take their negatives from all N: formulas, nothing is measured here.

Every process owns n rows and meets the N n columns of all, forward and backward:

    pairs       n * N n, at 2 products of D multiply-adds forward and 4 backward
    received    N - 1 times what one process sends: its call, SR and HR images, alpha and beta; no gradient
    memory      the images and the prepared columns of all N, alpha and beta of all, the gradient of the own rows

So pairs, bytes and memory of a process all grow with N: with n fixed, a step takes N times as long, and communication
stays the same share of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks import cycles
from benchmarks.cycles.gpus import GPUS

PREDICTED = "PREDICTED from datasheets, nothing of it was measured"
GPU = "H100 SXM"
PRODUCTS = 2 + 4  # forward and backward
SYMMETRIC_PRODUCTS = PRODUCTS - 1  # in one process on a CPU, where a tile of the symmetric S serves both of its blocks
CALL_BYTES = 1024  # what a process sends first, so that those whose arguments differ get an error
FLOAT, INDEX = 4, 8  # bytes


@dataclass(frozen=True)
class Batch:
    """What each process has: its images, SR and HR, (images, channels, side, side) each.

    Attributes:
        images, channels: numbers of them.
        side, patch_size: pixels; the patches cover the image.
        itemsize: bytes of a value of the images.
    """

    images: int
    channels: int
    side: int
    patch_size: int
    itemsize: int

    @property
    def patches(self) -> int:
        return self.images * (self.side // self.patch_size) ** 2

    @property
    def dim(self) -> int:
        return self.channels * self.patch_size**2

    @property
    def image_bytes(self) -> int:
        """Of SR and HR together."""
        return 2 * self.images * self.channels * self.side**2 * self.itemsize

    @property
    def sum_bytes(self) -> int:
        """Of alpha and beta: float32 for images of up to 32 bits."""
        return 2 * self.patches * FLOAT


def pairs(batch: Batch, processes: int) -> int:
    return batch.patches * processes * batch.patches


def flop(batch: Batch, processes: int) -> int:
    """Of the products alone, for each process."""
    return 2 * PRODUCTS * batch.dim * pairs(batch, processes)


def sent_bytes(batch: Batch) -> int:
    """What every other process receives from one in a step."""
    return CALL_BYTES + batch.image_bytes + batch.sum_bytes


def received_bytes(batch: Batch, processes: int) -> int:
    return (processes - 1) * sent_bytes(batch)


class Kept(NamedTuple):
    """What a backend keeps of a patch, in bytes.

    Attributes:
        column: of every process's: prepared for the products, with its place.
        row: of the own ones beside that; nothing in a process by itself, whose columns are its rows.
        gradient: of the own ones.
    """

    column: int
    row: int
    gradient: int


def cpu_kept(dim: int) -> Kept:
    """`dec_kernels.patches.Patches`: z and p, |p|^-1 and the place; z, p and |p|^-1 copied, |q|^-1, band and place."""
    column = 2 * dim * FLOAT + FLOAT
    return Kept(column + INDEX, row=column + FLOAT + 4 * INDEX, gradient=dim * FLOAT)


def gpu_kept(dim: int, itemsize: int) -> Kept:
    """`dec_kernels.backends.triton.rows.Rows`: z and h as the products take them, p, its mean and square, the place; a
    copy of all but the place, two places, the band.

    The gradient is that of a walk in four parts, the most that there are.
    """
    patch = 2 * dim * itemsize + dim * FLOAT + 2 * FLOAT
    return Kept(patch + INDEX, row=patch + 2 * INDEX + 2 * FLOAT, gradient=4 * dim * FLOAT)


def memory_bytes(batch: Batch, processes: int, kept: Kept) -> dict[str, int]:
    """Of each process at the peak, in the backward, above its own images; without a backend's workspace of fixed size.

    alpha and beta are there as they came, sorted, and divided by the temperatures. For a GPU this is a bound: there the
    gathered images go before the backward.
    """
    others = processes > 1
    return {
        "gathered images": others * processes * batch.image_bytes,
        "columns": processes * batch.patches * kept.column,
        "alpha and beta": 3 * processes * batch.sum_bytes,
        "rows": batch.patches * (others * kept.row + kept.gradient),
    }


class Costs(NamedTuple):
    """CPU seconds of one process.

    Attributes:
        pair: of a pair of a row and a column, at six products.
        column: of gathering and preparing one column, which the measurements cannot tell apart: both grow with N n.
    """

    pair: float
    column: float

    def seconds(self, patches: int, processes: int) -> float:
        products = SYMMETRIC_PRODUCTS if processes == 1 else PRODUCTS
        columns = processes * patches
        return self.pair * products / PRODUCTS * patches * columns + self.column * columns


def calibrate(measured: Sequence[tuple[int, int, float]]) -> Costs:
    """The costs with the least squared relative error over (patches, processes, CPU seconds); processes > 1."""
    work = np.array([(n * n * processes, n * processes) for n, processes, _ in measured], dtype=float)
    seconds = np.array([s for *_, s in measured])
    scale = work.max(axis=0)  # counts of pairs and of columns differ by thousands
    (pair, column), *_ = np.linalg.lstsq(work / scale / seconds[:, None], np.ones(len(seconds)), rcond=None)
    return Costs(float(pair / scale[0]), float(column / scale[1]))


class Links(NamedTuple):
    """node: GPUs in one; nvlink, network: bytes/s into one GPU, within its node and by its adapter."""

    node: int
    nvlink: float
    network: float
    source: str


LINKS = Links(
    node=8,
    nvlink=450e9,
    network=50e9,
    source="NVIDIA H100 datasheet: NVLink 900 GB/s, both directions together; NVIDIA DGX H100 datasheet: 8 GPUs, "
    "8 ConnectX-7 adapters of 400 Gb/s InfiniBand (NDR) for them",
)


def communication(batch: Batch, processes: int, links: Links = LINKS) -> tuple[float, float]:
    """Seconds to receive everything, best and worst; without latency, and as if the call went the same way.

    At best a byte from another node enters a node once, by any of its adapters, and goes on by NVLink meanwhile. At
    worst every GPU fetches it by its own adapter, and nothing overlaps.
    """
    near = min(processes, links.node) - 1
    far = processes - 1 - near
    sent = sent_bytes(batch)
    best = max((near + far) * sent / links.nvlink, far * sent / (links.node * links.network))
    return best, near * sent / links.nvlink + far * sent / links.network


def preparation(batch: Batch, processes: int, kept: Kept) -> float:
    """Seconds to make the columns of all, which the backward keeps, if DRAM alone is the limit.

    Read are SR, and HR twice, since the columns are sorted by its means.
    """
    reads = 3 * batch.dim * batch.itemsize
    return processes * batch.patches * (reads + kept.column) / GPUS[GPU].dram


class Configuration(NamedTuple):
    label: str
    batch: Batch
    precision: str


def _paper(itemsize: int) -> Batch:
    """The paper's batch: 32 crops of 128 x 128 with P = 8, D = 192, on every GPU."""
    return Batch(images=32, channels=3, side=128, patch_size=8, itemsize=itemsize)


CONFIGURATIONS = (
    Configuration("float32 images, precision tf32x3", _paper(itemsize=4), "tf32x3"),
    Configuration("bfloat16 images, precision bf16", _paper(itemsize=2), "bf16"),
)
COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)  # of GPUs


def predictions(gpus: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A record for each configuration and number of GPUs; times in seconds, two of them are the ends of a bracket."""
    for label, batch, precision in CONFIGURATIONS:
        kept = gpu_kept(batch.dim, 2 if precision == "bf16" else FLOAT)
        for processes in gpus:
            memory = memory_bytes(batch, processes, kept)
            yield {
                "configuration": label,
                "precision": precision,
                "batch": asdict(batch),
                "n_local": batch.patches,
                "gpus": processes,
                "pairs": pairs(batch, processes),
                "flop": flop(batch, processes),
                "walk_seconds": _walk(batch, processes, precision),
                "preparation_seconds": preparation(batch, processes, kept),
                "received_bytes": received_bytes(batch, processes),
                "communication_seconds": communication(batch, processes),
                "memory_bytes": memory | {"total": sum(memory.values())},
            }


def _walk(batch: Batch, processes: int, precision: str) -> tuple[float, float]:
    """Seconds of the pairs, forward and backward: the bracket that `benchmarks.cycles` has for the own columns alone,
    as often as there are processes, since every block of rows walks over so many times the columns."""
    launches = cycles.stored(GPU, batch.patches, batch.dim, precision)
    low, high = (sum(launches[kernel].seconds[end] for kernel in cycles.WALKS) for end in (0, 1))
    return processes * low, processes * high
