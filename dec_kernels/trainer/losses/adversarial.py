"""The relativistic average GAN of ESRGAN (Wang et al., 2018, section 3.2; Jolicoeur-Martineau, 2018).

The discriminator judges how much more real one image looks than those of the other kind do on average. `real` and
`fake` are its outputs C(x) for real and for super-resolved images, before any sigmoid: one number an image, (B, 1),
or one a pixel, (B, 1, H, W). Means go over all of them, in this process, as BasicSR's do.

    D_Ra(a, b) = sigmoid(C(a) - mean(C(b)))

Both losses are half of what ESRGAN's equations 1 and 2 say, as in the authors' code: the mean of their two parts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """ESRGAN's equation 1, halved: real images should look more real than fake ones, and the other way round.

    Gradients pass through the means too: compute `real` and `fake` with the same state of the discriminator, and
    `fake` from images that are detached from the generator.

    Args:
        real: the discriminator's outputs for real images, before the sigmoid: floating, any shape.
        fake: those for super-resolved images, likewise.

    Returns:
        a scalar, float32 for 16-bit outputs; log(2) where the two kinds cannot be told apart.
    """
    dtype = torch.promote_types(real.dtype, torch.float32)
    real, fake = real.to(dtype), fake.to(dtype)
    # log(1 - sigmoid(x)) = log(sigmoid(-x)): binary cross-entropy on logits, without its overflow.
    return -0.5 * (F.logsigmoid(real - fake.mean()).mean() + F.logsigmoid(real.mean() - fake).mean())


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """ESRGAN's equation 2, halved: the same with the kinds exchanged.

    Args:
        real: the discriminator's outputs for real images, before the sigmoid: floating, any shape. They are taken as
            constant: the generator has no part in them.
        fake: those for super-resolved images, likewise.

    Returns:
        a scalar, float32 for 16-bit outputs; log(2) where the two kinds cannot be told apart.
    """
    return discriminator_loss(fake, real.detach())
