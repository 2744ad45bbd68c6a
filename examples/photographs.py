"""What the examples train, and on what. In your own code, your data set and your network stand here."""

import torch
from skimage.data import astronaut
from torch import Tensor, nn
from torch.utils.data import TensorDataset

SCALE = 4


def pairs() -> TensorDataset:
    """The 64 tiles of a photograph: `lr` (64, 3, 16, 16) and `hr` (64, 3, 64, 64), float32 in [0, 1]."""
    photograph = torch.from_numpy(astronaut()).permute(2, 0, 1) / 255  # (3, 512, 512)
    hr = photograph.unfold(1, 64, 64).unfold(2, 64, 64).permute(1, 2, 0, 3, 4).flatten(0, 1)
    lr = nn.functional.interpolate(hr, scale_factor=1 / SCALE, mode="bicubic", antialias=True).clamp(0, 1)
    return TensorDataset(lr, hr)


class Network(nn.Module):
    """Bicubic interpolation, and two convolutions that correct it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.last = nn.Conv2d(32, 3 * SCALE**2, kernel_size=3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        correction = nn.functional.pixel_shuffle(self.last(self.first(lr).relu()), SCALE)
        return nn.functional.interpolate(lr, scale_factor=SCALE, mode="bicubic") + correction
