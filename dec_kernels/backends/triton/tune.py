"""Measures tiles on the GPU at hand and prints the row of the table that came out fastest.

    python -m dec_kernels.backends.triton.tune --channels 3 --patch-size 8 --precision bf16 [--n 8192] [--seconds 240]

The most promising candidates come first, and those that --seconds leave no time for are left out. What is timed is the
replay of a CUDA graph of each, so that no work of the host is in the figures.

With `DEC_KERNELS_AUTOTUNE=1` in the environment the first call of each kind in a process does the same for its own
rows, and keeps what it found until the process ends. It waits for the device, so no CUDA graph can capture it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from dec_kernels.backends import triton as backend
from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.layout import PreparedRows
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Constants, Spec

if TYPE_CHECKING:
    from dec_kernels.backends.triton.host import Host

ROUNDS = 7
# Each has a reason to be the fastest on sm_90 at D = 192, where they compile without spills: more work between two
# barriers, two programs on a multiprocessor (then in one wave), or a tile on its way while another is computed.
PROMISING = {
    "forward": [Tile(128, 128, 8, 2), Tile(64, 64, 4, 2, splits=2), Tile(128, 64, 8, 3), Tile(128, 64, 8, 2)],
    "backward": [Tile(64, 64, 4, 2, splits=2), Tile(64, 64, 4, 2), Tile(128, 64, 8, 3), Tile(128, 64, 8, 2)],
}
PLAIN = [
    Tile(rows, columns, warps, stages)
    for rows, columns in ((128, 128), (128, 64), (64, 128), (64, 64), (64, 32), (32, 64), (32, 32), (16, 32), (16, 16))
    for warps in (8, 4, 2, 1)
    if 16 * warps <= rows <= 32 * warps  # with fewer rows, warps would compute the same ones
    for stages in (2, 3, 1)
]
BAND = [
    Tile(rows, strip, warps, stages)
    for rows, strip, warps in ((16, 32, 4), (16, 64, 4), (16, 64, 8), (32, 32, 4), (16, 16, 2))
    for stages in (3, 2, 4, 1)
]


def fastest(host: Host, rows: PreparedRows, constants: Constants, deadline: float = math.inf) -> Tiles:
    """The best of the candidates for such rows, of those that are measured before `time.monotonic()` is `deadline`."""
    ones, row_ones = torch.ones_like(rows.mean), torch.ones_like(rows.row_mean)

    def measured(role: str, option: Tiles) -> float:
        if role.startswith("forward"):
            return seconds(lambda: host.forward_in(option, rows, constants), rows.z.device)
        weights = (ones, ones), (row_ones, row_ones)
        return seconds(lambda: host.backward_in(option, rows, constants, *weights), rows.z.device)

    chosen = tiles.tiles_for(host.architecture, rows.size.operand.width, constants.precision)
    best = {direction: measured(direction, chosen) for direction in ("forward", "backward")}
    for role, change in changes(constants):
        if time.monotonic() > deadline:
            print("out of time: the candidates that are left were not measured")
            break
        option = chosen._replace(**{role: getattr(chosen, role)._replace(**change)})
        direction = role.removesuffix("_band")
        if option != chosen and (taken := measured(role, option)) < best[direction]:
            chosen, best[direction] = option, taken
    return chosen


def changes(constants: Constants) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to try, the most promising first: a role, and fields of its tile to set on top of the best so far."""
    for role, candidates in PROMISING.items():
        yield from ((role, tile._asdict()) for tile in candidates)
    if tiles.takes_polynomial(constants.precision, constants.inside):
        yield "forward", {"polynomial": True}
    yield from ((role, {"splits": splits}) for splits in (2, 1) for role in PROMISING)
    for candidates, suffix in ((BAND, "_band"), (PLAIN, "")):
        yield from ((role + suffix, _shape(tile)) for tile in candidates for role in PROMISING)


def _shape(tile: Tile) -> dict[str, int]:
    return {"rows": tile.rows, "columns": tile.columns, "warps": tile.warps, "stages": tile.stages}


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The median of a few calls after one that compiles; infinite where the device cannot run it."""
    try:
        call()
        return statistics.median((_on_cuda if device.type == "cuda" else _on_cpu)(call))
    except Exception as error:  # too much shared memory, too many registers, a compiler's limit
        print(f"left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        if device.type == "cuda":
            torch.cuda.synchronize()  # raises if nothing runs on the device any more
        return math.inf


def _on_cuda(call: Callable[[], object]) -> list[float]:
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Other threads, of a data loader say, go on with what a capture would not allow in its own.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        call()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(ROUNDS + 1)]
    graph.replay()
    for event in events:
        event.record()
        graph.replay()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(events)]


def _on_cpu(call: Callable[[], object]) -> list[float]:
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--patch-size", type=int, default=8)
    parser.add_argument("--precision", choices=tiles.PRECISIONS, default="bf16")
    parser.add_argument("--n", type=int, default=8192, help="patches")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no measurement after so many")
    given = parser.parse_args()
    deadline = time.monotonic() + given.seconds
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here, and nothing to measure")
    dim = given.channels * given.patch_size**2
    constants = Spec().constants(dim, given.precision)
    hr, sr = torch.rand((2, given.n, given.channels, given.patch_size, given.patch_size), device="cuda")
    # The means of patches are spread as in photographs, so that the band is about as wide.
    hr = 0.25 * hr + 0.75 * torch.rand((given.n, 1, 1, 1), device="cuda")
    host = backend.host_of(sr.device)
    rows = host.prepare(Batch.alone(sr, hr), given.patch_size, False, constants)
    key = host.architecture, tiles.width_of(dim), given.precision
    print(f"{torch.cuda.get_device_name()}, n = {given.n}, for dec_kernels/backends/triton/tiles.py:")
    print(f"    {row(*key, fastest(host, rows, constants, deadline))},")


def row(architecture: str, width: int, precision: str, chosen: Tiles) -> str:
    """As the table has it."""
    defaults = tuple(Tile._field_defaults.values())
    cells = (tuple(tile[:4] if tile[4:] == defaults else tile) for tile in chosen)
    return str((architecture, width, precision, *cells)).replace("'", '"')


if __name__ == "__main__":
    main()
