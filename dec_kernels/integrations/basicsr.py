"""DECLoss for BasicSR: registers the loss, and models that use it if the `train:` section has `dec_opt`.

    python -m dec_kernels.integrations.basicsr -opt train.yml

registers them and runs BasicSR's own training with the same arguments. It writes `experiments/` to the current folder.
"""

import os
from typing import Any

import torch
from torch import Tensor

from dec_kernels import DECLoss
from dec_kernels.integrations import missing, register, warn_where_ignored

try:
    from basicsr.losses import build_loss
    from basicsr.models.base_model import BaseModel
    from basicsr.models.esrgan_model import ESRGANModel
    from basicsr.models.sr_model import SRModel
    from basicsr.models.srgan_model import SRGANModel
    from basicsr.models.swinir_model import SwinIRModel
    from basicsr.train import train_pipeline
    from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
except ImportError as error:
    raise missing("BasicSR", "Install it with: pip install basicsr.", error) from error


class DetailEnhancedContrastiveLoss(DECLoss):
    """The same loss, for use if the name DECLoss is taken."""


register(LOSS_REGISTRY, DECLoss, DetailEnhancedContrastiveLoss)


@MODEL_REGISTRY.register()
class DECSRModel(SRModel):
    """BasicSR's SRModel with one more loss, which is built from `dec_opt` and logged as `l_g_dec`.

    Any other model gets the loss in the same way: `class Mine(DECSRModel, TheirModel)`.

    Raises:
        ValueError: the `train:` section has no `dec_opt`.
    """

    # BasicSR's optimize_parameters adds up fixed losses in a local variable and takes the step itself. A copy with one
    # more loss would have to follow every model in every version. But the gradient of a sum is the sum of the
    # gradients: when the gradient of the other losses arrives at the network's output, that of DECLoss is added there.
    # So DECLoss is used whenever the others are, and costs nothing in iterations that train only the discriminator.

    takes_dec_opt = True

    def init_training_settings(self) -> None:
        options = self.opt["train"].get("dec_opt")
        if not options:
            raise ValueError(
                f"{type(self).__name__} needs dec_opt in the train section, "
                "for example dec_opt: {type: DECLoss, loss_weight: 1.0}"
            )
        super().init_training_settings()
        self.cri_dec = build_loss(options).to(self.device)
        self.l_g_dec: Tensor | None = None
        self.net_g.register_forward_hook(self._add_dec)

    def dec_target(self) -> Tensor:
        """The target of DECLoss, (B, C, H, W)."""
        return self.gt

    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, float]:
        if self.l_g_dec is not None:
            loss_dict["l_g_dec"] = self.l_g_dec
            self.l_g_dec = None
        return super().reduce_loss_dict(loss_dict)

    def _add_dec(self, net_g: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        if not output.requires_grad:  # validation
            return
        # The output holds its hooks, so a hook that held the output would keep it alive.
        sr = output.detach().requires_grad_()

        def add(gradient: Tensor) -> Tensor:
            with torch.enable_grad():
                loss = self.cri_dec(sr, self.dec_target())
            self.l_g_dec = loss.detach()
            return gradient + torch.autograd.grad(loss, sr)[0]

        output.register_hook(add)


@MODEL_REGISTRY.register()
class DECSwinIRModel(DECSRModel, SwinIRModel):
    """BasicSR's SwinIRModel with `dec_opt`."""


@MODEL_REGISTRY.register()
class DECSRGANModel(DECSRModel, SRGANModel):
    """BasicSR's SRGANModel with `dec_opt`."""


@MODEL_REGISTRY.register()
class DECESRGANModel(DECSRModel, ESRGANModel):
    """BasicSR's ESRGANModel with `dec_opt`."""


warn_where_ignored(BaseModel, MODEL_REGISTRY)


def main() -> None:
    """Runs BasicSR's training with the arguments of the process, in the current folder."""
    train_pipeline(os.getcwd())


if __name__ == "__main__":
    main()
