"""What is found out, as lines of JSON, each written as soon as it is there: whatever ends the run loses only itself.

Results are the kinds of `RESULTS`. "run" begins a run of the command, "part" says how a step of it begins and ends,
"testing" and "test" how a test does; "trying" says what is measured now, so that whoever finds the process dead knows
what to leave out; "done" closes a case.

Runs may follow one another in one file: those of the same sources on the same kind of device belong together, and their
records count as one run's. Records of other sources or another device stay in the file, and nothing is taken from them.
"""

import json
import os
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RESULTS = {
    "ceiling": "ceilings",
    "time": "time",
    "memory": "memory",
    "accuracy": "accuracy",
    "kernel": "kernels",
    "clock": "clocks",
    "left_out": "left_out",
    "tile": "tiles",
}
_KEY = ("competitor", "n", "dim", "precision", "direction", "kernel")
_MEASURING = (*RESULTS, "trying", "done")


class Records:
    """The lines of a file: those that it has of the last run and of the runs that belong to it, and those added.

    Attributes:
        all: the records, in order.
        others: how many lines belong to other sources or another device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_bytes() if path.exists() else b""
        whole = text.rfind(b"\n") + 1
        # What follows the last whole line was cut short by a kill, or is being written right now by another process.
        self._cut_at = whole if whole < len(text) else None
        lines = [json.loads(line) for line in text[:whole].splitlines()]
        identity, identities = None, []
        for line in lines:
            if line["kind"] == "run":
                identity = line["identity"]
            identities.append(identity)
        self.all: list[Record] = [line for line, of in zip(lines, identities, strict=True) if of == identity]
        self.others = len(lines) - len(self.all)

    @classmethod
    def begin(cls, path: Path, identity: Record, **fields: Any) -> "Records":
        """A new run; what the file has already counts if it has the same identity."""
        cls(path).write("run", identity=identity, **fields)
        return cls(path)

    def write(self, kind: str, **fields: Any) -> None:
        record = {"kind": kind} | fields
        line = json.dumps(record, allow_nan=False)
        self.all.append(record)
        if self._cut_at is not None:
            os.truncate(self.path, self._cut_at)
            self._cut_at = None
        with self.path.open("a") as file:
            file.write(line + "\n")

    def of(self, kind: str, **where: Any) -> list[Record]:
        return [r for r in self.all if r["kind"] == kind and all(r.get(key) == value for key, value in where.items())]

    def under_way(self) -> Record | None:
        """What was being measured when the last record of a measurement was written."""
        last = next((r for r in reversed(self.all) if r["kind"] in _MEASURING), None)
        if last is None or last["kind"] != "trying":
            return None
        return {key: value for key, value in last.items() if key != "kind"}

    def close_interrupted(self, reason: str) -> None:
        """Leaves out, for every n, what was under way."""
        if not (tried := self.under_way()):
            return
        self.write("left_out", **tried, from_n=0, reason=reason)
        if tried["competitor"] is None:
            self.write("done", **{key: value for key, value in tried.items() if key != "competitor"})

    def close_repeatedly_interrupted(self) -> None:
        """Once, something from outside may have ended the run; the second time at the same point, it is the point."""
        tried = self.under_way()
        if tried and len(self.of("trying", **tried)) > 1:
            self.close_interrupted("the run ended twice while this was under way, with no word why")

    def results(self) -> dict[str, list[Record]]:
        """The results as they stand in gpu.json. Of what was measured more than once, the last counts."""
        return {
            name: list(
                {
                    tuple(r.get(key) for key in _KEY): {key: value for key, value in r.items() if key != "kind"}
                    for r in self.of(kind)
                }.values()
            )
            for kind, name in RESULTS.items()
        }

    def parts(self) -> dict[str, Record]:
        """How each part ended, by its name; one that began and did not end was taken down with the run."""
        ended = {
            r["part"]: {key: value for key, value in r.items() if key not in ("kind", "part")} for r in self.of("part")
        }
        for part in ended.values():
            if part["outcome"] == "begun":
                part |= {"outcome": "cut off", "reason": "the run ended before it did"}
        return ended

    def tests(self) -> dict[str, Record]:
        """Of each test: outcome, seconds, message. The last time counts; one that did not end is "cut off"."""
        found: dict[str, Record] = {}
        for r in self.all:
            if r["kind"] == "testing":
                found[r["test"]] = {"outcome": "cut off", "seconds": None, "message": "under way when the tests ended"}
            elif r["kind"] == "test":
                found[r["test"]] = {key: r[key] for key in ("outcome", "seconds", "message")}
        return found
