"""Formulas for the cost of a step in each of N processes that take their negatives from all N; nothing is measured.

Every process has n rows and compares them with the N n columns of all processes, forward and backward:

    pairs       n * N n, at 2 products of D multiply-adds forward and 4 backward
    received    N - 1 times what one process sends: its call, SR and HR images, alpha and beta; no gradient
    memory      the images and the prepared columns of all N, alpha and beta of all, the gradient of the own rows

So the pairs, the bytes and the memory of a process all grow with N. With n fixed, a step takes N times as long, and
communication keeps its share of it.

With m landmarks (`dec_kernels.landmarks`) a process computes the pairs in the bands alone. For all others it has the
features of the N n columns, which it computes from the images that the bands need anyway. They cost no bytes:

    features    N n, at 2 m (D + m) multiply-adds forward and 3 m D backward
    rows        n, at 2 m D multiply-adds backward
    landmarks   left out: their choice does not grow with N n
    memory      2 m numbers a column
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks import cycles
from benchmarks.competitors import LANDMARKS
from benchmarks.cycles.gpus import GPUS

PREDICTED = "PREDICTED from datasheets, nothing of it was measured"
GPU = "H100 SXM"
PRODUCTS = 2 + 4  # forward and backward
SYMMETRIC_PRODUCTS = PRODUCTS - 1  # in one process on a CPU: one tile of the symmetric S serves two blocks
CALL_BYTES = 1024  # that a process sends first, so that all raise an error if their arguments differ
FLOAT, INDEX = 4, 8  # bytes
BANDS = ("forward_band", "backward_band")  # the kernels that a step with landmarks still runs


@dataclass(frozen=True)
class LocalBatch:
    """The SR and HR images of one process, (images, channels, side, side) each.

    Attributes:
        images: number of images.
        channels: of an image.
        side: height and width of an image in pixels, a multiple of `patch_size`.
        patch_size: P, in pixels.
        itemsize: bytes per value.
    """

    images: int
    channels: int
    side: int
    patch_size: int
    itemsize: int

    @property
    def patches(self) -> int:
        """n: the number of patches."""
        return self.images * (self.side // self.patch_size) ** 2

    @property
    def dim(self) -> int:
        """D: the values of a patch."""
        return self.channels * self.patch_size**2

    @property
    def image_bytes(self) -> int:
        """Bytes of SR and HR together."""
        return 2 * self.images * self.channels * self.side**2 * self.itemsize

    @property
    def sum_bytes(self) -> int:
        """Bytes of alpha and beta, which are float32 for images of up to 32 bits."""
        return 2 * self.patches * FLOAT


def pairs(batch: LocalBatch, processes: int) -> int:
    """Pairs of a row and a column in each process."""
    return batch.patches * processes * batch.patches


def flop(batch: LocalBatch, processes: int) -> int:
    """Floating-point operations of the matrix products in each process."""
    return 2 * PRODUCTS * batch.dim * pairs(batch, processes)


def sent_bytes(batch: LocalBatch) -> int:
    """Bytes that each process sends to every other one in a step."""
    return CALL_BYTES + batch.image_bytes + batch.sum_bytes


def received_bytes(batch: LocalBatch, processes: int) -> int:
    """Bytes that each process receives in a step."""
    return (processes - 1) * sent_bytes(batch)


class Kept(NamedTuple):
    """Bytes that a backend keeps for each patch.

    Attributes:
        column: for every patch of all processes: the prepared column and its index.
        row: for every patch of this process in addition, if there are several processes. With one process the columns
            are the rows.
        gradient: for every patch of this process.
    """

    column: int
    row: int
    gradient: int


def cpu_kept(dim: int) -> Kept:
    """The bytes of `dec_kernels.patches.Patches`.

    A column has z, p, `1 / |p|` and its index. A row has copies of the first three, `1 / |q|`, the band and two
    indices.
    """
    column = 2 * dim * FLOAT + FLOAT
    return Kept(column + INDEX, row=column + FLOAT + 4 * INDEX, gradient=dim * FLOAT)


def gpu_kept(dim: int, itemsize: int) -> Kept:
    """The bytes of the Triton backend's prepared rows.

    A column has z and h as the operands of the products, p, its mean, its squared norm and its index. A row has copies
    of all but the index, two indices and the band. The gradient is that of a walk in four parts, the largest number.
    """
    patch = 2 * dim * itemsize + dim * FLOAT + 2 * FLOAT
    return Kept(patch + INDEX, row=patch + 2 * INDEX + 2 * FLOAT, gradient=4 * dim * FLOAT)


def memory_bytes(batch: LocalBatch, processes: int, kept: Kept) -> dict[str, int]:
    """Peak memory of each process above its own images, in the backward, without a backend's workspace of fixed size.

    alpha and beta are held three times: as received, sorted, and divided by the temperatures. For a GPU the sum is an
    upper bound, because the gathered images are freed before the backward.
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
        pair: for a pair of a row and a column, with six products.
        column: for gathering and preparing one column. The measurements cannot separate the two, as both grow with N n.
    """

    pair: float
    column: float

    def seconds(self, patches: int, processes: int) -> float:
        """CPU seconds of a step in each process, which has `patches` patches."""
        products = SYMMETRIC_PRODUCTS if processes == 1 else PRODUCTS
        columns = processes * patches
        return self.pair * products / PRODUCTS * patches * columns + self.column * columns


def calibrate(measured: Sequence[tuple[int, int, float]]) -> Costs:
    """Fits the costs to records (patches, processes > 1, CPU seconds): the least squares of the relative errors."""
    work = np.array([(n * n * processes, n * processes) for n, processes, _ in measured], dtype=float)
    seconds = np.array([s for *_, s in measured])
    scale = work.max(axis=0)  # the counts of pairs and of columns differ by a factor of thousands
    (pair, column), *_ = np.linalg.lstsq(work / scale / seconds[:, None], np.ones(len(seconds)), rcond=None)
    return Costs(float(pair / scale[0]), float(column / scale[1]))


class Links(NamedTuple):
    """The links of a GPU.

    Attributes:
        node: GPUs in a node.
        nvlink: bytes/s into one GPU from its node.
        network: bytes/s into one GPU through its network adapter.
        source: where the numbers come from.
    """

    node: int
    nvlink: float
    network: float
    source: str


LINKS = Links(
    node=8,
    nvlink=450e9,
    network=50e9,
    source="NVIDIA H100 datasheet: NVLink 900 GB/s, both directions together; NVIDIA DGX H100 datasheet: 8 GPUs with "
    "8 ConnectX-7 adapters of 400 Gb/s InfiniBand (NDR)",
)


def communication(batch: LocalBatch, processes: int, links: Links = LINKS) -> tuple[float, float]:
    """Seconds to receive everything, in the best and in the worst case; latency is left out.

    In the best case a byte from another node enters the node once, through any of its adapters, and NVLink passes it on
    at the same time. In the worst case every GPU receives it through its own adapter, and nothing overlaps.
    """
    near = min(processes, links.node) - 1
    far = processes - 1 - near
    sent = sent_bytes(batch)
    best = max((near + far) * sent / links.nvlink, far * sent / (links.node * links.network))
    return best, near * sent / links.nvlink + far * sent / links.network


def preparation(batch: LocalBatch, processes: int, kept: Kept) -> float:
    """Seconds to prepare the columns of all processes once a step, if DRAM is the only limit.

    SR is read once and HR twice, because the columns are sorted by the means of HR.
    """
    reads = 3 * batch.dim * batch.itemsize
    return processes * batch.patches * (reads + kept.column) / GPUS[GPU].dram


def far_products(batch: LocalBatch, processes: int, landmarks: int) -> tuple[int, int]:
    """Multiply-adds of each process for what lies outside of the bands: with values of patches, and among features."""
    columns = processes * batch.patches
    return (5 * columns + 2 * batch.patches) * landmarks * batch.dim, 2 * columns * landmarks**2


def far_bytes(batch: LocalBatch, processes: int, landmarks: int) -> int:
    """Bytes that these products read and write if nothing stays in cache.

    z and h are read forward and backward. 2 m numbers of a column are written and read before they are features, and
    as features written once and read three times: for their sum, for what the rows make of it, and backward.
    """
    return processes * batch.patches * (4 * batch.dim + 2 * landmarks * 6) * FLOAT


def far_seconds(batch: LocalBatch, processes: int, landmarks: int, precision: str) -> tuple[float, float]:
    """Their time, from perfect overlap of the products with DRAM to none.

    The products of values are TF32's with the preset "bf16", and float32's with "tf32x3"; those of features always are.
    """
    rates = GPUS[GPU].rates
    of_values, of_features = far_products(batch, processes, landmarks)
    products = of_values / rates["TF32" if precision == "bf16" else "FP32"] + of_features / rates["FP32"]
    traffic = far_bytes(batch, processes, landmarks) / rates["DRAM"]
    return max(products, traffic), products + traffic


class Configuration(NamedTuple):
    """What is predicted: a label, the images of each process, and a preset."""

    label: str
    batch: LocalBatch
    precision: str


def _paper(itemsize: int) -> LocalBatch:
    """The paper's batch on every GPU: 32 crops of 128 x 128 pixels with P = 8, so D = 192."""
    return LocalBatch(images=32, channels=3, side=128, patch_size=8, itemsize=itemsize)


