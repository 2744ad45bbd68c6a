"""What is measured, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """How a figure is shown."""

    heading: str
    digits: int


METRICS: dict[str, Metric] = {
    "psnr_y": Metric("PSNR Y, dB", 2),
    "psnr_rgb": Metric("PSNR RGB, dB", 2),
    "ssim_y": Metric("SSIM Y", 4),
    "lpips": Metric("LPIPS", 4),
    "gradient_energy": Metric("gradient energy", 3),
    "energy_beyond_lr": Metric("energy beyond LR", 3),
    "correlation_beyond_lr": Metric("correlation beyond LR", 3),
    "colour_bias": Metric("colour bias", 2),
    "over_smoothing": Metric("over-smoothing", 3),
}

# Table 1 of the paper: RRDB on DIV2K's validation set, PSNR in dB and LPIPS.
PAPER: dict[str, tuple[float, float]] = {
    "L1": (29.47, 0.130),
    "L1 + DEC": (29.17, 0.121),
    "L1 + Lp": (29.10, 0.117),
    "L1 + Lp + DEC": (28.87, 0.108),
    "L1 + Lp + RaGAN": (26.63, 0.092),
    "L1 + Lp + DEC + RaGAN": (28.19, 0.080),
}


def shown(metric: str, value: float | None, sign: str = "") -> str:
    """A figure with its digits; "" for one that is not known."""
    return "" if value is None or value != value else f"{value:{sign}.{METRICS[metric].digits}f}"


def signed(differences: Mapping[str, Mapping[str, float | None]] | None, metric: str = "lpips") -> str:
    """A difference with its interval; "" for None."""
    if differences is None:
        return ""
    mean, low, high = (shown(metric, differences[metric][end], "+") for end in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})" if mean else ""
