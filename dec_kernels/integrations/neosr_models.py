"""Models for neosr that use DECLoss, `[train.dec_opt]`: importing this module registers `dec_image` and `dec_otf`.

neosr imports only the models in its own folder. `dec-kernels install-shim neosr PATH` writes a file there that imports
this module.
"""

from typing import Any

from torch import Tensor

from dec_kernels.integrations import missing, warn_where_ignored

try:
    from neosr.models.base import base
    from neosr.models.image import image
    from neosr.models.otf import otf
    from neosr.utils.registry import MODEL_REGISTRY
except ImportError as error:
    raise missing("neosr", "Clone https://github.com/neosr-project/neosr and run in that folder.", error) from error

# Losses of neosr that are called with the output and the target, and whose presence changes nothing else.
SLOTS = ("kl", "ncc", "ff", "ldl")


@MODEL_REGISTRY.register()
class dec_image(image):
    """neosr's `image` with one more loss, which is built from `dec_opt` and logged as `l_g_dec`.

    Raises:
        ValueError: the `train` section has no `dec_opt`, or all of `SLOTS` are in use.
    """

    # neosr adds up fixed losses in a local variable, scales the sum for AMP and divides it for gradient accumulation. A
    # loss in the place of one that the config does not use gets the same treatment.

    takes_dec_opt = True

    def init_training_settings(self) -> None:
        train = self.opt["train"]
        if not train.get("dec_opt"):
            raise ValueError(
                f"{type(self).__name__} needs dec_opt in the train section, "
                'for example dec_opt = {type = "dec_loss", loss_weight = 1.0}'
            )
        free = [slot for slot in SLOTS if not train.get(f"{slot}_opt")]
        if not free:
            raise ValueError(
                f"{type(self).__name__} puts dec_opt in the place of an unused loss, but "
                f"{', '.join(f'{slot}_opt' for slot in SLOTS)} are all in use: remove one of them"
            )
        train[f"{free[0]}_opt"] = train["dec_opt"]
        self.dec_name = f"l_g_{free[0]}"
        super().init_training_settings()

    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, Any]:
        named = {"l_g_dec" if name == self.dec_name else name: value for name, value in loss_dict.items()}
        return super().reduce_loss_dict(named)


@MODEL_REGISTRY.register()
class dec_otf(dec_image, otf):
    """neosr's `otf` with `dec_opt`."""


warn_where_ignored(base, MODEL_REGISTRY)
