"""DECLoss for neosr: importing this module registers `type = "dec_loss"` for the losses of a TOML config.

neosr imports only the losses in its own folder. `dec-kernels install-shim neosr PATH` writes a file there that imports
this module.
"""

from dec_kernels import DECLoss
from dec_kernels.integrations import missing, register

try:
    from neosr.utils.registry import LOSS_REGISTRY
except ImportError as error:
    raise missing("neosr", "Clone https://github.com/neosr-project/neosr and run in that folder.", error) from error


class dec_loss(DECLoss):
    """`dec_kernels.DECLoss` under a name in neosr's style, with the same arguments, including `loss_weight`."""


class detail_enhanced_contrastive_loss(DECLoss):
    """The same loss, for use if the name dec_loss is taken."""


register(LOSS_REGISTRY, dec_loss, detail_enhanced_contrastive_loss)
