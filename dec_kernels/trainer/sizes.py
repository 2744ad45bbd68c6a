"""Sizes that do not fit the networks, found before the training rather than at the first batch or validation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dec_kernels.trainer.data import ImagePairs
from dec_kernels.trainer.lpips import SMALLEST


@torch.no_grad()
def check_crop(generator: nn.Module, crop_size: int, scale: int) -> None:
    """Raises ValueError if `generator` cannot make (3, crop_size, crop_size) of what is `scale` times smaller."""
    side = crop_size // scale
    wanted = (1, 3, crop_size, crop_size)
    lr = next(generator.parameters(), torch.empty(0)).new_zeros(1, 3, side, side)
    try:
        with _evaluating(_copy_of(generator)) as trial:  # so that neither statistics nor random numbers change by it
            sr: Tensor = trial(lr)
    except ValueError as error:
        raise ValueError(
            f"model.generator cannot be trained on {side} x {side} pixels, which data.crop_size {crop_size} leaves at "
            f"data.scale {scale}: {error}"
        ) from error
    if tuple(sr.shape) != wanted:
        raise ValueError(
            f"model.generator makes {tuple(sr.shape)} of a low-resolution crop (1, 3, {side}, {side}): wanted is "
            f"{wanted}, for data.crop_size {crop_size} at data.scale {scale}"
        )


def _copy_of(network: nn.Module) -> nn.Module:
    """A copy, which keeps the trial from whatever a network counts; itself where it has none, as with weight_norm."""
    try:
        return copy.deepcopy(network)
    except RuntimeError:
        return network


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Within, `network` is in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_for_lpips(pairs: ImagePairs) -> None:
    """Raises ValueError if an image to evaluate on is too small for LPIPS."""
    for photo, size in zip(pairs.photos, pairs.sizes, strict=True):
        height, width = (pairs.scale * side for side in size)
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"{photo.hr} has {height} x {width} pixels, and model.lpips needs {SMALLEST} x {SMALLEST}: leave the "
                "image out, or do without model.lpips"
            )
