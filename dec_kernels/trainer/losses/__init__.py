"""Loss terms other than DECLoss: perceptual and adversarial."""

from dec_kernels.trainer.losses.adversarial import discriminator_loss, generator_loss
from dec_kernels.trainer.losses.perceptual import PerceptualLoss

__all__ = ["PerceptualLoss", "discriminator_loss", "generator_loss"]
