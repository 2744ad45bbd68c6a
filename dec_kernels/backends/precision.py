"""PyTorch's own switch for the rounding of float32 products, held at what a preset allows while our products run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Inside, float32 products on `device` keep to the preset, whatever the process's own setting is."""
    switch: Any = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    found = switch.fp32_precision
    wanted = "tf32" if precision == "tf32" else "ieee"
    if found in (wanted, "none") and wanted == "ieee":
        yield
        return
    switch.fp32_precision = wanted
    try:
        yield
    finally:
        switch.fp32_precision = found
