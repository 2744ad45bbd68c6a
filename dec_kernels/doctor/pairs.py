"""Finds pairs of an SR and an HR image in image files, folders or saved tensors; files are read when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dec_kernels.doctor.options import MAX_VALUE
from dec_kernels.images import Header, header_notes, match_folders, printable, read_header, read_image
from dec_kernels.loss import DTYPES, foreign_kind

SAVED = (".pt", ".pth")


class Pair(NamedTuple):
    """An SR image and its HR image.

    Attributes:
        name: its name in messages.
        size: (H, W) of both images, in pixels.
        load: returns sr and hr, (C, H, W) float32 each, in [0, max_val].
    """

    name: str
    size: tuple[int, int]
    load: Callable[[], tuple[Tensor, Tensor]]


class Source(NamedTuple):
    """The pairs that were found.

    Attributes:
        pairs: in the order of their names.
        notes: sentences about what was left out or changed.
        saved: whether the pairs are saved tensors, which are a batch already.
    """

    pairs: list[Pair]
    notes: list[str]
    saved: bool


def find(sr: Path, hr: Path | None, max_val: float) -> Source:
    """Finds the pairs of two image files, of two folders, or of saved tensors.

    Files of two folders are a pair if their paths in the folders are the same without the suffix. Image files are
    listed and read as for training (`dec_kernels.images.find_images`, `dec_kernels.images.read_image`) and scaled to
    [0, max_val]. Saved tensors keep their values, in float32. A saved file holds a tensor (C, H, W) or (B, C, H, W); if
    `hr` is None, it holds {"sr": tensor, "hr": tensor} or a pair of tensors.

    Args:
        sr: an image file, a folder of them, or a saved file.
        hr: in the same form as `sr`; None if `sr` holds both.
        max_val: the largest value of a pixel.

    Raises:
        OSError: a file or folder does not exist or cannot be read.
        TypeError: a saved file holds something other than floating-point tensors.
        ValueError: a file is not an image, SR and HR do not match, or a tensor holds NaN or infinity.
    """
    for path in (sr, hr):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
    if sr.suffix in SAVED and (hr is None or hr.suffix in SAVED):
        return _saved(sr, hr)
    if hr is None:
        raise ValueError(f"HR is missing: only a saved file ({', '.join(SAVED)}) can hold both SR and HR, got {sr}")
    if sr.is_dir() and hr.is_dir():
        paths, notes = match_folders(sr, hr)
    elif sr.is_file() and hr.is_file():
        paths, notes = [(sr, hr)], []
    else:
        raise ValueError(f"SR and HR must be two files or two folders, got {sr} and {hr}")
    headers = {path: read_header(path) for both in paths for path in both}
    pairs = [_image_pair(*both, headers, max_val) for both in paths]
    return Source(pairs, notes + header_notes(headers, paths), saved=False)


def _image_pair(sr: Path, hr: Path, headers: Mapping[Path, Header], max_val: float) -> Pair:
    sizes = [headers[path].size for path in (sr, hr)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"SR and HR must have the same size (SR is the network's output), got {sr} with {_times(sizes[0])} "
            f"and {hr} with {_times(sizes[1])} pixels (H x W)"
        )
    return Pair(printable(Path(hr.stem)), sizes[0], lambda: (max_val * _pixels(sr), max_val * _pixels(hr)))


def _pixels(path: Path) -> Tensor:
    """(3, H, W) float32 in [0, 1]."""
    pixels = read_image(path)
    return pixels.float() / torch.iinfo(pixels.dtype).max


def _saved(sr: Path, hr: Path | None) -> Source:
    content = (_load(sr), _load(hr)) if hr is not None else _load(sr)
    if isinstance(content, dict):
        if not {"sr", "hr"} <= content.keys():
            raise ValueError(f"{sr} must hold the keys 'sr' and 'hr', got {', '.join(map(repr, content))}")
        content = content["sr"], content["hr"]
    if not isinstance(content, tuple | list) or len(content) != 2:
        what = type(content).__name__
        raise TypeError(f"{sr} must hold {{'sr': tensor, 'hr': tensor}} or a pair of tensors, got {what}")
    notes: list[str] = []
    images = [_batch(name, value, notes) for name, value in zip(("SR", "HR"), content, strict=True)]
    if images[0].shape != images[1].shape:
        shapes = " and ".join(str(tuple(side.shape)) for side in images)
        raise ValueError(f"SR and HR must have the same shape (SR is the network's output), got {shapes}")
    pairs = [_loaded_pair(f"image {i}", *both) for i, both in enumerate(zip(*images, strict=True))]
    return Source(pairs, notes, saved=True)


def _loaded_pair(name: str, sr: Tensor, hr: Tensor) -> Pair:
    return Pair(name, (sr.shape[1], sr.shape[2]), lambda: (sr, hr))


def _load(path: Path) -> object:
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything, with or without words
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"{path} cannot be read as saved tensors: {reason}") from error


def _batch(name: str, value: object, notes: list[str]) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype not in DTYPES:
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a floating-point tensor with the values that the loss gets, got {what}")
    if kind := foreign_kind(value) or ("on the device meta" if value.is_meta else None):
        raise TypeError(f"{name} must be a dense tensor with values, got a tensor that is {kind}")
    if value.dim() not in (3, 4) or not value.numel():
        raise ValueError(f"{name} must be (B, C, H, W) or (C, H, W) and not empty, got {tuple(value.shape)}")
    if not value.isfinite().all():
        raise ValueError(f"{name} must hold finite values, got NaN or infinity, which would make the loss NaN")
    if (largest := value.abs().max().item()) > MAX_VALUE:
        raise ValueError(
            f"{name} must hold values up to {MAX_VALUE:g}, because the doctor computes in float32, got {largest:g}"
        )
    if value.dtype != torch.float32:
        notes.append(f"{name} is {value.dtype} and was converted to float32.")
    return value.detach().float().reshape(-1, *value.shape[-3:])


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
