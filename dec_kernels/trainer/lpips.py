"""LPIPS as super-resolution papers report it: AlexNet, version 0.1 (Zhang et al., 2018)."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn

from dec_kernels.trainer.models.pretrained import Frozen, check_images, load_features

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"

SMALLEST = 31  # of which one pixel is left after AlexNet's second pooling
_SHIFT = (-0.030, -0.088, -0.188)  # LPIPS's normalisation of images in [-1, 1], red, green, blue
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class LPIPS(nn.Module):
    """Learned perceptual distance between images, 0 for equal ones: a measure, without gradients.

    Its networks are no part of what is trained and saved: see `Frozen`.

    Args:
        weights: file of AlexNet's weights with torchvision's key names. None takes alexnet-owt-7be5be79.pth from
            PyTorch Hub's cache, or downloads it into that (233 MB). LPIPS's own weights come with torchmetrics.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be downloaded.
        ValueError: the file holds the weights of another network.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.network = Frozen(_Network(weights))

    @torch.no_grad()
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The distance of each pair of images, computed in float32 under autocast too.

        Args:
            sr: (B, 3, H, W) floating in [0, 1], H and W at least 31.
            hr: as `sr`.

        Returns:
            (B,) float32.

        Raises:
            TypeError: an image is not floating.
            ValueError: the images are too small, or not of one shape.
        """
        check_images(sr, hr, SMALLEST)
        with torch.autocast(sr.device.type, enabled=False):
            return self.network(sr.float(), hr.float())


class _Network(nn.Module):
    shift: Tensor
    scale: Tensor

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        with torch.device("meta"):
            self.layers = nn.Sequential(
                *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
                *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
                *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            )
        load_features(self.layers, weights, URL, "model.lpips.init_args.weights")
        with as_file(files("torchmetrics.functional.image") / "lpips_models" / "alex.pth") as path:
            heads = torch.load(path, map_location="cpu", weights_only=True)
        self.heads = nn.ParameterList(heads[f"lin{number}.model.1.weight"] for number in range(5))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1))

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        distance = sr.new_zeros(len(sr))
        for head, a, b in zip(self.heads, self._features(sr), self._features(hr), strict=True):
            distance += (head * (a - b) ** 2).sum(dim=1).mean(dim=(1, 2))
        return distance

    def _features(self, image: Tensor) -> list[Tensor]:
        """After each of the five ReLUs, each pixel's channels scaled to a unit vector."""
        x = (2 * image - 1 - self.shift) / self.scale
        features = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                features.append(x / (x.norm(dim=1, keepdim=True) + _EPSILON))
        return features
