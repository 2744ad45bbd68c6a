"""Pretrained networks that losses and metrics look through: their public weight files, and keeping them frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dec_kernels.trainer.models.reading import fill, read_tensors

_PREFIX = "features."  # torchvision's name for the convolutional part of a classifier


class Frozen(nn.Module):
    """Computes with `network`, moves with the module around it, and is otherwise no part of that.

    The network is neither in `parameters()` nor in `buffers()` nor in `state_dict()`: it is not trained, not
    written into checkpoints, and DistributedDataParallel does not send it around. It stays in evaluation mode.
    Gradients pass through it to its inputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = (network.eval().requires_grad_(False),)  # in a tuple, PyTorch does not see it as a part

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._network[0]._apply(fn, recurse)  # noqa: SLF001  as PyTorch does with a module's parts
        return self

    def forward(self, *inputs: Tensor) -> Any:
        return self._network[0](*inputs)


def cached(url: str) -> Path:
    """Where PyTorch Hub keeps the file of `url`, if it has been downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def load_features(layers: nn.Sequential, weights: str | Path | None, url: str, option: str) -> None:
    """Fills `layers`, which may be on the meta device, with the `features.*` of a weight file of torchvision's.

    Args:
        layers: the convolutional part of the network, all of it; float32 afterwards.
        weights: path of the file. None takes `url`'s from PyTorch Hub's cache, or downloads it into that.
        url: where the public file lies.
        option: where users name the file, for the error's text.

    Raises:
        FileNotFoundError: there is no such file, or it is not in the cache and cannot be downloaded.
        ValueError: the file is damaged, or holds the weights of another network; the message lists what differs.
    """
    if weights is not None:
        state = read_tensors(weights)
    else:
        file = cached(url)
        # Processes that get here together each download into a file of their own, which takes its place when complete.
        try:
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything
            if isinstance(error, OSError) and not file.exists():
                raise FileNotFoundError(
                    f"the pretrained weights {Path(url).name} are not on this machine and cannot be "
                    f"downloaded ({error}): get them from {url} and put the file into {file.parent}, or give its "
                    f"path as {option}"
                ) from error
            raise ValueError(
                f"the pretrained weights {file} are damaged: remove the file, so that it is downloaded again"
            ) from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{weights or url} holds no weights but a {type(state).__name__}")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    features = {key.removeprefix(_PREFIX): value for key, value in tensors.items() if key.startswith(_PREFIX)}
    if different := fill(layers, features, assign=True):
        raise ValueError(f"{weights or url} holds the weights of another network, not {Path(url).stem}: {different}")
    layers.float()


def check_images(sr: Tensor, hr: Tensor, smallest: int) -> None:
    """Checks that a network can compare two batches of images.

    Raises:
        TypeError: one is not floating.
        ValueError: they are not of one shape (B, 3, H, W) with H and W of at least `smallest`.
    """
    for name, image in (("sr", sr), ("hr", hr)):
        if not image.is_floating_point():
            raise TypeError(f"{name} must be floating, in [0, 1], got {image.dtype}")
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"{name} must be (B, 3, H, W), got {tuple(image.shape)}")
    if sr.shape != hr.shape:
        raise ValueError(f"sr and hr must have one shape, got {tuple(sr.shape)} and {tuple(hr.shape)}")
    if min(sr.shape[-2:]) < smallest:
        raise ValueError(
            f"sr and hr must be at least {smallest} x {smallest} pixels for the deepest layer, "
            f"got {sr.shape[-2]} x {sr.shape[-1]}"
        )
