"""Image files, folders of them or saved tensors -> pairs of an SR and an HR image, each read when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SAVED = (".pt", ".pth")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")


class Pair(NamedTuple):
    """An SR image and its HR image.

    Attributes:
        name: what messages call it.
        size: (H, W) of both, pixels.
        load: -> sr, hr, (C, H, W) float32 each, in [0, max_val].
    """

    name: str
    size: tuple[int, int]
    load: Callable[[], tuple[Tensor, Tensor]]


class Source(NamedTuple):
    """The pairs that were found, in the order of their names; and in words what was left out or changed.

    Attributes:
        saved: whether they are saved tensors, which are a batch already.
    """

    pairs: list[Pair]
    notes: list[str]
    saved: bool


def find(sr: Path, hr: Path | None, max_val: float) -> Source:
    """The pairs of two image files, two folders (matched by file name without suffix), or saved tensors.

    Image files are scaled to [0, max_val]; saved tensors are taken as they are, in float32. A saved file holds a tensor
    (C, H, W) or (B, C, H, W), or where it comes alone {"sr": tensor, "hr": tensor} or a pair of tensors.

    Raises:
        OSError: a file or folder is not there, or cannot be read.
        TypeError: a saved file holds something else than floating-point tensors.
        ValueError: a file is no image, the two sides do not match, a tensor holds NaN or infinity.
    """
    for path in (sr, hr):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
    if sr.suffix in SAVED and (hr is None or hr.suffix in SAVED):
        return _saved(sr, hr)
    if hr is None:
        raise ValueError(f"HR is missing: only one of {', '.join(SAVED)} can hold both SR and HR, and SR is {sr}")
    if sr.is_dir() and hr.is_dir():
        paths, notes = _matched(sr, hr)
    elif sr.is_file() and hr.is_file():
        paths, notes = [(sr, hr)], []
    else:
        raise ValueError(f"SR and HR must be two files or two folders, got {sr} and {hr}")
    for path in sorted(path for both in paths for path in both):
        notes += _header_notes(path)
    return Source([_image_pair(*both, max_val) for both in paths], notes, saved=False)


def _matched(sr: Path, hr: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    sides = [_images_in(folder) for folder in (sr, hr)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        examples = " and ".join(f"{next(iter(side.values()))}" for side in sides)
        raise ValueError(f"no image in {sr} has the name of one in {hr} (without its suffix): there are {examples}")
    notes = []
    for folder, side in zip((sr, hr), sides, strict=True):
        if alone := sorted(side.keys() - set(common)):
            notes.append(f"{len(alone)} images of {folder} have no counterpart and are left out, {alone[0]} first.")
    return [(sides[0][name], sides[1][name]) for name in common], notes


def _images_in(folder: Path) -> dict[str, Path]:
    """Name without suffix -> image file."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES):
        if path.stem in found:
            raise ValueError(f"{path} and {found[path.stem]} have the same name: which of them is meant?")
        found[path.stem] = path
    if not found:
        raise ValueError(f"the folder {folder} holds no image; looked for {', '.join(IMAGES)}")
    return found


def _image_pair(sr: Path, hr: Path, max_val: float) -> Pair:
    sizes = [_size(path) for path in (sr, hr)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"SR and HR must have the same size (SR is the network's output), got {sr} with {_times(sizes[0])} "
            f"and {hr} with {_times(sizes[1])} pixels (H x W)"
        )
    return Pair(hr.stem, sizes[0], lambda: (max_val * _pixels(sr), max_val * _pixels(hr)))


def _size(path: Path) -> tuple[int, int]:
    with _open(path) as image:
        return image.height, image.width


def _header_notes(path: Path) -> list[str]:
    with _open(path) as image:
        mode, encoding = image.mode, str(getattr(image, "tile", None))
    if mode not in _EIGHT_BITS and not mode.startswith("I;16"):
        raise ValueError(f"{path} has pixels of Pillow's mode {mode!r}; wanted are 8-bit images and 16-bit grey ones")
    notes = []
    if "A" in mode:
        notes.append(f"{path}: the alpha channel is left out.")
    if mode == "RGB" and ";16" in encoding:
        notes.append(f"{path}: of its 16-bit colours Pillow reads the upper 8 bits.")
    return notes


def _pixels(path: Path) -> Tensor:
    """(3, H, W) float32 in [0, 1]."""
    with _open(path) as image:
        grey = image.mode.startswith("I;16")
        try:
            values = np.array(image if grey else image.convert("RGB"), dtype=np.float32)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if grey:
        return torch.from_numpy(values / 65535).expand(3, -1, -1)
    return torch.from_numpy(values / 255).permute(2, 0, 1)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that Pillow can read") from error


def _saved(sr: Path, hr: Path | None) -> Source:
    content = (_load(sr), _load(hr)) if hr is not None else _load(sr)
    if isinstance(content, dict):
        if not {"sr", "hr"} <= content.keys():
            raise ValueError(f"{sr} must hold 'sr' and 'hr', got the keys {', '.join(map(repr, content))}")
        content = content["sr"], content["hr"]
    if not isinstance(content, tuple | list) or len(content) != 2:
        what = type(content).__name__
        raise TypeError(f"{sr} alone must hold {{'sr': tensor, 'hr': tensor}} or a pair of tensors, got {what}")
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
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling raises
        raise ValueError(f"{path} cannot be read as saved tensors: {str(error).splitlines()[0]}") from error


def _batch(name: str, value: object, notes: list[str]) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {what}; wanted are the values that the loss sees")
    if value.dim() not in (3, 4) or not value.numel():
        raise ValueError(f"{name} must be (B, C, H, W) or (C, H, W), and not empty, got {tuple(value.shape)}")
    if not value.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity, which makes the loss NaN")
    if value.dtype != torch.float32:
        notes.append(f"{name} is {value.dtype} and was examined in float32.")
    return value.detach().float().reshape(-1, *value.shape[-3:])


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
