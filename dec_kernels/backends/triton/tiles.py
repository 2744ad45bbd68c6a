"""The tile table: hand-picked configurations for each architecture, width of the rows and precision, and nothing else.

`python -m dec_kernels.backends.triton.aot` shows what each compiles to, without a GPU;
`python -m dec_kernels.backends.triton.tune` measures candidates on the GPU at hand and prints a row for this table.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

INTERPRETER = "interpreter"

PRECISIONS = ("ieee", "tf32x3", "tf32", "bf16")

WIDTHS = (16, 64, 128, 192, 256, 512, 768)  # D is padded to the next of these


class Form(NamedTuple):
    """In values of a row: of a chunk, of the share of dz that a program owns, and of the widest row that stays on chip.

    "ieee" has no tensor cores, and "tf32x3" two halves of every operand: both hold their operands in registers.
    """

    chunk: int
    share: int
    resident: int


FORMS = {
    "ieee": Form(chunk=16, share=64, resident=0),
    "tf32x3": Form(chunk=32, share=128, resident=64),
    "tf32": Form(chunk=64, share=256, resident=256),
    "bf16": Form(chunk=64, share=256, resident=256),
}
# Of the plain kernels where products are mma.sync, which takes both operands from registers: there is room for fewer
# 32-bit values at a time.
SYNCHRONOUS_FORMS = {
    ("sm_80", "tf32x3"): Form(chunk=16, share=128, resident=64),
    ("sm_80", "tf32"): Form(chunk=32, share=256, resident=192),
    ("sm_120", "tf32x3"): Form(chunk=16, share=128, resident=64),
    ("sm_120", "tf32"): Form(chunk=16, share=256, resident=192),
}


class Tile(NamedTuple):
    """How a kernel runs: a program takes `rows` rows and walks over tiles of `columns` columns.

    Attributes:
        rows, columns: of a tile; `warps` share it, and `stages` tiles (of the band: chunks) are on their way at a time.
        splits: into how many programs the walk of a block of rows may be cut, where there are few blocks. In the
            backward each of them holds sums of its own, n x D float32.
        polynomial: whether the forward takes exp A from a polynomial, so that the special-function units take half of
            the exponentials; where `takes_polynomial` says no, it has no effect.
    """

    rows: int
    columns: int
    warps: int
    stages: int
    splits: int = 4
    polynomial: bool = False


class Tiles(NamedTuple):
    forward: Tile
    forward_band: Tile
    backward: Tile
    backward_band: Tile


def takes_polynomial(precision: str, inside: bool) -> bool:
    """Whether its error is small beside the preset's, and it reaches far enough: not with the temperature inside."""
    return precision in ("tf32", "bf16") and not inside


