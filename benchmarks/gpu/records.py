"""The measurements as lines of JSON, each written as soon as it is there: a crash or a hang loses only itself.

Kinds: "ceiling", "time", "memory", "accuracy" and "left_out" are results; "trying" says what runs now, so that whoever
finds the process dead knows what to leave out; "done" closes a case.
"""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RESULTS = {"ceiling": "ceilings", "time": "time", "memory": "memory", "accuracy": "accuracy", "left_out": "left_out"}
_KEY = ("competitor", "n", "dim", "precision", "direction")


class Records:
    """The lines of a file: those that it has, and those that are added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.all: list[Record] = [json.loads(line) for line in lines]

    def write(self, kind: str, **fields: Any) -> None:
        record = {"kind": kind} | fields
        line = json.dumps(record, allow_nan=False)
        self.all.append(record)
        with self.path.open("a") as file:
            file.write(line + "\n")

    def of(self, kind: str, **where: Any) -> list[Record]:
        return [r for r in self.all if r["kind"] == kind and all(r.get(key) == value for key, value in where.items())]

    def close_interrupted(self, reason: str) -> None:
        """Leaves out, for every n, what was being tried when the last record was written."""
        if not self.all or self.all[-1]["kind"] != "trying":
            return
        tried = {key: value for key, value in self.all[-1].items() if key != "kind"}
        self.write("left_out", **tried, from_n=0, reason=reason)
        if tried["competitor"] is None:
            self.write("done", **{key: tried[key] for key in ("n", "dim", "precision")})

    def results(self) -> dict[str, list[Record]]:
        """The results as they stand in gpu.json. Where a case was started again, the last measurement counts."""
        return {
            name: list(
                {
                    tuple(r.get(key) for key in _KEY): {key: value for key, value in r.items() if key != "kind"}
                    for r in self.of(kind)
                }.values()
            )
            for kind, name in RESULTS.items()
        }
