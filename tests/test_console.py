import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dec_kernels.console import CLOSED_PIPE, INTERRUPTED, command_line


def printed(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def on(monkeypatch: pytest.MonkeyPatch, main: Callable[[Any], int], stdout: object) -> int:
    monkeypatch.setattr(sys, "stdout", stdout)
    return command_line(main)([])


def test_only_what_a_console_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (
        ("ascii", "\\xe4 \\u2192 \\udce4"),
        ("cp1252", "ä \\u2192 \\udce4"),
        ("utf-8", "ä → \\udce4"),
    ):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        assert on(monkeypatch, lambda argv: print("ä → \udce4", end="") or 0, stream) == 0
        assert printed(stream) == expected


@pytest.mark.parametrize("length", [1, 100_000])
@pytest.mark.parametrize("ending", [0, SystemExit(3), KeyError("x")], ids=repr)
def test_a_closed_pipe(monkeypatch: pytest.MonkeyPatch, length: int, ending: Any) -> None:
    """Text that stays in a buffer until the end, and text that does not."""

    def main(argv: object) -> int:
        print("x" * length)
        if isinstance(ending, Exception | SystemExit):
            raise ending
        return ending

    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        if length == 1 and isinstance(ending, KeyError):
            with pytest.raises(KeyError, match="x"):
                on(monkeypatch, main, stream)
        else:
            assert on(monkeypatch, main, stream) == CLOSED_PIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (0, (SystemExit, "/dev/full")),
        (SystemExit(3), (SystemExit, "/dev/full")),
        (KeyError("x"), (KeyError, "x")),
    ],
    ids=repr,
)
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, ending: Any, expected: tuple[type[BaseException], str]) -> None:
    def main(argv: object) -> int:
        print("stays in a buffer until the end")
        if isinstance(ending, Exception | SystemExit):
            raise ending
        return ending

    kind, message = expected
    with open("/dev/full", "w") as stream, pytest.raises(kind, match=message):
        on(monkeypatch, main, stream)


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(argv: object) -> int:
        raise KeyboardInterrupt

    assert on(monkeypatch, main, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == INTERRUPTED


def test_other_pipes_and_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(argv: object) -> int:
        raise BrokenPipeError("that of a worker")

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.raises(BrokenPipeError, match="that of a worker"):
        on(monkeypatch, main, stream)
    assert on(monkeypatch, lambda argv: 5, None) == 5