def splits_of(tile: Tile, programs: int, columns: int, multiprocessors: int) -> int:
    """Into how many parts to cut the walk of so many programs over so many columns, so that every multiprocessor has
    two."""
    return max(1, min(-(-2 * multiprocessors // programs), columns // tile.columns, tile.splits))


@functools.cache
def shape_of(width: int, precision: str, architecture: str, band: bool = False) -> dict[str, int | str]:
    """How the plain or the band's kernels hold rows of a width and multiply them: constants of their compilation."""
    plain = None if band else SYNCHRONOUS_FORMS.get((architecture, precision))
    form = plain or FORMS[precision]
    chunk = min(form.chunk, width)
    chunks = width // chunk
    return {
        "CHUNKS": chunks,
        "CHUNK": chunk,
        # Shares are equal: the largest number of chunks that divides them all.
        "OWNED": max(owned for owned in range(1, chunks + 1) if chunks % owned == 0 and owned * chunk <= form.share),
        "RESIDENT": width <= form.resident,
        "PRODUCT": "ieee" if precision == "bf16" else precision,
        # The interpreter does not multiply bfloat16: float32 numbers with as few bits stand for them.
        "ROUNDED": 13 if precision == "tf32" else 16 if (architecture, precision) == (INTERPRETER, "bf16") else 0,
        "ASYNCHRONOUS": architecture == "sm_90",
    }


def shares_of(shape: dict[str, int | str]) -> int:
    """How many programs share the dz of a block of rows, by what `shape_of` says."""
    return int(shape["CHUNKS"]) // int(shape["OWNED"])


def width_of(dim: int) -> int:
    """What D is padded to."""
    return next(width for width in WIDTHS if width >= dim)


def tiles_for(architecture: str, width: int, precision: str) -> Tiles:
    return INTERPRETED if architecture == INTERPRETER else TABLE[architecture, width, precision]


def oldest_triton(architecture: str) -> tuple[int, int]:
    """The first version that compiles the kernels right for an architecture."""
    # 3.6 leaves fences out for sm_100, made an empty kernel of one of ours, and does not take fences of our own there.
    return (3, 7) if architecture == "sm_100" else (3, 6)


def architecture_of(capability: tuple[int, int]) -> str:
    """The row of the table for a compute capability: what is not there itself takes the one that fits into it."""
    major, minor = capability
    if (major, minor) in ((8, 0), (8, 7)):
        return "sm_80"
    if major == 9:
        return "sm_90"
    if major == 10:
        return "sm_100"
    return "sm_120"  # 100 KiB of shared memory, as 8.6 and 8.9 have


# Large, since the interpreter takes about as long for a tile of any size.
INTERPRETED = Tiles(*2 * (Tile(128, 128, 4, 1), Tile(64, 128, 4, 1)))

# Architecture, width, precision; rows, columns, warps, stages of forward, its band, backward, its band.
# fmt: off
_ROWS = [
    ("sm_80", 16, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 2), (16, 32, 4, 3)),
    ("sm_80", 16, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_80", 16, "tf32", (128, 64, 8, 2), (16, 16, 4, 3), (64, 64, 4, 2), (16, 64, 8, 2)),
    ("sm_80", 16, "bf16", (128, 64, 8, 2), (16, 32, 4, 3), (64, 64, 4, 2), (16, 32, 8, 3)),
    ("sm_80", 64, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_80", 64, "tf32x3", (128, 16, 8, 2), (16, 32, 4, 3), (128, 16, 8, 2), (16, 16, 4, 3)),
    ("sm_80", 64, "tf32", (128, 64, 8, 2), (16, 16, 4, 3), (64, 128, 4, 2), (16, 32, 8, 3)),
    ("sm_80", 64, "bf16", (128, 64, 8, 2), (16, 32, 4, 3), (64, 64, 4, 2), (16, 32, 4, 3)),
    ("sm_80", 128, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_80", 128, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 2)),
    ("sm_80", 128, "tf32", (128, 64, 8, 2), (16, 32, 4, 2), (64, 16, 4, 2), (16, 64, 8, 2)),
    ("sm_80", 128, "bf16", (128, 64, 8, 2), (16, 16, 4, 3), (64, 32, 4, 2), (16, 32, 8, 3)),
    ("sm_80", 192, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_80", 192, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 3)),
    ("sm_80", 192, "tf32", (64, 64, 4, 2), (16, 32, 4, 3), (64, 16, 4, 1), (16, 32, 4, 3)),
    ("sm_80", 192, "bf16", (128, 64, 8, 2), (16, 16, 4, 3), (64, 16, 4, 2), (16, 64, 8, 2)),
    ("sm_80", 256, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 1)),
    ("sm_80", 256, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 2)),
    ("sm_80", 256, "tf32", (64, 32, 4, 2), (16, 32, 4, 3), (64, 16, 4, 2), (16, 32, 4, 2)),
    ("sm_80", 256, "bf16", (128, 64, 8, 2), (16, 32, 4, 3), (64, 16, 4, 2), (16, 16, 4, 3)),
    ("sm_80", 512, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_80", 512, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 2)),
    ("sm_80", 512, "tf32", (64, 64, 8, 2), (16, 32, 4, 3), (128, 16, 8, 2), (16, 32, 4, 2)),
    ("sm_80", 512, "bf16", (128, 32, 8, 2), (16, 32, 4, 2), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_80", 768, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_80", 768, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 2)),
    ("sm_80", 768, "tf32", (64, 64, 8, 2), (16, 32, 4, 3), (128, 32, 8, 2), (16, 32, 4, 2)),
    ("sm_80", 768, "bf16", (128, 32, 8, 2), (16, 16, 4, 3), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_90", 16, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 3)),
    ("sm_90", 16, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_90", 16, "tf32", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 3), (16, 64, 8, 2)),
    ("sm_90", 16, "bf16", (128, 64, 8, 3), (16, 16, 4, 3), (128, 64, 8, 3), (16, 16, 4, 3)),
    ("sm_90", 64, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (32, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 64, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_90", 64, "tf32", (128, 64, 8, 3), (16, 16, 4, 3), (128, 64, 8, 3), (16, 32, 4, 3)),
    ("sm_90", 64, "bf16", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 3), (16, 32, 4, 3)),
    ("sm_90", 128, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 2)),
    ("sm_90", 128, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 128, "tf32", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 3), (16, 64, 8, 2)),
    ("sm_90", 128, "bf16", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 3), (16, 32, 4, 2)),
    ("sm_90", 192, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_90", 192, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_90", 192, "tf32", (64, 64, 4, 2), (16, 32, 4, 3), (128, 64, 8, 2), (16, 64, 8, 2)),
    ("sm_90", 192, "bf16", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 2), (16, 32, 4, 3)),
    ("sm_90", 256, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 3)),
    ("sm_90", 256, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 256, "tf32", (64, 32, 4, 2), (16, 32, 4, 3), (64, 64, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 256, "bf16", (128, 64, 8, 3), (16, 32, 4, 3), (128, 32, 8, 2), (16, 32, 4, 3)),
    ("sm_90", 512, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 2)),
    ("sm_90", 512, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 512, "tf32", (128, 64, 8, 2), (16, 32, 4, 3), (64, 32, 8, 2), (16, 32, 4, 2)),
    ("sm_90", 512, "bf16", (128, 128, 8, 2), (16, 32, 4, 3), (128, 64, 8, 2), (16, 32, 4, 3)),
    ("sm_90", 768, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_90", 768, "tf32x3", (64, 64, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_90", 768, "tf32", (128, 64, 8, 2), (16, 32, 4, 3), (64, 32, 8, 2), (16, 32, 4, 2)),
    ("sm_90", 768, "bf16", (128, 128, 8, 2), (16, 32, 4, 3), (128, 64, 8, 2), (16, 32, 4, 3)),
    ("sm_100", 16, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 3)),
    ("sm_100", 16, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 3), (64, 64, 4, 1), (16, 32, 4, 3)),
    ("sm_100", 16, "tf32", (128, 128, 8, 1), (16, 32, 4, 3), (64, 128, 4, 1), (16, 64, 8, 2)),
    ("sm_100", 16, "bf16", (128, 128, 8, 1), (16, 32, 4, 3), (64, 128, 4, 1), (16, 32, 4, 3)),
    ("sm_100", 64, "ieee", (64, 128, 8, 2), (16, 32, 4, 2), (32, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_100", 64, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 2), (128, 32, 8, 2), (16, 32, 4, 3)),
    ("sm_100", 64, "tf32", (128, 128, 8, 1), (16, 32, 4, 3), (64, 32, 4, 1), (16, 32, 4, 3)),
    ("sm_100", 64, "bf16", (128, 64, 8, 1), (16, 32, 4, 3), (64, 64, 4, 1), (16, 32, 4, 3)),
    ("sm_100", 128, "ieee", (32, 128, 4, 2), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 2)),
    ("sm_100", 128, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_100", 128, "tf32", (128, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 1), (16, 64, 8, 2)),
    ("sm_100", 128, "bf16", (128, 64, 8, 2), (16, 32, 4, 1), (128, 128, 8, 1), (16, 32, 4, 1)),
    ("sm_100", 192, "ieee", (32, 128, 4, 2), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 3)),
    ("sm_100", 192, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 3)),
    ("sm_100", 192, "tf32", (64, 64, 4, 1), (16, 32, 4, 2), (64, 32, 4, 1), (16, 16, 4, 2)),
    ("sm_100", 192, "bf16", (128, 64, 8, 3), (16, 32, 4, 3), (128, 64, 8, 1), (16, 32, 4, 3)),
    ("sm_100", 256, "ieee", (32, 128, 4, 2), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_100", 256, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_100", 256, "tf32", (64, 32, 4, 1), (16, 32, 4, 3), (64, 16, 4, 1), (16, 32, 4, 2)),
    ("sm_100", 256, "bf16", (128, 64, 8, 1), (16, 32, 4, 3), (64, 128, 4, 1), (16, 32, 4, 3)),
    ("sm_100", 512, "ieee", (32, 128, 4, 2), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 3)),
    ("sm_100", 512, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_100", 512, "tf32", (128, 64, 8, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 32, 4, 1)),
    ("sm_100", 512, "bf16", (128, 128, 8, 2), (16, 32, 4, 3), (128, 128, 8, 2), (16, 32, 4, 3)),
    ("sm_100", 768, "ieee", (32, 128, 4, 2), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_100", 768, "tf32x3", (64, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_100", 768, "tf32", (128, 64, 8, 2), (16, 32, 4, 2), (64, 32, 4, 2), (16, 32, 4, 2)),
    ("sm_100", 768, "bf16", (128, 128, 8, 2), (16, 32, 4, 3), (128, 128, 8, 2), (16, 32, 4, 3)),
    ("sm_120", 16, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 3)),
    ("sm_120", 16, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (64, 32, 4, 2), (16, 16, 4, 3)),
    ("sm_120", 16, "tf32", (128, 64, 8, 2), (16, 32, 8, 3), (64, 64, 4, 2), (16, 16, 4, 3)),
    ("sm_120", 16, "bf16", (128, 64, 8, 2), (16, 32, 4, 3), (64, 64, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 64, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (32, 32, 4, 2), (16, 32, 4, 1)),
    ("sm_120", 64, "tf32x3", (64, 16, 4, 2), (16, 16, 4, 2), (128, 16, 8, 2), (16, 32, 4, 3)),
    ("sm_120", 64, "tf32", (128, 64, 8, 2), (16, 16, 4, 3), (64, 32, 4, 3), (16, 32, 4, 3)),
    ("sm_120", 64, "bf16", (128, 64, 8, 2), (16, 16, 4, 3), (64, 64, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 128, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 16, 4, 2)),
    ("sm_120", 128, "tf32x3", (64, 32, 4, 2), (16, 16, 4, 3), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 128, "tf32", (64, 32, 4, 1), (16, 32, 4, 2), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 128, "bf16", (128, 64, 8, 2), (16, 32, 4, 2), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 192, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_120", 192, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 3)),
    ("sm_120", 192, "tf32", (64, 32, 4, 1), (16, 32, 4, 2), (64, 16, 4, 3), (16, 32, 4, 2)),
    ("sm_120", 192, "bf16", (64, 64, 4, 2), (16, 32, 4, 2), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 256, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 3)),
    ("sm_120", 256, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 3)),
    ("sm_120", 256, "tf32", (32, 64, 2, 2), (16, 32, 4, 2), (128, 16, 8, 2), (16, 32, 4, 2)),
    ("sm_120", 256, "bf16", (64, 64, 4, 2), (16, 16, 4, 3), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 512, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 2)),
    ("sm_120", 512, "tf32x3", (64, 32, 4, 2), (16, 16, 4, 2), (32, 16, 2, 1), (16, 32, 4, 3)),
    ("sm_120", 512, "tf32", (64, 64, 8, 2), (16, 16, 4, 2), (128, 16, 8, 2), (16, 32, 4, 2)),
    ("sm_120", 512, "bf16", (128, 64, 8, 2), (16, 32, 4, 3), (64, 16, 4, 2), (16, 32, 4, 3)),
    ("sm_120", 768, "ieee", (64, 64, 8, 1), (16, 32, 4, 2), (64, 32, 8, 1), (16, 32, 4, 1)),
    ("sm_120", 768, "tf32x3", (64, 32, 4, 2), (16, 32, 4, 3), (32, 16, 2, 1), (16, 32, 4, 3)),
    ("sm_120", 768, "tf32", (64, 64, 8, 2), (16, 32, 4, 2), (128, 16, 8, 2), (16, 32, 4, 2)),
    ("sm_120", 768, "bf16", (128, 64, 8, 2), (16, 32, 4, 2), (64, 16, 4, 2), (16, 16, 4, 3)),
]
# fmt: on
TABLE = {
    (architecture, width, precision): Tiles(*(Tile(*tile) for tile in row))
    for architecture, width, precision, *row in _ROWS
}

# Rows of a group from which the C++ backend's cuBLAS products are faster than the kernels here, as `make gpu` measures
# it. Empty: not measured yet on any architecture.
CROSSOVER: dict[tuple[str, int, str], int] = {}
