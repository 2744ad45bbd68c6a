"""Finds the image files that a source names."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SKIMAGE = "skimage:"

# Image formats that are not read. A user who has such files is told that they are skipped.
_OTHER_SUFFIXES = (
    *(".arw", ".avif", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".ico"),
    *(".j2c", ".j2k", ".jp2", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm"),
    *(".ppm", ".psd", ".qoi", ".raf", ".raw", ".rw2", ".svg", ".tga"),
)


class Listing(NamedTuple):
    """The files of a folder.

    Attributes:
        images: image files, sorted.
        passed_over: image files in formats that are not read, sorted.
    """

    images: list[Path]
    passed_over: list[Path]


def find_images(source: str) -> list[Path]:
    """The image files that a source names, sorted.

    In a folder:

    - Each file counts once. Links to files and folders are followed. A file that can be reached in several ways gets
      its path without links if it has one, otherwise its path by the first link. Hard links are separate files.
    - Files and folders whose names begin with a dot are skipped, for example `._x.png` of macOS.
    - Files whose suffix is not in `SUFFIXES` are skipped.

    Args:
        source: an image file with any suffix, a folder, which is searched with its subfolders, or `skimage:NAME` for a
            photograph of scikit-image.

    Raises:
        FileNotFoundError: there is no such file, folder or photograph, or the folder holds no image.
        OSError: a folder cannot be read.
    """
    return list_images(source).images


def list_images(source: str) -> Listing:
    """As `find_images`, and also the files of a folder in formats that are not read."""
    if source.startswith(SKIMAGE):
        return Listing([_shipped(source.removeprefix(SKIMAGE))], [])
    path = Path(os.path.expanduser(source))
    if os.path.isfile(path):  # unlike Path's own, without an error for a name that is too long
        return Listing([path], [])
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"there is no file or folder {source!r} (for a photograph of scikit-image, write {SKIMAGE}NAME)"
        )
    found = _in_folder(path)
    if not found.images:
        others = f", and skipped {some_of(found.passed_over)}" if found.passed_over else ""
        raise FileNotFoundError(f"folder {source!r} holds no image: looked for {', '.join(SUFFIXES)}{others}")
    return found


def some_of(paths: Sequence[Path]) -> str:
    """The number of files and the first path, for messages."""
    return f"{len(paths)} files, {printable(paths[0])} first" if len(paths) > 1 else f"1 file, {printable(paths[0])}"


def printable(path: Path) -> str:
    r"""A path as text for tables and files; bytes that are not UTF-8 become escapes such as `\xe9`."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _in_folder(folder: Path) -> Listing:
    files = _files(folder)
    images, passed_over = (
        [path for path in files if path.suffix.lower() in suffixes] for suffixes in (SUFFIXES, _OTHER_SUFFIXES)
    )
    return Listing(images, passed_over)


def _files(folder: Path) -> list[Path]:
    files: dict[str, str] = {}  # real path -> name
    folders: set[str] = set()  # real paths
    here, links = [str(folder)], deque[str]()
    while here or links:
        # Links come last, so that a file with a path without links gets that path.
        path = here.pop() if here else links.popleft()
        real = os.path.realpath(path)
        if not os.path.isdir(path):
            files.setdefault(real, path)
        elif real not in folders:
            folders.add(real)
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        links.append(entry.path)
                    elif entry.is_dir():
                        here.append(entry.path)
                    else:
                        files.setdefault(os.path.join(real, entry.name), entry.path)
    return sorted(map(Path, files.values()))


def _shipped(name: str) -> Path:
    import skimage  # here, because the doctor does not need it

    photographs = {path.stem: path for path in _in_folder(Path(skimage.__file__).parent / "data").images}
    if name not in photographs:
        raise FileNotFoundError(f"scikit-image has no photograph {name!r}; it has {', '.join(photographs)}")
    return photographs[name]
