"""Files with random weights in the place of torchvision's."""

from pathlib import Path

import torch
from torch import Tensor

ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
VGG_16 = {
    **{0: (64, 3, 3), 2: (64, 64, 3), 5: (128, 64, 3), 7: (128, 128, 3), 10: (256, 128, 3), 12: (256, 256, 3)},
    **{14: (256, 256, 3), 17: (512, 256, 3), 19: (512, 512, 3), 21: (512, 512, 3), 24: (512, 512, 3)},
    **{26: (512, 512, 3), 28: (512, 512, 3)},
}  # layer of `features` -> channels, channels before it, side of its kernels


def save(path: Path, shapes: dict[int, tuple[int, int, int]]) -> Path:
    """Random weights under torchvision's keys. All weights of a kernel are equal, which keeps the file small."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for index, (channels, before, side) in shapes.items():
        weight = torch.randn(channels, before, 1, 1) * (2 / (side**2 * before)) ** 0.5
        state[f"features.{index}.weight"] = weight.expand(-1, -1, side, side)
        state[f"features.{index}.bias"] = torch.zeros(channels)
    torch.save(state, path)
    return path
