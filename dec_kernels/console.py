"""What every command line owes the streams that it prints to, whatever they are."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence

CLOSED_PIPE = 141
"""The exit status where nobody reads the output any more: what a shell reports for a program that SIGPIPE ended."""

INTERRUPTED = 130
"""The exit status after Ctrl+C: what a shell reports for a program that SIGINT ended."""

USE_UTF8 = "PYTHONUTF8=1 in the environment makes Python take all names and files for UTF-8"


def command_line(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Makes ``main``, which takes the arguments and returns the exit status, print anywhere.

    - A character that the console's encoding lacks, as in file names and the frames of tables, is printed as its
      escape ``\\xNN`` or ``\\uNNNN``.
    - Where the reader of a pipe has gone, as ``head`` does, the command ends with ``CLOSED_PIPE`` and says nothing.
    - Where the output cannot be written for another reason, as on a full disk, it ends with 1 and one message.
    - After Ctrl+C, it ends with ``INTERRUPTED`` and says nothing.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = main(argv)
        except BrokenPipeError:
            if not _reader_has_gone("\n"):  # the pipe is another one
                raise
            return CLOSED_PIPE
        except SystemExit as end:
            if _reader_has_gone() or isinstance(end.__context__, BrokenPipeError):  # the latter is how Rich ends
                return CLOSED_PIPE
            raise
        except KeyboardInterrupt:
            return CLOSED_PIPE if _reader_has_gone() else INTERRUPTED
        except BaseException:
            with contextlib.suppress(SystemExit):  # this error says more
                _reader_has_gone()
            raise
        return CLOSED_PIPE if _reader_has_gone() else status

    return run


def _reader_has_gone(probe: str = "") -> bool:
    """Whether stdout or stderr is a pipe that nobody reads.

    Raises:
        SystemExit: one of them cannot be written for another reason.
    """
    gone = False
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None is one that was closed before the start
        try:
            if probe:  # a full device refuses an empty text too
                stream.write(probe)
            stream.flush()
        except OSError as error:
            # Python tries once more at its end to write what is left, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not isinstance(error, BrokenPipeError):
                raise SystemExit(f"error: {stream.name} cannot be written: {error.strerror}") from error
            gone = True
    return gone
