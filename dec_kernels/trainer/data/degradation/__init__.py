"""How low-resolution images come from high-resolution ones, other than by MATLAB's bicubic."""

from dec_kernels.trainer.data.degradation.base import Degradation
from dec_kernels.trainer.data.degradation.noise import GaussianNoise

__all__ = ["Degradation", "GaussianNoise"]
