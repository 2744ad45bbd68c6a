"""DECLoss for KAIR: makes its models use the loss if the "train" section has "dec_opt".

    python -m dec_kernels.integrations.kair main_train_psnr.py --opt options/train.json

changes the models and runs that script of KAIR with its own arguments; start it in the folder of KAIR's checkout.
"""

import functools
import runpy
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dec_kernels import DECLoss
from dec_kernels.integrations import missing

try:
    from models.model_gan import ModelGAN
    from models.model_plain import ModelPlain
except ImportError as error:
    raise missing("KAIR", "Clone https://github.com/cszn/KAIR and run in that folder.", error) from error


class PixelAndDEC(torch.nn.Module):
    """A model's pixel loss plus `share` times DECLoss, whose value is logged as `DEC_loss`."""

    def __init__(self, pixel: torch.nn.Module, dec: DECLoss, share: float, model: Any) -> None:
        super().__init__()
        self.pixel, self.dec, self.share, self.model = pixel, dec, share, model

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        dec = self.dec(sr, hr)
        self.model.log_dict["DEC_loss"] = dec.detach()
        return self.pixel(sr, hr) + self.share * dec


def add_dec_opt(model_class: Any) -> None:
    """Makes `model_class.define_loss` add DECLoss to the pixel loss if the train section has `dec_opt`.

    KAIR has no registries: its select_model.py lists the classes that a config can name, and the `define_loss` of each
    class lists its losses. So this changes the class itself, and with it the classes that derive from it.
    """
    define_loss: Callable[[Any], None] = model_class.define_loss

    @functools.wraps(define_loss)
    def define(self: Any) -> None:
        define_loss(self)
        options = self.opt_train.get("dec_opt")
        if not options:
            return
        weight = self.opt_train["G_lossfn_weight"]
        if not weight > 0:
            raise ValueError(f"dec_opt is added to the pixel loss, so G_lossfn_weight must be above 0, got {weight}")
        # KAIR multiplies the sum by G_lossfn_weight, which is meant for the pixel loss alone.
        self.G_lossfn = PixelAndDEC(self.G_lossfn, DECLoss(**options).to(self.device), 1 / weight, self)

    model_class.define_loss = define


add_dec_opt(ModelPlain)
add_dec_opt(ModelGAN)


def main() -> None:
    """Runs the script of KAIR that the first argument of the process names, with the other arguments."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m dec_kernels.integrations.kair main_train_psnr.py --opt options/train.json")
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
