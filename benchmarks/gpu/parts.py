"""Commands in processes of their own: none can outlive its time, or take another one along."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.records import Records
from benchmarks.machine import ROOT

Outcome = dict[str, Any]

# The first call of a competitor may compile for a minute; a process that writes no record for so long hangs.
LONGEST_SILENCE = 90.0
MOST_STARTS = 12


def run(
    command: Sequence[str],
    log: Path,
    limit: float,
    environment: Mapping[str, str],
    hangs: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Runs a command in the repository's root, its output appended to `log`, for at most `limit` seconds.

    Returns:
        "outcome": "done", "failed" or "stopped"; "reason", where it is not done; "seconds"; "printed".
    """
    start, already = time.monotonic(), log.stat().st_size if log.exists() else 0
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)!r}\n")
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stopped = None
        try:
            while process.poll() is None and not stopped:
                time.sleep(0.1)
                if time.monotonic() - start > limit:
                    stopped = f"it was stopped after its limit of {limit:.0f} s"
                elif hangs():
                    stopped = "it was stopped since nothing moved any more"
        finally:
            _kill_group(process)
    _, _, printed = log.read_bytes()[already:].decode(errors="replace").partition("\n")
    taken = {"seconds": round(time.monotonic() - start, 1), "printed": printed}
    if stopped:
        return {"outcome": "stopped", "reason": stopped} | taken
    if process.returncode:
        return {"outcome": "failed", "reason": _ending(process.returncode)} | taken
    return {"outcome": "done"} | taken


def measure(options: Sequence[str], file: Path, log: Path, deadline: float, environment: Mapping[str, str]) -> Outcome:
    """Runs `benchmarks.gpu.measure` until `deadline`, in seconds since the epoch. Whatever takes its process down, or
    makes it hang, is left out, and it starts again where it ended."""
    start = time.time()
    endings = []
    for _ in range(MOST_STARTS):
        started = time.time()

        def hangs(started: float = started) -> bool:
            last = max(started, file.stat().st_mtime) if file.exists() else started
            return time.time() - last > LONGEST_SILENCE

        command = [sys.executable, "-m", "benchmarks.gpu.measure", str(file), str(deadline), *options]
        before = len(Records(file).all)
        # What is under way at the deadline may end.
        outcome = run(command, log, deadline + 20 - time.time(), environment, hangs)
        if outcome["outcome"] == "done":
            break
        endings.append(outcome["reason"])
        records = Records(file)
        records.close_interrupted(outcome["reason"])
        if len(records.all) == before or time.time() > deadline:
            break
    return outcome | {"seconds": round(time.time() - start, 1), "earlier_endings": endings}


def _kill_group(process: subprocess.Popen) -> None:
    """The process and what it started: compilers' workers, most of all."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int) -> str:
    return f"it ended with {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
