"""What is known of each run, in a file of its own, so that a kill costs the run at hand at most."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dec_kernels.jsontext import to_json
from dec_kernels.trainer.files import write_json

Record = dict[str, Any]


class OtherStudyError(ValueError):
    """A folder holds the records of a study with other settings or photographs."""


class Records:
    """The records of a study in a folder: `study.json`, what they all share, and `runs/RUN/record.json`.

    Args:
        out: the folder, made if need be.
        study: the plan and the photographs; plain values.

    Raises:
        OtherStudyError: the folder holds records of another study; the message says what differs.
        ValueError: a file of the folder is damaged.
    """

    def __init__(self, out: Path, study: Mapping[str, Any]) -> None:
        self.out = out
        file = out / "study.json"
        wanted = json.loads(to_json(study))
        if file.exists():
            found = _read(file)
            if different := [key for key in wanted if found.get(key) != wanted[key]]:
                raise OtherStudyError(
                    f"--out {out} holds a study with another {different[0]} "
                    f"({found.get(different[0])!r}, now {wanted[different[0]]!r}): name another folder"
                )
        else:
            write_json(file, wanted)

    def folder(self, run: str) -> Path:
        """Of everything that belongs to a run."""
        return self.out / "runs" / run

    def read(self, run: str) -> Record | None:
        """The record of a finished run, None for one that is not finished."""
        file = self.folder(run) / "record.json"
        return _read(file) if file.exists() else None

    def write(self, run: str, record: Mapping[str, Any]) -> None:
        """Records a finished run; the file is there whole or not at all."""
        write_json(self.folder(run) / "record.json", record)


def _read(file: Path) -> Record:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}): remove it, and its run is made again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: remove it, and its run is made again")
    return content
