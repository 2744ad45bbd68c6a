"""DECLoss for KAIR: gives its models a slot for it, `dec_opt` in the "train" section, logged as `DEC_loss`.

    python -m dec_kernels.integrations.kair main_train_psnr.py --opt options/train.json

is that script of KAIR's after this, in the folder of its checkout, with the script's own arguments.
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
    """A model's pixel loss plus `share` times DECLoss, whose value goes into the model's log."""

    def __init__(self, pixel: torch.nn.Module, dec: DECLoss, share: float, model: Any) -> None:
        super().__init__()
        self.pixel, self.dec, self.share, self.model = pixel, dec, share, model

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        dec = self.dec(sr, hr)
        self.model.log_dict["DEC_loss"] = dec.detach()
        return self.pixel(sr, hr) + self.share * dec


def add_slot(model_class: Any) -> None:
    """Let `model_class.define_loss` add what `dec_opt` in the train section says to the pixel loss.

    KAIR has no registries: which classes a config can name is written in its select_model.py, and the losses of each in
    its `define_loss`. So the classes are changed where they are, and those that derive from them with them.
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
            raise ValueError(f"dec_opt needs G_lossfn_weight above 0, since it goes with the pixel loss; got {weight}")
        # The trainer multiplies the result by G_lossfn_weight, which is the pixel loss's alone.
        self.G_lossfn = PixelAndDEC(self.G_lossfn, DECLoss(**options).to(self.device), 1 / weight, self)

    model_class.define_loss = define


add_slot(ModelPlain)
add_slot(ModelGAN)


def main() -> None:
    """Run a script of KAIR's, the first argument of the process, with the arguments after it."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m dec_kernels.integrations.kair main_train_psnr.py --opt options/train.json")
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
