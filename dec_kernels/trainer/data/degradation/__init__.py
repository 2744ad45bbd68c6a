"""How low-resolution images come from high-resolution ones, other than by MATLAB's bicubic.

`base` says what a degradation is. Those of real photographs draw their `steps` from settings (`draws`), in the order of
`real_esrgan` or `bsrgan`, and then take them.
"""

from dec_kernels.trainer.data.degradation.base import Degradation
from dec_kernels.trainer.data.degradation.bsrgan import BSRGAN
from dec_kernels.trainer.data.degradation.noise import GaussianNoise
from dec_kernels.trainer.data.degradation.real_esrgan import RealESRGAN

__all__ = ["BSRGAN", "Degradation", "GaussianNoise", "RealESRGAN"]
