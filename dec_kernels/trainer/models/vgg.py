"""The features of VGG-19 (Simonyan and Zisserman, 2015), trained on ImageNet, before their activations."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from dec_kernels.trainer.models.pretrained import load_features

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between poolings
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images in [0, 1], red, green, blue
_STD = (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """(B, 3, H, W) in [0, 1] to `{layer: (B, channels, height, width)}`, each before its ReLU.

    The network ends with the deepest layer asked for. Each block after the first halves height and width; channels are
    64, 128, 256, 512 and 512.

    Args:
        layers: `convN_M` is convolution M of block N: 2, 2, 4, 4 and 4 in the blocks 1 to 5.
        weights: file with torchvision's key names. None takes the public `URL` from PyTorch Hub's cache, or
            downloads it into that (548 MB).

    Attributes:
        smallest: the least height and width of an input, of which one pixel is left at the deepest layer.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: no layer is asked for, or one that there is not; the file holds the weights of another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Collection[str], weights: str | Path | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            network = _network()
        known = [name for name in network if name.startswith("conv")]
        unknown = [name for name in layers if name not in known]
        if unknown or not layers:
            raise ValueError(f"layers must name at least one of {', '.join(known)}, got {', '.join(unknown) or 'none'}")
        # All of them are loaded, so that a file of VGG-16, which begins alike, is not mistaken for one of VGG-19.
        load_features(nn.Sequential(*network.values()), weights, URL, "model.perceptual.init_args.weights")
        depth = 1 + max(list(network).index(name) for name in layers)
        self.layers = nn.ModuleDict(dict(islice(network.items(), depth)))
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


def _network() -> dict[str, nn.Module]:
    """All layers by name, in the order by which torchvision numbers them."""
    layers: dict[str, nn.Module] = {}
    before = 3
    for block, (channels, convolutions) in enumerate(_BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            layers[f"conv{block}_{number}"] = nn.Conv2d(before, channels, 3, padding=1)
            layers[f"relu{block}_{number}"] = nn.ReLU()
            before = channels
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers
