"""The features of VGG-16 and VGG-19 (Simonyan and Zisserman, 2015), trained on ImageNet, before their activations."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dec_kernels.trainer.models.pretrained import load_features

NetworkName = Literal["vgg16", "vgg19"]


class _Network(NamedTuple):
    """The public file of a network's weights, and how many convolutions each of its blocks has."""

    url: str
    convolutions: tuple[int, ...]


_NETWORKS: dict[str, _Network] = {
    "vgg16": _Network("https://download.pytorch.org/models/vgg16-397923af.pth", (2, 2, 3, 3, 3)),
    "vgg19": _Network("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", (2, 2, 4, 4, 4)),
}
_CHANNELS = (64, 128, 256, 512, 512)  # of each block
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images in [0, 1], red, green, blue
_STD = (0.229, 0.224, 0.225)


class VGG(nn.Module):
    """(B, 3, H, W) in [0, 1] to `{layer: (B, channels, height, width)}`, each before its ReLU.

    The network ends with the deepest layer asked for. Each block after the first halves height and width; channels are
    64, 128, 256, 512 and 512.

    Args:
        layers: `convN_M` is convolution M of block N. VGG-19 has 2, 2, 4, 4 and 4 in the blocks 1 to 5, VGG-16 has 2,
            2, 3, 3 and 3.
        weights: file with torchvision's key names, in float32 or a 16-bit type. None takes the public file from PyTorch
            Hub's cache, or downloads it into that (some 550 MB).
        network: `vgg16` or `vgg19`.

    Attributes:
        smallest: the least height and width of an input, of which one pixel is left at the deepest layer.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: the network is unknown; no layer is asked for, or one that there is not; the file holds the weights
            of another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, layers: Collection[str], weights: str | Path | None = None, network: NetworkName = "vgg19"
    ) -> None:
        super().__init__()
        if network not in _NETWORKS:
            raise ValueError(f"network must be one of {', '.join(_NETWORKS)}, got {network!r}")
        url, convolutions = _NETWORKS[network]
        with torch.device("meta"):
            modules = _modules(convolutions)
        known = [name for name in modules if name.startswith("conv")]
        unknown = [name for name in layers if name not in known]
        if unknown or not layers:
            raise ValueError(
                f"layers of {network} must be at least one of {', '.join(known)}, got {', '.join(unknown) or 'none'}"
            )
        # All of them are loaded, so that a file of VGG-16, which begins alike, is not mistaken for one of VGG-19.
        load_features(nn.Sequential(*modules.values()), weights, url, "model.perceptual.init_args.weights")
        depth = 1 + max(list(modules).index(name) for name in layers)
        self.layers = nn.ModuleDict(dict(islice(modules.items(), depth)))
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wanted = frozenset(layers)
        self.smallest = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.layers.values())
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = (image - self.mean) / self.std
        features = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in self.wanted:
                features[name] = x
        return features


def _modules(convolutions: tuple[int, ...]) -> dict[str, nn.Module]:
    """All layers by name, in the order by which torchvision numbers them."""
    layers: dict[str, nn.Module] = {}
    before = 3
    for block, (channels, count) in enumerate(zip(_CHANNELS, convolutions, strict=True), start=1):
        for number in range(1, count + 1):
            layers[f"conv{block}_{number}"] = nn.Conv2d(before, channels, 3, padding=1)
            layers[f"relu{block}_{number}"] = nn.ReLU()
            before = channels
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers
