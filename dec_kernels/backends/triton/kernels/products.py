"""Chunks of rows, and products of them on the tensor cores.

Rows have D values, padded with zeros to CHUNKS * CHUNK. A tuple holds chunks of a block of rows, so that the width
needs to be no power of two and every accumulator is small enough to stay in registers. Where `RESIDENT`, a program
keeps its own rows on the chip; wider ones it reads again for every tile.
"""

import triton
import triton.language as tl

from dec_kernels.backends.triton import numbers_of
from dec_kernels.backends.triton.kernels.arithmetic import round_bits

# Before 3.7 Triton puts no fence between what cp.async copies to shared memory and the products that read it there.
_LACKS_FENCES = tl.constexpr(numbers_of(triton.__version__) < (3, 7))


@triton.jit
def load_rows(rows, index, valid, begin, COUNT: tl.constexpr, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """COUNT chunks from chunk `begin` on, (b, CHUNK) each, of the rows at `index` (b,); zeros where not valid.

    All rows are valid where `valid` is None.
    """
    chunks = ()
    for c in tl.static_range(COUNT):
        d = (begin + c) * CHUNK + tl.arange(0, CHUNK)
        pointers = rows + index[:, None] * (CHUNKS * CHUNK) + d[None, :]
        if valid is None:
            chunks = chunks + (tl.load(pointers),)
        else:
            chunks = chunks + (tl.load(pointers, mask=valid[:, None], other=0.0),)
    return chunks


@triton.jit
def load_chunk(rows, index, c, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """Chunk c, (b, CHUNK), of the rows at `index` (b,)."""
    return load_rows(rows, index, None, c, 1, CHUNKS, CHUNK)[0]


@triton.jit
def fence(ASYNCHRONOUS: tl.constexpr):
    """Shows what was loaded to products that read shared memory through the asynchronous proxy, as wgmma does."""
    if ASYNCHRONOUS and _LACKS_FENCES:
        tl.inline_asm_elementwise(
            "fence.proxy.async.shared::cta; mov.b32 $0, $1;", "=r,r", [0], dtype=tl.int32, is_pure=False, pack=1
        )


@triton.jit
def similarities(left, right, PRODUCT: tl.constexpr):
    """(a, b): every row of `left` with every row of `right`."""
    product = tl.zeros((left[0].shape[0], right[0].shape[0]), tl.float32)
    for c in tl.static_range(len(left)):
        product = tl.dot(left[c], right[c].T, product, input_precision=PRODUCT)
    return product


@triton.jit
def similarities_from_memory(
    left, i, i_valid, right, j,
    CHUNKS: tl.constexpr, CHUNK: tl.constexpr, PRODUCT: tl.constexpr, ASYNCHRONOUS: tl.constexpr,
):  # fmt: skip
    """The same for rows i of `left` and j of `right` in memory, chunk after chunk, which takes few registers."""
    product = tl.zeros((i.shape[0], j.shape[0]), tl.float32)
    for c in tl.range(CHUNKS, num_stages=3):
        (x_i,) = load_rows(left, i, i_valid, c, 1, CHUNKS, CHUNK)
        x_j = load_chunk(right, j, c, CHUNKS, CHUNK)
        fence(ASYNCHRONOUS)
        product = tl.dot(x_i, x_j.T, product, input_precision=PRODUCT)
    return product


@triton.jit
def add_product(sums, weights, chunks, PRODUCT: tl.constexpr, ROUNDED: tl.constexpr):
    """sums + weights @ rows, chunk by chunk; `weights` (a, b) float32 are rounded as the rows were."""
    weights = round_bits(weights, ROUNDED).to(chunks[0].dtype)
    result = ()
    for c in tl.static_range(len(chunks)):
        result = result + (tl.dot(weights, chunks[c], sums[c], input_precision=PRODUCT),)
    return result


@triton.jit
def zero_rows(ROWS: tl.constexpr, COUNT: tl.constexpr, CHUNK: tl.constexpr):
    chunks = ()
    for _ in tl.static_range(COUNT):
        chunks = chunks + (tl.zeros((ROWS, CHUNK), tl.float32),)
    return chunks
