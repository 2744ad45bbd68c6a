"""The bar that is shown while a training runs."""

from __future__ import annotations

import sys
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]


class TrainingBar(TQDMProgressBar):
    """Lightning's bar with steps, it/s and losses, and the most memory that was in use (on Windows a GPU's alone)."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        device = pl_module.device
        if device.type == "cuda":
            used = torch.cuda.max_memory_allocated(device)
        elif resource is not None:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        else:
            return metrics
        return {**metrics, "memory": f"{used / 2**30:.1f} GiB"}
