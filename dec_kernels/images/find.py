"""Which image files a source names."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SKIMAGE = "skimage:"

# Images that are not read: whoever has such files among the others is told so.
_OTHER_SUFFIXES = (
    *(".arw", ".avif", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".ico"),
    *(".j2c", ".j2k", ".jp2", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm"),
    *(".ppm", ".psd", ".qoi", ".raf", ".raw", ".rw2", ".svg", ".tga"),
)


class Listing(NamedTuple):
    """The images of a folder, sorted; and the files in formats that are not read, sorted."""

    images: list[Path]
    passed_over: list[Path]


def find_images(source: str) -> list[Path]:
    """The image files that ``source`` names, sorted: a file, those of a folder at any depth, or ``skimage:NAME``.

    In a folder

    - each file counts once. Links to files and folders are followed; what is reached in several ways has the name that
      it has without a link, or else that of the first link. Hard links are files of their own;
    - files and folders whose name begins with a dot are passed over, as macOS's ``._x.png``;
    - so are files with another suffix than those of ``SUFFIXES``. A file that is named by itself may have any.

    Raises:
        FileNotFoundError: there is no such file, folder or shipped photograph, or the folder holds no image.
        OSError: a folder cannot be read.
    """
    return list_images(source).images


def list_images(source: str) -> Listing:
    """As :func:`find_images`, with the images of a folder that are in other formats."""
    if source.startswith(SKIMAGE):
        return Listing([_shipped(source.removeprefix(SKIMAGE))], [])
    path = Path(os.path.expanduser(source))
    if os.path.isfile(path):  # unlike Path's own, without an error for a name that is too long
        return Listing([path], [])
    if not os.path.isdir(path):
        raise FileNotFoundError(f"no file or folder {source!r} (a photograph of scikit-image is written {SKIMAGE}NAME)")
    found = _in_folder(path)
    if not found.images:
        others = f"; passed over {some_of(found.passed_over)}" if found.passed_over else ""
        raise FileNotFoundError(f"folder {source!r} holds no image; looked for {', '.join(SUFFIXES)}{others}")
    return found


def some_of(paths: Sequence[Path]) -> str:
    """How many there are and the first one, for messages."""
    return f"{len(paths)} files, {printable(paths[0])} first" if len(paths) > 1 else f"1 file, {printable(paths[0])}"


def printable(path: Path) -> str:
    """A path as text for tables and files: bytes that are not UTF-8 are written as ``\\xe9`` is."""
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
        # Links last, so that no file that lies here takes its name from one.
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
    import skimage  # here, since the doctor has no need of it

    photographs = {path.stem: path for path in _in_folder(Path(skimage.__file__).parent / "data").images}
    if name not in photographs:
        raise FileNotFoundError(f"scikit-image ships no image {name!r}; it ships {', '.join(photographs)}")
    return photographs[name]
