import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/integrations.md")}
BLOCKS = [
    pytest.param(name, block, id=f"{name}-{block.strip().splitlines()[0]}")
    for name, page in PAGES.items()
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
]
LINKS = [
    (name, path, heading)
    for name, page in PAGES.items()
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_the_code_blocks_run(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES)
def test_there_are_code_blocks(page: str) -> None:
    assert any(block.values[0] == page for block in BLOCKS)


@pytest.mark.parametrize(("page", "path", "heading"), LINKS)
def test_local_links_lead_somewhere(page: str, path: str, heading: str) -> None:
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if heading:
        titles = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
        assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_errors_of_the_presets_are_the_measured_ones() -> None:
    results = json.loads((ROOT / "benchmarks/results/precision.json").read_text())
    for r in results["errors"]:
        if r["temperature"] == "outside":
            row = f"| `{r['precision']}` | `{r['backend']}` | {r['loss_error']:.1e} | {r['gradient_error']:.1e} | "
            assert row in README
