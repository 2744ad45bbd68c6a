"""What is measured on the device, the most important first: what the deadline cuts off is the end of a list."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.gpu.competitors import APPROXIMATE, CACHED, CHUNKS, FUSED, LABELS, PRESETS
from benchmarks.results import DIM, SMALL_DIM

PATCH_SIZES = {SMALL_DIM: 4, DIM: 8, 768: 16}

# One size of chunk for those that have a choice; all sizes compete where speed is claimed.
USUAL = tuple(
    name
    for name in LABELS
    if name not in {f"chunked_{mib}" for mib in CHUNKS if mib != 256}
    and name not in {f"cublas_triton_{mib}" for mib in CACHED if mib != 32}
)
# At the largest sizes the others would take minutes or all memory.
LINEAR = (*FUSED, *APPROXIMATE, "cublas_triton_32")


class Case(NamedTuple):
    """One n and D in one preset, and who takes part."""

    n: int
    dim: int
    precision: str
    names: Sequence[str]

    @property
    def place(self) -> dict[str, int | str]:
        return {"n": self.n, "dim": self.dim, "precision": self.precision}

    @property
    def key(self) -> dict[str, int | str]:
        """Tells it from other cases at the same place."""
        return self.place | {"among": len(self.names)}


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        cases: in the order of their importance.
        graphs_up_to: the largest n at which everybody's step is also replayed as a CUDA graph.
        kernels_at: the n at which each of our kernels is timed by itself.
        exact_up_to: the largest n whose results are compared with the dense float64 reference.
    """

    cases: Sequence[Case]
    graphs_up_to: int
    kernels_at: int
    exact_up_to: int


def _each(sizes: Iterable[int], dim: int, names: Sequence[str], presets: Sequence[str] = PRESETS) -> Iterator[Case]:
    return (Case(n, dim, precision, names) for n in sizes for precision in presets)


# The n of the claims about time, and of those about memory with D = 48; (in a dry run).
SPEED_AT = {False: 8192, True: 16}
MEMORY_AT = {False: 262144, True: 16}

FULL = {
    # What claims need. Ours alone comes first: seconds that tell most, before torch.compile takes its minutes.
    "measurements": Plan(
        cases=(
            *_each([8192], DIM, tuple(FUSED), ["bf16", "tf32"]),
            *_each([8192], DIM, tuple(LABELS)),
            *_each([262144], SMALL_DIM, LINEAR, ["tf32"]),
        ),
        graphs_up_to=8192,
        kernels_at=8192,
        exact_up_to=8192,
    ),
    # What plots, the choice between our backends, and other widths need.
    "curves": Plan(
        cases=(
            *_each([1024], DIM, USUAL),
            *_each([8192], SMALL_DIM, USUAL),
            *_each([8192], 768, USUAL),
            *_each([16384], DIM, USUAL),
            *_each([65536], DIM, LINEAR),
            *_each([4096, 2048], DIM, USUAL),
            *_each([1024, 65536], SMALL_DIM, LINEAR),
            *_each([1024, 16384], 768, LINEAR),
            *_each([262144], SMALL_DIM, LINEAR, ["bf16", "tf32x3", "ieee"]),
            *_each([32768], DIM, LINEAR),
            *_each([2048, 4096, 16384, 32768], SMALL_DIM, LINEAR),
            *_each([2048, 4096, 32768], 768, LINEAR),
            *_each([262144], DIM, LINEAR, ["bf16", "tf32"]),
        ),
        graphs_up_to=8192,
        kernels_at=8192,
        exact_up_to=8192,
    ),
}
DRY = {
    "measurements": Plan(
        cases=(
            *_each([16], DIM, tuple(FUSED), ["bf16"]),
            *_each([16], DIM, ("triton", "eager", "compile"), ["tf32"]),
            *_each([16], DIM, USUAL, ["ieee"]),
            *_each([16], DIM, ["triton"], ["tf32x3"]),
        ),
        graphs_up_to=16,
        kernels_at=16,
        exact_up_to=16,
    ),
    "curves": Plan(
        cases=(*_each([4], DIM, ["triton"], ["tf32"]), *_each([16], SMALL_DIM, ["cpp"], ["tf32"])),
        graphs_up_to=0,
        kernels_at=0,
        exact_up_to=16,
    ),
}
PLANS = {False: FULL, True: DRY}
