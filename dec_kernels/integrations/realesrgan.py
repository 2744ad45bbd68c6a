"""DECLoss for Real-ESRGAN: registers versions of its two models that use the loss, `dec_opt` in the `train:` section.

    python -m dec_kernels.integrations.realesrgan -opt train.yml

registers them and runs Real-ESRGAN's own training with the same arguments. It writes `experiments/` to the current
folder.
"""

from torch import Tensor

from dec_kernels.integrations import missing
from dec_kernels.integrations.basicsr import DECSRModel, main

try:
    from basicsr.utils.registry import MODEL_REGISTRY
    from realesrgan.models.realesrgan_model import RealESRGANModel
    from realesrgan.models.realesrnet_model import RealESRNetModel
except ImportError as error:
    raise missing("Real-ESRGAN", "Install it with: pip install realesrgan.", error) from error


@MODEL_REGISTRY.register()
class DECRealESRGANModel(DECSRModel, RealESRGANModel):
    """Real-ESRGAN's RealESRGANModel with `dec_opt`.

    The option `dec_gt_usm` at the top of the config, beside l1_gt_usm, percep_gt_usm and gan_gt_usm, says whether the
    target of DECLoss is sharpened. Without it, DECLoss has the same target as L1.
    """

    def dec_target(self) -> Tensor:
        sharpened = self.opt.get("dec_gt_usm", self.opt["l1_gt_usm"])
        return self.gt if sharpened is False else self.gt_usm


@MODEL_REGISTRY.register()
class DECRealESRNetModel(DECSRModel, RealESRNetModel):
    """Real-ESRGAN's RealESRNetModel with `dec_opt`; its `gt_usm` sharpens the target of all losses."""


if __name__ == "__main__":
    main()
