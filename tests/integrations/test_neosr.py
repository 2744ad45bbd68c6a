"""neosr's call convention, read from neosr/models/image.py (neosr-project, commit 3f185e34): each slot is built by
build_loss and called in autocast with the clamped output and the target; the weight is applied inside the loss. The
registry and build_loss are the framework's own where it is installed.
"""

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from dec_kernels import dec_loss


def test_in_a_free_slot(adapter: Callable[[str], ModuleType], images: tuple[Tensor, Tensor]) -> None:
    adapter("neosr")
    sr, hr = images
    options = {"type": "dec_loss", "loss_weight": 0.01, "precision": "ieee"}
    criterion = importlib.import_module("neosr.losses").build_loss(options)
    criterion = criterion.to("cpu", memory_format=torch.channels_last, non_blocking=True)
    assert criterion, "a slot is used where its loss is true"

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = torch.clamp(sr.bfloat16(), 1 / 255, 1)
        total = torch.zeros(1)
        total += criterion(output, hr)
    total.backward()
    torch.testing.assert_close(total, 0.01 * dec_loss(output.float(), hr, precision="ieee")[None])
    assert sr.grad.abs().sum() > 0
