import json
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0])
def test_the_code_blocks_run(block: str) -> None:
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


def test_there_are_code_blocks() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README))
def test_local_links_lead_somewhere(path: str) -> None:
    assert (Path(__file__).parent.parent / path).exists()


def test_the_errors_of_the_presets_are_the_measured_ones() -> None:
    results = json.loads((Path(__file__).parent.parent / "benchmarks/results/precision.json").read_text())
    for r in results["errors"]:
        if r["temperature"] == "outside":
            row = f"| `{r['precision']}` | `{r['backend']}` | {r['loss_error']:.1e} | {r['gradient_error']:.1e} | "
            assert row in README
