"""DECLoss for Real-ESRGAN: registers its two models with a slot for it, `dec_opt` in the `train:` section.

    python -m dec_kernels.integrations.realesrgan -opt train.yml

is Real-ESRGAN's own training after these registrations, with the same arguments; `experiments/` comes into the folder
where it is started.
"""

from torch import Tensor

from dec_kernels.integrations import missing
from dec_kernels.integrations.basicsr import MODEL_REGISTRY, DECSRModel, main

try:
    from realesrgan.models.realesrgan_model import RealESRGANModel
    from realesrgan.models.realesrnet_model import RealESRNetModel
except ImportError as error:
    raise missing("Real-ESRGAN", "Install it with: pip install realesrgan.", error) from error


@MODEL_REGISTRY.register()
class DECRealESRGANModel(DECSRModel, RealESRGANModel):
    """Real-ESRGAN's RealESRGANModel with `dec_opt`.

    At the top of the config, `dec_gt_usm` beside l1_gt_usm, percep_gt_usm and gan_gt_usm says whether DEC's target is
    the sharpened one; without it DEC takes the same target as L1.
    """

    def dec_target(self) -> Tensor:
        sharpened = self.opt.get("dec_gt_usm", self.opt["l1_gt_usm"])
        return self.gt if sharpened is False else self.gt_usm


@MODEL_REGISTRY.register()
class DECRealESRNetModel(DECSRModel, RealESRNetModel):
    """Real-ESRGAN's RealESRNetModel with `dec_opt`; its `gt_usm` sharpens the target of all losses."""


if __name__ == "__main__":
    main()
