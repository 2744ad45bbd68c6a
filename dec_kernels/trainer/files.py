"""Writing files whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dec_kernels.jsontext import to_json

_LONGEST_NAME = 255  # bytes, on all usual file systems


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its place at the end: when it is whole, and on the disk.

    So `path` is at any time the old file or the new one. Its folder is made if need be. Where the writing fails,
    nothing unfinished is left behind; where the program is killed, PATH.part is, until the next time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    while len(os.fsencode(name + ".part")) > _LONGEST_NAME:
        name = name[:-1]
    unfinished = path.with_name(name + ".part")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:  # as where the disk is full
            error.filename = str(path)
        raise


def require_folder(path: Path, name: str) -> None:
    """Checks that `path`, which the user has named as `name`, is a folder to write into, or can be made; makes none.

    Raises:
        ValueError: it is a file or lies in one, or cannot be written to.
    """
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise ValueError(f"{name} {path} must be a folder, and {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{name} {path}: the folder {existing} cannot be written to")


def write_file(path: Path, content: bytes) -> None:
    """Writes `content` by `replacing`.

    Raises:
        OSError: the file cannot be written; nothing unfinished is left behind.
    """
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` by `dec_kernels.jsontext.to_json`: figures that are not finite become null.

    Raises:
        OSError: as `write_file`.
    """
    write_file(path, to_json(content).encode())