CONFIGURATIONS = (
    Configuration("float32 images, precision tf32x3", _paper(itemsize=4), "tf32x3"),
    Configuration("bfloat16 images, precision bf16", _paper(itemsize=2), "bf16"),
)
COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)  # of GPUs


def predictions(gpus: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A record for each configuration and number of GPUs. Times are in seconds; a pair of times is a bracket."""
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
                "walk_seconds": _walk(batch, processes, precision, cycles.WALKS),
                "preparation_seconds": preparation(batch, processes, kept),
                "received_bytes": received_bytes(batch, processes),
                "communication_seconds": communication(batch, processes),
                "memory_bytes": memory | {"total": sum(memory.values())},
                "with_landmarks": _with_landmarks(batch, processes, precision, sum(memory.values())),
            }


def _with_landmarks(batch: LocalBatch, processes: int, precision: str, memory: int) -> dict[str, Any]:
    """What is different with landmarks; columns are prepared and images gathered as without."""
    near = _walk(batch, processes, precision, BANDS)
    far = far_seconds(batch, processes, LANDMARKS, precision)
    return {
        "landmarks": LANDMARKS,
        "flop": 2 * sum(far_products(batch, processes, LANDMARKS)),
        "near_seconds": near,
        "far_seconds": far,
        "seconds": tuple(map(sum, zip(near, far, strict=True))),
        "memory_bytes": memory + processes * batch.patches * 2 * LANDMARKS * FLOAT,
    }


def _walk(batch: LocalBatch, processes: int, precision: str, kernels: Sequence[str]) -> tuple[float, float]:
    """The bracket of seconds for the pairs of these kernels.

    It is the bracket of `benchmarks.cycles` for one process, times the number of processes, because every block of rows
    walks over that many times the columns.
    """
    launches = cycles.stored(GPU, batch.patches, batch.dim, precision)
    low, high = (sum(launches[kernel].seconds[end] for kernel in kernels) for end in (0, 1))
    return processes * low, processes * high
