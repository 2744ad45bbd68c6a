"""Commands in processes of their own: none can outlive its time, or take another one along."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

Outcome = dict[str, Any]
_LIBC = ctypes.CDLL(None)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def run(
    command: Sequence[str],
    log: Path,
    limit: float,
    environment: Mapping[str, str],
    hangs: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Runs a command in the repository's root, its output appended to `log`, for at most `limit` seconds.

    Args:
        environment: all of it.

    Returns:
        "outcome": "done", "failed", "stopped" at its limit, or "hung"; "reason", where it is not done; "seconds";
        "printed".
    """
    start, already = time.monotonic(), log.stat().st_size if log.exists() else 0
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)!r}\n")
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        ending = None
        try:
            while process.poll() is None and not ending:
                time.sleep(0.1)
                if time.monotonic() - start > limit:
                    ending = {"outcome": "stopped", "reason": f"it was stopped after its limit of {limit:.0f} s"}
                elif hangs():
                    ending = {"outcome": "hung", "reason": "it was stopped since nothing moved any more"}
        finally:
            _kill_group(process)
    _, _, printed = log.read_bytes()[already:].decode(errors="replace").partition("\n")
    if ending is None:
        code = process.returncode
        ending = {"outcome": "failed", "reason": _ending(code, printed)} if code else {"outcome": "done"}
    return ending | {"seconds": round(time.monotonic() - start, 1), "printed": printed}


def _end_with_parent() -> None:
    """A kill of this process alone must leave nothing behind that keeps the device busy."""
    _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def _kill_group(process: subprocess.Popen) -> None:
    """The process and what it started: compilers' workers, most of all."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int, printed: str) -> str:
    how = f"it ended with {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
    *_, last = ["", *printed.strip().splitlines()]
    return f"{how}: {last.strip()[:300]}" if last else how
