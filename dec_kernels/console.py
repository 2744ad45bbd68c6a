"""Makes a command line print correctly to any console, pipe or file."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence

CLOSED_PIPE = 141
"""The exit status if nobody reads the output any more: what a shell reports for a program that SIGPIPE ended."""

INTERRUPTED = 130
"""The exit status after Ctrl+C: what a shell reports for a program that SIGINT ended."""

USE_UTF8 = "PYTHONUTF8=1 in the environment makes Python take all names and files for UTF-8"
"""A hint for messages about text that cannot be decoded."""


def command_line(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    r"""Decorates the function of a command line, so that its output can go anywhere.

    - A character that the console's encoding lacks, for example in a file name, is printed as an escape, `\xNN` or
      `\uNNNN`.
    - If the reader of a pipe has gone, as `head` does, the command ends with `CLOSED_PIPE` and prints no message.
    - If the output cannot be written for another reason, for example on a full disk, the command ends with 1 and one
      message.
    - After Ctrl+C, the command ends with `INTERRUPTED` and prints no message.

    Args:
        main: takes the arguments, or None for those of the process, and returns the exit status.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = main(argv)
        except BrokenPipeError:
            if not _reader_has_gone("\n"):  # it is a different pipe
                raise
            return CLOSED_PIPE
        except SystemExit as end:
            if _reader_has_gone() or isinstance(end.__context__, BrokenPipeError):  # Rich ends in the latter way
                return CLOSED_PIPE
            raise
        except KeyboardInterrupt:
            return CLOSED_PIPE if _reader_has_gone() else INTERRUPTED
        except BaseException:
            with contextlib.suppress(SystemExit):  # the first error says more
                _reader_has_gone()
            raise
        return CLOSED_PIPE if _reader_has_gone() else status

    return run


def _reader_has_gone(probe: str = "") -> bool:
    """Whether stdout or stderr is a pipe that nobody reads.

    Raises:
        SystemExit: a stream cannot be written for another reason.
    """
    gone = False
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed before the start
        try:
            if probe:  # a full device refuses even an empty text
                stream.write(probe)
            stream.flush()
        except OSError as error:
            # At its end Python tries again to write what is left, and would print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not isinstance(error, BrokenPipeError):
                raise SystemExit(f"error: cannot write to {stream.name}: {error.strerror}") from error
            gone = True
    return gone
