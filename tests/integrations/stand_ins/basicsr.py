"""BasicSR 1.4.2, as on PyPI: models/{base,sr,swinir,srgan,esrgan}_model.py, losses/, train.py, utils/registry.py.

Left out are logging, loading and saving, validation and perceptual losses. Weights of losses are applied inside them.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.integrations.stand_ins import Registry, builder

ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY = Registry("basicsr"), Registry("basicsr"), Registry("basicsr")
build_network, build_loss = builder(ARCH_REGISTRY), builder(LOSS_REGISTRY)


def train_pipeline(root_path: str) -> None:
    raise NotImplementedError("the stand-in does not train")


@LOSS_REGISTRY.register()
class L1Loss(nn.Module):
    def __init__(self, loss_weight: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        self.loss_weight, self.reduction = loss_weight, reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * F.l1_loss(pred, target, reduction=self.reduction)


@LOSS_REGISTRY.register()
class GANLoss(nn.Module):
    def __init__(self, gan_type: str, loss_weight: float = 1.0) -> None:
        super().__init__()
        assert gan_type == "vanilla"
        self.loss_weight = loss_weight

    def forward(self, input: Tensor, target_is_real: bool, is_disc: bool = False) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(input, torch.full_like(input, float(target_is_real)))
        return loss if is_disc else self.loss_weight * loss


class BaseModel:
    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.is_train = opt, opt["is_train"]
        self.device = torch.device("cuda" if opt["num_gpu"] else "cpu")

    def optimizer(self, opt: dict[str, Any], net: nn.Module) -> torch.optim.Optimizer:
        assert opt.pop("type") == "Adam"
        return torch.optim.Adam(net.parameters(), **opt)

    def start_ema(self) -> None:
        self.ema_decay = self.opt["train"].get("ema_decay", 0)
        if self.ema_decay > 0:
            self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
            self.model_ema(0)

    def model_ema(self, decay: float = 0.999) -> None:
        for mean, parameter in zip(self.net_g_ema.parameters(), self.net_g.parameters(), strict=True):
            mean.data.mul_(decay).add_(parameter.data, alpha=1 - decay)

    def get_current_log(self) -> dict[str, float]:
        return self.log_dict

    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, float]:
        return OrderedDict((name, value.mean().item()) for name, value in loss_dict.items())


@MODEL_REGISTRY.register()
class SRModel(BaseModel):
    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.net_g = build_network(opt["network_g"]).to(self.device)
        if self.is_train:
            self.init_training_settings()

    def init_training_settings(self) -> None:
        self.net_g.train()
        self.start_ema()
        self.cri_pix = build_loss(self.opt["train"]["pixel_opt"]).to(self.device)
        self.optimizer_g = self.optimizer(self.opt["train"]["optim_g"], self.net_g)

    def feed_data(self, data: dict[str, Tensor]) -> None:
        self.lq, self.gt = data["lq"].to(self.device), data["gt"].to(self.device)

    def optimize_parameters(self, current_iter: int) -> None:
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)
        l_pix = self.cri_pix(self.output, self.gt)
        l_pix.backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(OrderedDict(l_pix=l_pix))
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def test(self) -> None:
        with torch.no_grad():
            self.output = self.net_g(self.lq)


@MODEL_REGISTRY.register()
class SwinIRModel(SRModel):
    def test(self) -> None:
        window = self.opt["network_g"]["window_size"]
        height, width = self.lq.shape[2:]
        with torch.no_grad():
            padded = F.pad(self.lq, (0, -width % window, 0, -height % window), "reflect")
            self.output = self.net_g(padded)[:, :, :height, :width]


@MODEL_REGISTRY.register()
class SRGANModel(SRModel):
    def init_training_settings(self) -> None:
        train = self.opt["train"]
        self.start_ema()
        self.net_d = build_network(self.opt["network_d"]).to(self.device)
        self.cri_pix = build_loss(train["pixel_opt"]).to(self.device)
        self.cri_gan = build_loss(train["gan_opt"]).to(self.device)
        self.net_d_iters, self.net_d_init_iters = train.get("net_d_iters", 1), train.get("net_d_init_iters", 0)
        self.optimizer_g = self.optimizer(train["optim_g"], self.net_g)
        self.optimizer_d = self.optimizer(train["optim_d"], self.net_d)

    def adversarial(self) -> Tensor:
        """What the generator's total gains from the discriminator."""
        return self.cri_gan(self.net_d(self.output), True, is_disc=False)

    def targets(self) -> tuple[Tensor, Tensor]:
        """The targets of the pixel loss and of the discriminator."""
        return self.gt, self.gt

    def optimize_parameters(self, current_iter: int) -> None:
        pixel_gt, gan_gt = self.targets()
        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)
        loss_dict = OrderedDict()
        if current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters:
            loss_dict["l_g_pix"] = self.cri_pix(self.output, pixel_gt)
            loss_dict["l_g_gan"] = self.adversarial()
            (loss_dict["l_g_pix"] + loss_dict["l_g_gan"]).backward()
            self.optimizer_g.step()
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        loss_dict["l_d_real"] = self.cri_gan(self.net_d(gan_gt), True, is_disc=True)
        loss_dict["l_d_real"].backward()
        loss_dict["l_d_fake"] = self.cri_gan(self.net_d(self.output.detach()), False, is_disc=True)
        loss_dict["l_d_fake"].backward()
        self.optimizer_d.step()
        self.log_dict = self.reduce_loss_dict(loss_dict)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)


@MODEL_REGISTRY.register()
class ESRGANModel(SRGANModel):
    def adversarial(self) -> Tensor:
        real, fake = self.net_d(self.gt).detach(), self.net_d(self.output)
        real_part = self.cri_gan(real - fake.mean(), False, is_disc=False)
        return (real_part + self.cri_gan(fake - real.mean(), True, is_disc=False)) / 2


MODULES = {
    "basicsr": {},
    "basicsr.utils": {},
    "basicsr.utils.registry": {
        "ARCH_REGISTRY": ARCH_REGISTRY,
        "LOSS_REGISTRY": LOSS_REGISTRY,
        "MODEL_REGISTRY": MODEL_REGISTRY,
    },
    "basicsr.losses": {"build_loss": build_loss},
    "basicsr.models": {},
    "basicsr.models.base_model": {"BaseModel": BaseModel},
    "basicsr.models.sr_model": {"SRModel": SRModel},
    "basicsr.models.swinir_model": {"SwinIRModel": SwinIRModel},
    "basicsr.models.srgan_model": {"SRGANModel": SRGANModel},
    "basicsr.models.esrgan_model": {"ESRGANModel": ESRGANModel},
    "basicsr.train": {"train_pipeline": train_pipeline},
}
