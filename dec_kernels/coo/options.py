"""The options of `dec-kernels coo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dec_kernels.coo.problem import Settings

_SETTINGS: dict[str, tuple[type, str]] = {
    "patch_size": (int, "side of the HR patches, in pixels (default: 2 * scale)"),
    "threshold": (
        float,
        "two LR patches with at least this PSNR, in dB, are indistinguishable (default: %(default)s)",
    ),
    "theta": (int, "groups with at least so many patches are taken for Gaussians (default: %(default)s)"),
    "max_patches": (int, "if there are more patches, a random sample of so many is measured (default: %(default)s)"),
    "seed": (int, "seed of the random sample (default: %(default)s)"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Adds all options to `parser`."""
    hr = "high-resolution images: files, folders, or skimage:NAME for a photograph of scikit-image"
    parser.add_argument("hr", nargs="+", metavar="HR", help=hr)
    sr = "the network's outputs: a file for each file, and a folder for each folder, matched by place and name"
    parser.add_argument("--sr", nargs="+", metavar="SR", help=sr)
    scale = "size of HR / size of LR (default: %(default)s)"
    parser.add_argument("--scale", type=int, default=4, help=scale)
    for name, (kind, help) in _SETTINGS.items():
        option, default = f"--{name.replace('_', '-')}", getattr(Settings, name)
        parser.add_argument(option, type=kind, default=default, metavar=kind.__name__.upper(), help=help)
    out = "folder for coo.json, coo.png and the maps (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("dec_coo"), metavar="DIR", help=out)


def settings(arguments: argparse.Namespace) -> Settings:
    """The settings among the arguments, checked.

    Raises:
        ValueError: one is out of its range.
    """
    return Settings(**{name: getattr(arguments, name) for name in ("scale", *_SETTINGS)})
