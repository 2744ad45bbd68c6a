"""neosr, commit 31c7022: utils/registry.py, losses/__init__.py, models/{base,image,otf}.py and losses/basic_loss.py.

Of the models there are the slots for losses that matter to the adapter, their sum, its division for gradient
accumulation, the clamp of the output and the log. Left out are AMP, optimisers other than Adam, the discriminator,
augmentation and validation. Weights of losses are applied inside them.
"""

from collections import OrderedDict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.integrations.stand_ins import Registry, builder

ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY = Registry("neosr"), Registry("neosr"), Registry("neosr")
build_network, build_loss = builder(ARCH_REGISTRY), builder(LOSS_REGISTRY)


@LOSS_REGISTRY.register()
class L1Loss(nn.Module):
    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * nn.functional.l1_loss(pred, target)


class base:
    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.is_train = opt, opt["is_train"]

    def get_current_log(self) -> dict[str, Any]:
        return self.log_dict

    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, Any]:
        return OrderedDict((name, value.mean().item()) for name, value in loss_dict.items())


@MODEL_REGISTRY.register()
class image(base):
    slots: ClassVar = {"pix": "pixel_opt", "ncc": "ncc_opt", "kl": "kl_opt", "ldl": "ldl_opt", "ff": "ff_opt"}

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.net_g = build_network(opt["network_g"])
        if self.is_train:
            self.init_training_settings()

    def init_training_settings(self) -> None:
        train = self.opt["train"]
        self.accum_iters = self.opt["datasets"]["train"].get("accumulate", 1)
        for slot, name in self.slots.items():
            setattr(self, f"cri_{slot}", build_loss(train[name]) if train.get(name) else None)
        self.optimizer_g = torch.optim.Adam(self.net_g.parameters(), lr=train["optim_g"]["lr"])

    def feed_data(self, data: dict[str, Tensor]) -> None:
        self.lq, self.gt = data["lq"], data["gt"]

    def optimize_parameters(self, current_iter: int) -> None:
        self.output = torch.clamp(self.net_g(self.lq), 1 / 255, 1)
        l_g_total = torch.zeros(1)
        loss_dict = OrderedDict()
        for slot in self.slots:
            criterion = getattr(self, f"cri_{slot}")
            if criterion:
                loss_dict[f"l_g_{slot}"] = criterion(self.output, self.gt)
                l_g_total += loss_dict[f"l_g_{slot}"]
        loss_dict["l_g_total"] = l_g_total
        l_g_total /= self.accum_iters
        l_g_total.backward()
        self.log_dict = self.reduce_loss_dict(loss_dict)
        self.optimizer_g.step()


@MODEL_REGISTRY.register()
class otf(image):
    pass


MODULES = {
    "neosr": {},
    "neosr.utils": {},
    "neosr.utils.registry": {
        "ARCH_REGISTRY": ARCH_REGISTRY,
        "LOSS_REGISTRY": LOSS_REGISTRY,
        "MODEL_REGISTRY": MODEL_REGISTRY,
    },
    "neosr.losses": {"build_loss": build_loss},
    "neosr.models": {},
    "neosr.models.base": {"base": base},
    "neosr.models.image": {"image": image},
    "neosr.models.otf": {"otf": otf},
}
