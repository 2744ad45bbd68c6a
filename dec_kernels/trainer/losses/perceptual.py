"""The perceptual loss of ESRGAN (Wang et al., 2018, section 3.3): VGG's features before their activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.models.pretrained import Frozen, check_images
from dec_kernels.trainer.models.vgg import VGG, NetworkName
from dec_kernels.trainer.ranges import check_arguments

_PRESETS: dict[str, dict[str, float]] = {
    "esrgan": {"conv5_4": 1.0},
    "real-esrgan": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
}


def _mean_norm(found: Tensor, wanted: Tensor) -> Tensor:
    return torch.linalg.vector_norm(found - wanted, dim=(1, 2, 3)).mean()


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": _mean_norm}


class PerceptualLoss(nn.Module):
    """The weighted sum, over layers of VGG-19 or VGG-16, of the distance of two images' features.

    The network is no part of what is trained and saved: see `Frozen`. Under
    autocast it computes in the reduced precision, the differences in float32.

    Args:
        layers: each layer's weight, at least 0, by its name: `convN_M` is convolution M of block N. Or a paper's
            choice for VGG-19: `esrgan` is conv5_4 at 1; `real-esrgan` (Wang et al., 2021) is conv1_2 and conv2_2 at
            0.1 and conv3_4, conv4_4 and conv5_4 at 1.
        weights: file of the network's weights with torchvision's key names. None takes vgg19-dcbb9e9d.pth or
            vgg16-397923af.pth from PyTorch Hub's cache, or downloads it into that.
        distance: `l1` is ESRGAN's, the mean absolute difference. `l2` is the 2-norm of the difference, as Eq. 44 of the
            DECLoss paper prints it, in the mean over a batch; it grows with the root of the number of features.
        network: `vgg19`, as in the papers; or `vgg16`, whose last layer is conv5_3.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: a layer is unknown, its weight is negative or not finite, or there is none; the distance or the
            network is unknown; or the file holds the weights of another network.
    """

    def __init__(
        self,
        layers: Mapping[str, float] | Literal["esrgan", "real-esrgan"] = "esrgan",
        weights: str | Path | None = None,
        distance: Literal["l1", "l2"] = "l1",
        network: NetworkName = "vgg19",
    ) -> None:
        super().__init__()
        check_arguments(PerceptualLoss.__init__, locals())
        if isinstance(layers, str):
            if layers not in _PRESETS:
                raise ValueError(f"layers must be a mapping or one of {', '.join(_PRESETS)}, got {layers!r}")
            layers = _PRESETS[layers]
        for name, weight in layers.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"layers must have finite weights of at least 0, got {weight} for {name}")
        vgg = VGG(layers, weights, network)
        self.layers = dict(layers)
        self.distance = _DISTANCES[distance]
        self.smallest = vgg.smallest
        self.features = Frozen(vgg)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss of a batch, with a gradient with respect to `sr` alone.

        Args:
            sr: (B, 3, H, W) floating in [0, 1], H and W at least 16 for a layer of block 5, 8 for one of block 4, and
                so on.
            hr: as `sr`.

        Returns:
            a float32 scalar.

        Raises:
            TypeError: an image is not floating.
            ValueError: the images are too small, or not of one shape.
        """
        check_images(sr, hr, self.smallest)
        with torch.no_grad():
            wanted = self.features(hr)
        found = self.features(sr)
        terms = [w * self.distance(found[name].float(), wanted[name].float()) for name, w in self.layers.items()]
        return torch.stack(terms).sum()
