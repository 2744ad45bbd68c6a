"""Outputs of networks on the held-out photographs, and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.evidence.figures import METRICS
from benchmarks.spectrum import beyond_lr
from dec_kernels.coo import CenterProblem, examine
from dec_kernels.trainer.data import ImagePairs, SRDataModule
from dec_kernels.trainer.lpips import LPIPS
from dec_kernels.trainer.metrics import border_of, measure
from dec_kernels.trainer.pixels import to_float, to_uint8
from dec_kernels.trainer.sharpness import gradient_energy

Figures = dict[str, float]


class HeldOut:
    """The held-out photographs, and what is computed from them once.

    Args:
        folder: of the photographs.
        scale: of the networks.
        lpips: file of AlexNet's weights.
        coo_patches: how many patches the over-smoothing figure is computed from at most.

    Raises:
        FileNotFoundError: there is no such folder, no image in it, or no file of weights.
        ValueError: an image cannot be used, or the file holds the weights of another network.
    """

    def __init__(self, folder: Path, scale: int, lpips: Path, coo_patches: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.lpips = LPIPS(lpips).to(self.device)
        data = SRDataModule(train=[], val=[str(folder)], scale=scale)
        data.setup("validate")
        self.pairs: ImagePairs = data.pairs["val"]
        self.problem: CenterProblem = examine(
            [to_uint8(pair.hr) for pair in self.pairs], scale, max_patches=coo_patches
        )

    def upscaled(self, generator: nn.Module) -> dict[str, Tensor]:
        """What a network makes of each photograph, by name: (3, H, W) uint8 on the CPU."""
        device = next(generator.parameters()).device
        with torch.inference_mode():
            return {pair.name: to_uint8(generator(to_float(pair.lr)[None].to(device)))[0].cpu() for pair in self.pairs}

    def figures(self, images: Mapping[str, Tensor]) -> dict[str, Figures]:
        """The figures of `METRICS` of a network's outputs, photograph by photograph.

        PSNR, SSIM and LPIPS are those of `dec_kernels.trainer.metrics.measure`, over-smoothing that of
        `dec_kernels.coo`: 0 at HR, 1 at the centre of all HR patches with the same LR patch, NaN where there is
        nothing to smooth.

        Args:
            images: name -> (3, H, W) uint8, for every photograph.
        """
        place = self.problem.score([images[pair.name] for pair in self.pairs]).image_scores.tolist()
        return {pair.name: self._of_one(images[pair.name], pair.hr, place[i]) for i, pair in enumerate(self.pairs)}

    def _of_one(self, sr: Tensor, hr: Tensor, over_smoothing: float) -> Figures:
        sr, hr = sr.to(self.device), hr.to(self.device)
        measured = measure(sr, hr, border_of(self.problem.settings.scale), self.lpips)
        energy, correlation = beyond_lr(sr, to_uint8(hr), self.problem.settings.scale)
        own = {
            "gradient_energy": gradient_energy(sr) / gradient_energy(to_uint8(hr)),
            "energy_beyond_lr": energy,
            "correlation_beyond_lr": correlation,
            "colour_bias": colour_bias(sr, to_uint8(hr)),
            "over_smoothing": over_smoothing,
        }
        return {name: (measured | own)[name] for name in METRICS}


def colour_bias(sr: Tensor, hr: Tensor) -> float:
    """The 2-norm, in gray levels of 255, of the difference between the mean red, green and blue of two images.

    Args:
        sr: (3, H, W) uint8.
        hr: as `sr`.
    """
    return (sr.double() - hr.double()).mean((1, 2)).norm().item()
