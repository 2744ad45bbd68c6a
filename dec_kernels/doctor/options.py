"""The options of `dec-kernels doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dec_kernels.spec import CHOICES, Spec

WHOLE = (0, 0)
MAX_VALUE = 1e15  # of a pixel: float32 then has room for sums of squares over patches and batches

_LOSS: dict[str, tuple[type, tuple[str, ...] | None, str]] = {
    "patch_size": (int, None, "pixels; patches are P x P"),
    "threshold": (float, None, "PSNR in dB from which two HR patches are positives of each other"),
    "distance": (str, CHOICES["distance"], "the norm as printed in the paper, or l2 / sqrt(D)"),
    "temperature": (str, CHOICES["temperature"], "whether t_pos and t_neg stand inside or outside the exponential"),
    "t_pos": (float, None, "temperature of the positive sum"),
    "t_neg": (float, None, "temperature of the negative sum"),
    "max_val": (float, None, "largest pixel value; the pixels of image files are scaled to [0, max_val]"),
    "precision": (str, CHOICES["precision"], "how the operands of the matrix products may be rounded"),
    "scope": (str, CHOICES["scope"], "which patches are compared with each other"),
    "landmarks": (int, None, "how many landmarks the sums over negatives take; None computes every pair"),
    "norm_floor": (float, None, "least norm that patches are divided by, as a share of that of a white patch"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Adds all of the doctor's options to `parser`."""
    sr = "the network's output: an image file, a folder of them, or a saved tensor"
    parser.add_argument("sr", type=Path, metavar="SR", help=sr)
    hr = 'the target, in the same form; omit it if SR is a saved {"sr": tensor, "hr": tensor} or a pair of tensors'
    parser.add_argument("hr", type=Path, metavar="HR", nargs="?", help=hr)

    batch = parser.add_argument_group("the batch")
    crop = 'HxW, one number for a square, or "whole" (default: 128 for image files, whole for saved tensors)'
    batch.add_argument("--crop", type=_crop, metavar="SIZE", help=f"size of a crop in pixels: {crop}")
    crops = "largest number of crops, taken from the pairs in turn (default: 32 for image files, all saved tensors)"
    batch.add_argument("--crops", type=_count, metavar="N", help=crops)
    batch.add_argument("--seed", type=int, default=0, help="seed of every random choice (default: %(default)s)")
    batch.add_argument("--device", type=_device, default=None, help="default: cuda if there is one, otherwise cpu")

    loss = parser.add_argument_group("the loss, with the names and defaults of DECLoss")
    for name, (kind, choices, help) in _LOSS.items():
        option = f"--{name.replace('_', '-')}"
        metavar = None if choices else kind.__name__.upper()
        help += " (default: %(default)s)"
        loss.add_argument(option, type=kind, choices=choices, default=getattr(Spec(), name), metavar=metavar, help=help)
    loss.add_argument("--center", action="store_true", help="take the mean of each channel off the patches")

    weight = parser.add_argument_group("the suggested loss_weight")
    share = "norm of DECLoss's gradient as a share of that of the weighted L1 loss (default: %(default)s)"
    weight.add_argument("--share", type=_positive, default=0.5, help=share)
    l1_weight = "weight of the L1 loss (default: %(default)s, as in the paper)"
    weight.add_argument("--l1-weight", type=_positive, default=1e-2, metavar="W", help=l1_weight)

    output = parser.add_argument_group("output")
    json = "write the results as JSON to FILE; - writes them to stdout instead of the tables"
    output.add_argument("--json", metavar="FILE", help=json)
    plot = "write the curves over the threshold to FILE, as PNG (default: %(default)s)"
    output.add_argument("--plot", type=Path, default=Path("dec_doctor.png"), metavar="FILE", help=plot)


def spec(arguments: argparse.Namespace) -> Spec:
    """The arguments of the loss, checked.

    Raises:
        ValueError: an argument is out of range.
    """
    if arguments.max_val > MAX_VALUE:
        raise ValueError(f"max_val must be at most {MAX_VALUE:g}, because the doctor computes in float32, "
                         f"got {arguments.max_val}")  # fmt: skip
    return Spec(**{name: getattr(arguments, name) for name in (*_LOSS, "center")})


def _crop(text: str) -> tuple[int, int]:
    if text == "whole":
        return WHOLE
    try:
        height, width = (int(side) for side in (text.split("x") if "x" in text else (text, text)))
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        raise argparse.ArgumentTypeError(f"must be HxW in pixels, one number for a square, or 'whole', got {text!r}")
    return height, width


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number greater than 0, got {text!r}")
    return value


def _device(text: str) -> torch.device:
    try:
        device = torch.device(text)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA asserts
        raise argparse.ArgumentTypeError(f"cannot use {text!r}: {str(error).splitlines()[0]}") from error
    return device
