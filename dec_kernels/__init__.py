"""DECLoss, the Detail Enhanced Contrastive Loss for image super-resolution, exact and linear in memory.

Xu et al., "Uncovering the Over-smoothing Challenge in Image Super-Resolution: Entropy-based Quantification and
Contrastive Optimization", TPAMI 2024, Eqs. 37-42.
"""

from dec_kernels.loss import DECLoss, dec_loss

__all__ = ["DECLoss", "dec_loss"]
__version__ = "0.1.0"
