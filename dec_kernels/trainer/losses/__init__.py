"""Loss terms other than DECLoss: perceptual, adversarial, and the PSNR of pixels."""

from dec_kernels.trainer.losses.adversarial import discriminator_loss, generator_loss
from dec_kernels.trainer.losses.perceptual import PerceptualLoss
from dec_kernels.trainer.losses.psnr import psnr_loss

__all__ = ["PerceptualLoss", "discriminator_loss", "generator_loss", "psnr_loss"]
