"""Where prepared rows lie in memory; nothing here imports Triton.

All tensors of `PreparedRows` that the backward needs share one block of bytes, `PreparedRows.kept`: a step allocates
once, and autograd keeps one tensor.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.backends.triton import tiles
from dec_kernels.spec import Constants

# With landmarks. Where a group has fewer columns than a tile of the plain kernels may have, the band is all of them.
FEWEST_COLUMNS = 128
# Small blocks make narrow bands. Of each block there are sums of L x D values, and all blocks meet each other.
SMALLEST_BLOCK, MOST_BLOCKS = 32, 1024
# Bytes: with less, Triton would compile the kernels again, for pointers that it cannot load vectors from.
_ALIGNMENT = 16


class Operand(NamedTuple):
    """How z' and h' are kept: padded to `width` values of `dtype`, with the low `rounded` bits of a float32 zero."""

    width: int
    dtype: torch.dtype
    rounded: int

    @classmethod
    def of(cls, dim: int, precision: str, architecture: str) -> Operand:
        """Of rows of `dim` = D values, for the products of a preset on an architecture of the tile table."""
        width = tiles.width_of(dim)
        rounded = int(tiles.shape_of(width, precision, architecture)["ROUNDED"])
        bf16 = precision == "bf16" and not rounded
        return cls(width, torch.bfloat16 if bf16 else torch.float32, rounded)


class Size(NamedTuple):
    """Of prepared rows.

    Attributes:
        groups, m, r: G groups of m columns and r rows.
        dim: D.
        operand: how the products take rows.
        landmarks: L; 0 where every pair is computed.
    """

    groups: int
    m: int
    r: int
    dim: int
    operand: Operand
    landmarks: int = 0

    @property
    def block(self) -> int:
        """How many columns a block has, for landmarks."""
        block = SMALLEST_BLOCK
        while block * MOST_BLOCKS < self.m:
            block *= 2
        return block

    @property
    def blocks(self) -> int:
        """How many there are in a group."""
        return -(-self.m // self.block)

    @classmethod
    def of(
        cls, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants, architecture: str
    ) -> Size:
        """Of the images `own`, (B, C, H, W), among `columns` patches in all."""
        groups = own.shape[0] if per_image else 1
        rows = own.shape[0] * math.prod(patches_in(own, patch_size))
        dim = own.shape[1] * patch_size**2
        operand = Operand.of(dim, constants.precision, architecture)
        landmarks = constants.landmarks if columns // groups >= FEWEST_COLUMNS else 0
        return cls(groups, columns // groups, rows // groups, dim, operand, landmarks)


def patches_in(images: Tensor, patch_size: int) -> tuple[int, int]:
    """Patches in a column and in a row of an image of a batch, (B, C, H, W)."""
    return images.shape[2] // patch_size, images.shape[3] // patch_size


class Far(NamedTuple):
    """What stands for pairs that are not near each other, as `dec_kernels.backends.triton.far` has it.

    Attributes:
        f_z, f_h: features of the columns, (G, m, L) float32.
        first_block, last_block: blocks first_block[I] <= J < last_block[I] are near block I, (G, blocks) int64.
    """

    f_z: Tensor
    f_h: Tensor
    first_block: Tensor
    last_block: Tensor


@dataclass(frozen=True)
class PreparedRows:
    """Sorted columns of a batch, in G groups of m, and which r of them are rows, as `dec_kernels.patches.Patches`.

    Attributes:
        size: G, m, r, D and D'.
        kept: the memory of all tensors here but `row_h`, (bytes,) uint8.
        z, h: c z and c h, (G, m, D'), as an `Operand` says.
        p: HR columns, (G, m, D) float32.
        mean, square: mean of p and |p - mean|^2, (G, m) float32.
        column_order: (G, m) int64: column j is patch column_order[j] of its group, counted in image order.
        row_z, row_h, row_p, row_mean, row_square, order: the same of the rows, (G, r, ...), counted among the patches
            of this process: the same tensors where all columns are rows. The backward has no `row_h`.
        column_of_row: (G, r) int64: row i is column column_of_row[i], counted over all groups.
        first, last: the band, (G, r) int32: positives of row i are columns first[i] <= j < last[i] of its group. With
            landmarks it is all columns of the blocks that are near the row's own.
        far: what stands for the other columns then.
    """

    size: Size
    kept: Tensor
    z: Tensor
    h: Tensor
    p: Tensor
    mean: Tensor
    square: Tensor
    column_order: Tensor
    row_z: Tensor
    row_p: Tensor
    row_mean: Tensor
    row_square: Tensor
    order: Tensor
    column_of_row: Tensor
    first: Tensor
    last: Tensor
    row_h: Tensor | None = None
    far: Far | None = None

    @property
    def alone(self) -> bool:
        """Whether all columns are rows."""
        return self.size.r == self.size.m


class Place(NamedTuple):
    """Where a tensor of `PreparedRows` begins in `PreparedRows.kept`: at value `offset` of its dtype."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def places(size: Size) -> tuple[list[Place], int]:
    """The tensors in `PreparedRows.kept`, and how many bytes they take."""
    float32, int32, int64 = torch.float32, torch.int32, torch.int64
    columns, rows, (width, dtype, _) = (size.groups, size.m), (size.groups, size.r), size.operand
    features, blocks = (*columns, size.landmarks), (size.groups, size.blocks)
    tensors: list[tuple[str, torch.dtype, tuple[int, ...]]] = [
        ("z", dtype, (*columns, width)), ("h", dtype, (*columns, width)),
        ("p", float32, (*columns, size.dim)), ("mean", float32, columns), ("square", float32, columns),
        ("column_order", int64, columns), ("column_of_row", int64, rows), ("first", int32, rows), ("last", int32, rows),
    ]  # fmt: skip
    if size.r != size.m:
        tensors += [
            ("row_z", dtype, (*rows, width)), ("row_p", float32, (*rows, size.dim)),
            ("row_mean", float32, rows), ("row_square", float32, rows), ("order", int64, rows),
        ]  # fmt: skip
    if size.landmarks:
        tensors += [
            ("f_z", float32, features), ("f_h", float32, features),
            ("first_block", int64, blocks), ("last_block", int64, blocks),
        ]  # fmt: skip
    found, end = [], 0
    for name, kind, shape in tensors:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        found.append(Place(name, kind, shape, strides, end // kind.itemsize))
        end += -(-math.prod(shape) * kind.itemsize // _ALIGNMENT) * _ALIGNMENT
    return found, end


_known_places = functools.lru_cache(places)  # for numbers: sizes that torch.compile leaves open have no hash


def allocate(like: Tensor, size: Size) -> PreparedRows:
    """Rows on the device of `like` that nothing was written to yet, without `row_h` where not all columns are rows."""
    return restore(like.new_empty(_known_places(size)[1], dtype=torch.uint8), size)


def restore(kept: Tensor, size: Size) -> PreparedRows:
    """The rows that lie in `PreparedRows.kept`, without `row_h` where not all columns are rows."""
    of_dtype = {dtype: kept.view(dtype) for dtype in {size.operand.dtype, torch.float32, torch.int32, torch.int64}}
    tensors: dict[str, Tensor] = {
        place.name: of_dtype[place.dtype].as_strided(place.shape, place.strides, place.offset)
        for place in _known_places(size)[0]
    }
    if size.r == size.m:
        names = ("z", "h", "p", "mean", "square")
        tensors |= {f"row_{name}": tensors[name] for name in names} | {"order": tensors["column_order"]}
    far = Far(*(tensors.pop(name) for name in Far._fields)) if size.landmarks else None
    return PreparedRows(size=size, kept=kept, far=far, **tensors)
