"""Upscaling images of any size, whole or tile by tile.

Sliding windows of libraries, such as MONAI's, average what overlapping windows make, and hold the whole result. Here
each pixel is that of one window, which has seen as much as the whole image would show it, and rows of tiles come out
one by one, so that memory is that of a tile and not of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


def upscale(
    generator: nn.Module,
    lr: Tensor,
    tile: int | None,
    overlap: int,
    finish: Callable[[Tensor], Tensor] = torch.clone,
) -> Tensor:
    """Upscales images of any size; see `upscale_bands`.

    Args:
        lr: (B, C, h, w), any floating dtype, on the generator's device.
        finish: what becomes of each tile's result, which has `lr`'s dtype, before the tiles are put together.

    Returns:
        (B, C, scale * h, scale * w), of what `finish` makes of the tiles; by default not clipped, with `lr`'s
        dtype and device.

    Raises:
        TypeError: `lr` is not floating-point.
        ValueError: see `upscale_bands`.
    """
    if not lr.is_floating_point():
        raise TypeError(f"lr must have a floating dtype, got {lr.dtype}: convert it by to_float()")
    bands = upscale_bands(
        generator, lr, tile, overlap, start=lambda window: window, finish=lambda sr: finish(sr.to(lr.dtype))
    )
    return torch.cat(list(bands), dim=-2)


def upscale_bands(
    generator: nn.Module,
    lr: Tensor,
    tile: int | None,
    overlap: int,
    start: Callable[[Tensor], Tensor],
    finish: Callable[[Tensor], Tensor],
) -> Iterator[Tensor]:
    """Upscales images of any size, if need be in tiles, one row of tiles after the other.

    Each tile is computed with `overlap` pixels of its surroundings, which are then cut off. The result is that of the
    whole image where the network sees no further than that. At the image's own border a network sees the same in both
    cases. Where the height or width is no multiple of `generator.multiple`, the image is continued by reflection at
    the bottom and right, and the output cropped.

    Beside `lr`, memory holds what the network needs for one tile with its overlap, and a row of finished tiles: twice
    when it is put together, and a third time if the one before it is still at hand.

    Args:
        generator: (B, C, h, w) to (B, C, scale * h, scale * w), for h and w that are multiples of its attribute
            `multiple`; `scale` is another attribute.
        lr: (B, C, h, w), any dtype that `start` takes.
        tile: height and width of a tile without its overlap, in pixels of `lr`, a multiple of `generator.multiple`;
            or None for the whole image at once.
        overlap: pixels of context at each side of a tile, a multiple of `generator.multiple`; without meaning for
            whole images.
        start: makes of a part of `lr`, pixel by pixel, what the generator takes: its dtype, on its device.
        finish: makes of a tile's result, without its overlap, what is to be kept of it: of the same shape.

    Yields:
        (B, C, up to scale * tile, scale * w), from top to bottom.

    Raises:
        ValueError: `lr` has not four dimensions or an empty one, or `tile` or `overlap` is no such multiple.
    """
    if lr.ndim != 4 or not lr.numel():
        raise ValueError(f"lr must be (B, C, h, w) and not empty, got shape {tuple(lr.shape)}")
    multiple: int = generator.multiple  # type: ignore[assignment]
    scale: int = generator.scale  # type: ignore[assignment]
    height, width = lr.shape[-2:]
    rows, columns = (_reflected(size, multiple) for size in (height, width))
    if tile is None:
        tile, overlap = max(len(rows), len(columns)), 0
    else:
        check_tiles(generator, tile, overlap)
    for top in range(0, height, tile):
        band = []
        for left in range(0, width, tile):
            first_row, first_column = max(0, top - overlap), max(0, left - overlap)
            seen = rows[first_row : top + tile + overlap], columns[first_column : left + tile + overlap]
            with torch.no_grad():
                sr = generator(_window(lr, *seen, start))
            y, x = scale * (top - first_row), scale * (left - first_column)
            sr = sr[..., y : y + scale * min(tile, height - top), x : x + scale * min(tile, width - left)]
            band.append(finish(sr))
        yield torch.cat(band, dim=-1)


def check_tiles(generator: nn.Module, tile: int, overlap: int) -> None:
    """Raises ValueError if `generator` cannot work in such tiles; see `upscale_bands`."""
    multiple: int = generator.multiple  # type: ignore[assignment]
    if tile < 1 or tile % multiple:
        raise ValueError(f"tile must be a positive multiple of the network's {multiple}, got {tile}")
    if overlap < 0 or overlap % multiple:
        raise ValueError(f"overlap must be 0 or a positive multiple of the network's {multiple}, got {overlap}")


def _window(lr: Tensor, rows: Tensor, columns: Tensor, start: Callable[[Tensor], Tensor]) -> Tensor:
    """`start` of these rows and columns, taken from what it makes of the least part of `lr` that has them.

    Parts are slices, and only the result is indexed: PyTorch 2.6 cannot index uint16.
    """
    top, left = int(rows.min()), int(columns.min())
    part = start(lr[..., top : int(rows.max()) + 1, left : int(columns.max()) + 1])
    return part[..., rows - top, :][..., columns - left]


def _reflected(size: int, multiple: int) -> Tensor:
    """0 .. size - 1, continued to the next multiple by reflection at the ends, as often as that takes."""
    period = 2 * (size - 1)
    index = torch.arange(-(-size // multiple) * multiple) % max(1, period)
    return torch.minimum(index, period - index)
