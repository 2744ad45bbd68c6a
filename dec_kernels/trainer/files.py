"""Writing files whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside ``path``, which takes its place at the end: when it is whole, and on the disk.

    So ``path`` is at any time the old file or the new one. Its folder is made if need be. Where the writing fails,
    nothing unfinished is left behind; where the program is killed, PATH.part is, until the next time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
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
