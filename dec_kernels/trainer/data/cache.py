"""Decoding an image once rather than for every crop of it: decoding a 2K PNG takes far longer than all the rest."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dec_kernels.images import READER, UnreadableImageError, read_image

_LOADING = threading.Lock()  # Python 3.11 fails to parse the headers of arrays in several threads at once

Reader = Callable[[Path], Tensor]
"""Pixels of an image file as `read_image` returns them; not to be written to."""


class CacheError(RuntimeError):
    """The cache's folder cannot be written to."""


class MemoryCache:
    """Keeps the pixels of every image that was read once in this process's memory."""

    def __init__(self) -> None:
        self._images: dict[Path, Tensor] = {}

    def __call__(self, path: Path) -> Tensor:
        if path not in self._images:
            self._images[path] = read_image(path)
        return self._images[path]


class DiskCache:
    """Keeps the pixels of every image that was read once in a folder, as .npy files that are mapped into memory.

    An entry belongs to the image file's path, size and time of change, and to `READER`: a changed file gets a new
    entry. The folder may be used by several processes at once, and deleted whenever none of them runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, path: Path) -> Tensor:
        entry = self._entry(path)
        pixels = self._load(entry)
        if pixels is None:
            self._store(entry, read_image(path).permute(1, 2, 0).numpy())
            pixels = self._load(entry)
            assert pixels is not None
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _load(self, entry: Path) -> np.ndarray | None:
        """The pixels in `entry`; None if it is not there, or is what a machine that crashed has left of it."""
        try:
            with _LOADING:
                pixels = np.load(entry, mmap_mode="c")  # private, so that torch need not warn of writing to it
        except (EOFError, FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return pixels if pixels.ndim == 3 and pixels.dtype in (np.uint8, np.uint16) else None

    def _entry(self, path: Path) -> Path:
        try:
            stat = path.stat()
        except OSError as error:
            raise UnreadableImageError(f"cannot read {path} as an image: {error.strerror}") from error
        # The file's own name may be too long for a suffix behind it, and its bytes need not be UTF-8.
        name = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{READER}"
        return self.folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.npy"

    def _store(self, entry: Path, pixels: np.ndarray) -> None:
        try:
            self._write(entry, pixels)
        except OSError as error:
            raise CacheError(
                f"data.cache_dir {self.folder} cannot take {entry.name}, {pixels.nbytes} bytes: {error}. "
                "Make space, or name another data.cache_dir"
            ) from error

    def _write(self, entry: Path, pixels: np.ndarray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Each process writes a file of its own, and renames it when it is whole: who comes last replaces like by like.
        handle, unfinished = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, pixels)
                file.flush()
                os.fsync(file.fileno())  # or the name may be on the disk before the pixels are
            os.replace(unfinished, entry)
        except BaseException:
            os.unlink(unfinished)
            raise
