"""Writing files whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_LONGEST_NAME = 255  # bytes, on all usual file systems


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside ``path``, which takes its place at the end: when it is whole, and on the disk.

    So ``path`` is at any time the old file or the new one. Its folder is made if need be. Where the writing fails,
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
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` by :func:`replacing`.

    Raises:
        OSError: the file cannot be written; nothing unfinished is left behind.
    """
    with replacing(path) as file:
        file.write(content)
