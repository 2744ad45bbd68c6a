"""KAIR, commit fc1732f: models/model_plain.py and models/model_gan.py. Its modules are folders of the checkout.

Left out are loading and saving, the averaged network, feature losses, all networks and all pixel losses but L1.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class ModelPlain:
    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.opt_train = opt, opt["train"]
        self.device = torch.device("cpu")
        self.netG = opt["netG"]

    def init_train(self) -> None:
        self.define_loss()
        self.G_optimizer = torch.optim.Adam(self.netG.parameters(), lr=self.opt_train["G_optimizer_lr"])
        self.log_dict = OrderedDict()

    def define_loss(self) -> None:
        assert self.opt_train["G_lossfn_type"] == "l1"
        self.G_lossfn = nn.L1Loss().to(self.device)
        self.G_lossfn_weight = self.opt_train["G_lossfn_weight"]

    def feed_data(self, data: dict[str, Tensor]) -> None:
        self.L, self.H = data["L"].to(self.device), data["H"].to(self.device)

    def optimize_parameters(self, current_step: int) -> None:
        self.G_optimizer.zero_grad()
        self.E = self.netG(self.L)
        G_loss = self.G_lossfn_weight * self.G_lossfn(self.E, self.H)
        G_loss.backward()
        self.G_optimizer.step()
        self.log_dict["G_loss"] = G_loss.item()

    def current_log(self) -> dict[str, Any]:
        return self.log_dict


class ModelGAN:
    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.opt_train = opt, opt["train"]
        self.device = torch.device("cpu")
        self.netG, self.netD = opt["netG"], opt["netD"]

    init_train = ModelPlain.init_train
    feed_data = ModelPlain.feed_data
    current_log = ModelPlain.current_log

    def define_loss(self) -> None:
        if self.opt_train["G_lossfn_weight"] > 0:
            assert self.opt_train["G_lossfn_type"] == "l1"
            self.G_lossfn = nn.L1Loss().to(self.device)
            self.G_lossfn_weight = self.opt_train["G_lossfn_weight"]
        else:
            self.G_lossfn = None
        self.D_lossfn_weight = self.opt_train["D_lossfn_weight"]

    def optimize_parameters(self, current_step: int) -> None:
        self.netD.requires_grad_(False)
        self.G_optimizer.zero_grad()
        self.E = self.netG(self.L)
        loss_G_total = 0
        if self.opt_train["G_lossfn_weight"] > 0:
            G_loss = self.G_lossfn_weight * self.G_lossfn(self.E, self.H)
            loss_G_total += G_loss
            self.log_dict["G_loss"] = G_loss.item()
        fake = self.netD(self.E)
        loss_G_total += self.D_lossfn_weight * nn.functional.binary_cross_entropy_with_logits(
            fake, torch.ones_like(fake)
        )
        loss_G_total.backward()
        self.G_optimizer.step()
        self.netD.requires_grad_(True)


MODULES = {
    "models": {},
    "models.model_plain": {"ModelPlain": ModelPlain},
    "models.model_gan": {"ModelGAN": ModelGAN},
}
