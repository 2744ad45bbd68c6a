"""Upscaling images of any size, whole or tile by tile."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def upscale(generator: nn.Module, lr: Tensor, tile: int | None, overlap: int) -> Tensor:
    """Upscale images of any size, if need be in tiles, so that memory depends on the tile and not on the image.

    Each tile is computed with ``overlap`` pixels of its surroundings, which are then cut off. The result is that of the
    whole image where the network sees no further than that. At the image's own border a network sees the same in both
    cases. Where the height or width is no multiple of ``generator.multiple``, the image is continued by reflection at
    the bottom and right, and the output cropped.

    Args:
        generator: (B, C, h, w) to (B, C, scale * h, scale * w), for h and w that are multiples of its attribute
            ``multiple``; ``scale`` is another attribute.
        lr: (B, C, h, w), any floating dtype.
        tile: height and width of a tile without its overlap, in pixels of ``lr``, a multiple of ``generator.multiple``;
            or None for the whole image at once.
        overlap: pixels of context at each side of a tile, a multiple of ``generator.multiple``; without meaning for
            whole images.

    Returns:
        (B, C, scale * h, scale * w), not clipped, with ``lr``'s dtype and device.

    Raises:
        TypeError: ``lr`` is not floating-point.
        ValueError: ``lr`` has not four dimensions or an empty one, or ``tile`` or ``overlap`` is no such multiple.
    """
    if not lr.is_floating_point():
        raise TypeError(f"lr must have a floating dtype, got {lr.dtype}: convert it by to_float()")
    if lr.ndim != 4 or not lr.numel():
        raise ValueError(f"lr must be (B, C, h, w) and not empty, got shape {tuple(lr.shape)}")
    multiple: int = generator.multiple  # type: ignore[assignment]
    scale: int = generator.scale  # type: ignore[assignment]
    batch, channels, height, width = lr.shape
    rows, columns = (_reflected(size, multiple).to(lr.device) for size in (height, width))
    padded = lr[..., rows, :][..., columns]
    if tile is None:
        return generator(padded)[..., : scale * height, : scale * width].to(lr.dtype)
    check_tiles(generator, tile, overlap)
    sr = lr.new_empty(batch, channels, scale * height, scale * width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            first_row, first_column = max(0, top - overlap), max(0, left - overlap)
            window = padded[..., first_row : top + tile + overlap, first_column : left + tile + overlap]
            target = sr[..., scale * top : scale * (top + tile), scale * left : scale * (left + tile)]
            y, x = scale * (top - first_row), scale * (left - first_column)
            target.copy_(generator(window)[..., y : y + target.shape[-2], x : x + target.shape[-1]])
    return sr


def check_tiles(generator: nn.Module, tile: int, overlap: int) -> None:
    """Raise ValueError if ``generator`` cannot work in such tiles; see :func:`upscale`."""
    multiple: int = generator.multiple  # type: ignore[assignment]
    if tile < 1 or tile % multiple:
        raise ValueError(f"tile must be a positive multiple of the network's {multiple}, got {tile}")
    if overlap < 0 or overlap % multiple:
        raise ValueError(f"overlap must be 0 or a positive multiple of the network's {multiple}, got {overlap}")


def _reflected(size: int, multiple: int) -> Tensor:
    """0 .. size - 1, continued to the next multiple by reflection at the ends, as often as that takes."""
    period = 2 * (size - 1)
    index = torch.arange(-(-size // multiple) * multiple) % max(1, period)
    return torch.minimum(index, period - index)
