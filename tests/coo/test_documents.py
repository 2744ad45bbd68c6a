"""docs/coo.md: its example, as a user runs it, but with fewer patches."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dec_kernels.cli import main

PAGE = (Path(__file__).parents[2] / "docs/coo.md").read_text()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = re.search(r"^python - <<'EOF'\n(.*?)^EOF\n(dec-kernels coo .*?)$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found
    exec(compile(found[1], "docs/coo.md", "exec"), {})
    assert main([*shlex.split(found[2])[1:], "--max-patches", "2000"]) == 0
    facts = json.loads(Path("coo/bicubic_report/coo.json").read_text())
    assert [image["name"] for image in facts["images"]] == ["astronaut", "chelsea", "coffee", "rocket"]
    assert 0.8 < facts["score"] < 1.2
    assert not facts["notes"][1:]
