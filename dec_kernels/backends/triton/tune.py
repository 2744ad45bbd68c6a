"""Measures tiles on the GPU at hand and prints the row of the table that came out fastest.

    python -m dec_kernels.backends.triton.tune --channels 3 --patch-size 8 --precision bf16 [--n 8192]

With ``DEC_KERNELS_AUTOTUNE=1`` in the environment the first call of each kind in a process does the same for its own
rows, and keeps what it found until the process ends. It waits for the device, so no CUDA graph can capture it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch

from dec_kernels.backends import triton as backend
from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.rows import Rows
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants, Spec

ROUNDS = 7
PLAIN = [
    Tile(rows, columns, warps, stages)
    for rows, columns in ((128, 128), (128, 64), (64, 128), (64, 64), (64, 32), (32, 64), (32, 32), (16, 32), (16, 16))
    for warps in (4, 8)
    for stages in (1, 2, 3)
]
BAND = [Tile(rows, strip, warps, 1) for rows, strip in ((32, 32), (16, 64), (16, 32), (16, 16)) for warps in (4, 8)]


def fastest(rows: Rows, constants: Constants) -> Tiles:
    """The best of the candidates for such rows, kernel after kernel."""
    chosen = tiles.tiles_for(backend.architecture(rows.z.device), rows.z.shape[-1], constants.precision)
    ones = torch.ones_like(rows.mean)

    def forward(candidate: Tiles) -> object:
        return backend.forward_in(candidate, rows, constants)

    def backward(candidate: Tiles) -> object:
        return backend.backward_in(candidate, rows, constants, ones, ones)

    searches = (
        ("forward", forward, PLAIN), ("forward_band", forward, BAND),
        ("backward", backward, PLAIN), ("backward_band", backward, BAND),
    )  # fmt: skip
    for role, call, candidates in searches:
        options = [chosen, *(chosen._replace(**{role: tile}) for tile in candidates)]
        options = [option for option in options if option.fit_together()]
        chosen = min(options, key=lambda option: seconds(lambda: call(option), rows.z.device))  # noqa: B023
    return chosen


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The median of a few calls after one that compiles; infinite where the device cannot run it."""

    def once() -> float:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    try:
        once()
    except Exception as error:  # too much shared memory, too many registers, a compiler's limit
        print(f"left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        return math.inf
    return statistics.median(once() for _ in range(ROUNDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--patch-size", type=int, default=8)
    parser.add_argument("--precision", choices=tiles.PRECISIONS, default="bf16")
    parser.add_argument("--n", type=int, default=8192, help="patches")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here, and nothing to measure")
    dim = given.channels * given.patch_size**2
    shape = (given.n, given.channels, given.patch_size, given.patch_size)
    constants = Spec().constants(dim, given.precision)
    batch = Batch.alone(torch.rand(shape, device="cuda"), torch.rand(shape, device="cuda"))
    rows = backend.prepare(batch, given.patch_size, False, constants, torch.float32)
    key = backend.architecture(rows.z.device), tiles.width_of(dim), given.precision
    print(f"{torch.cuda.get_device_name()}, n = {given.n}, for dec_kernels/backends/triton/tiles.py:")
    print(f"    {row(*key, fastest(rows, constants))},")


def row(architecture: str, width: int, precision: str, chosen: Tiles) -> str:
    """As the table has it."""
    return str((architecture, width, precision, *map(tuple, chosen))).replace("'", '"')


if __name__ == "__main__":
    main()
