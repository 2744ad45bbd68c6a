"""Real-ESRGAN 0.3.0, as on PyPI: models/realesrgan_model.py and models/realesrnet_model.py, with paired data.

That is their path for `high_order_degradation: false`, which takes low and high resolution as they come.
"""

from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn


class USMSharp(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        blurred = nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
        return (images + 0.5 * (images - blurred)).clamp(0, 1)


@MODEL_REGISTRY.register()
class RealESRGANModel(SRGANModel):
    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.usm_sharpener = USMSharp().cuda()

    def feed_data(self, data: dict[str, Tensor]) -> None:
        super().feed_data(data)
        self.gt_usm = self.usm_sharpener(self.gt)

    def targets(self) -> tuple[Tensor, Tensor]:
        pixel_gt = self.gt if self.opt["l1_gt_usm"] is False else self.gt_usm
        return pixel_gt, self.gt if self.opt["gan_gt_usm"] is False else self.gt_usm


@MODEL_REGISTRY.register()
class RealESRNetModel(SRModel):
    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.usm_sharpener = USMSharp().cuda()


MODULES = {
    "realesrgan": {},
    "realesrgan.models": {},
    "realesrgan.models.realesrgan_model": {"RealESRGANModel": RealESRGANModel},
    "realesrgan.models.realesrnet_model": {"RealESRNetModel": RealESRNetModel},
}
