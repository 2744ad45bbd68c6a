r"""The degradation as a linear map (Eq. 4), its pseudo-inverse, and the two parts of an image (Eqs. 7, 32 and 33).

MATLAB's bicubic is separable: `D I_y = R_h I_y R_w^T` for each channel, which is $D = R_h \otimes R_w$ for the image as
one vector. So $D^\dagger = R_h^\dagger \otimes R_w^\dagger$, and the SVDs of the two small factors replace that of a
matrix with as many columns as the image has pixels. The factors are those of whole images: their border, which reflects
the image, is part of D.

The factors are well conditioned, with singular values from 0.24 to 0.71 for the scales 2 to 8. So nothing is lost but
the rounding of float64.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.resize import resize_matrix


class Parts(NamedTuple):
    r"""What a degradation keeps and what it loses of an image `I_y = range + null`; all float64.

    Attributes:
        low: $I_x = D I_y$.
        range: $D^\dagger D I_y = D^\dagger I_x$, the point of the hyperplane $D I = I_x$ that is nearest to the origin.
            The paper calls it the blurriest point.
        null: $v = (I - D^\dagger D) I_y$, with $D v = 0$.
    """

    low: Tensor
    range: Tensor
    null: Tensor


def degrade(image: Tensor, scale: int) -> Tensor:
    """$I_x = D I_y$: MATLAB's bicubic before rounding, so that it stays linear.

    Args:
        image: (..., H, W) floating-point, on the CPU; H and W are multiples of `scale`.
        scale: high-resolution size / low-resolution size, at least 2.

    Returns:
        (..., H / scale, W / scale) float64.

    Raises:
        ValueError: `scale` is less than 2, or does not divide H and W.
    """
    (rows, _), (columns, _) = _factors_of(image, scale)
    return rows @ image.double() @ columns.mT


def restore(low: Tensor, scale: int) -> Tensor:
    r"""$D^\dagger I_x$, the image with the smallest norm among those that `degrade` makes `low` of.

    Args:
        low: (..., h, w) floating-point.
        scale: as for `degrade`.

    Returns:
        (..., scale * h, scale * w) float64.
    """
    rows, columns = (_factors(size * scale, scale)[1] for size in low.shape[-2:])
    return rows @ low.double() @ columns.mT


def split(image: Tensor, scale: int) -> Parts:
    r"""The parts of an image in the range of $D^\dagger$ and in the null space of D.

    Args:
        image: as for `degrade`.
        scale: as for `degrade`.

    Raises:
        ValueError: as for `degrade`.
    """
    low = degrade(image, scale)
    blurriest = restore(low, scale)
    return Parts(low, blurriest, image.double() - blurriest)


def _factors_of(image: Tensor, scale: int) -> tuple[tuple[Tensor, Tensor], ...]:
    if scale < 2:
        raise ValueError(f"scale must be at least 2, since nothing is lost otherwise, got {scale}")
    height, width = image.shape[-2:]
    if height % scale or width % scale or not height * width:
        raise ValueError(f"the sides of an image must be multiples of scale {scale}, got {height} x {width} (H x W)")
    return _factors(height, scale), _factors(width, scale)


@lru_cache(maxsize=8)
def _factors(size: int, scale: int) -> tuple[Tensor, Tensor]:
    """R, (size / scale, size), and its pseudo-inverse, float64."""
    matrix = resize_matrix(size, 1 / scale)
    return matrix, torch.linalg.pinv(matrix)
