"""The page of a user study in a real browser, and its answers in `dec-train study`."""

import json
import time
from pathlib import Path

import pytest

from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.compare.blind import key_of
from tests.trainer.compare.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no working Chromium on the path")


def test_a_participant_ranks_all_groups(arguments: list[str], tmp_path: Path) -> None:
    page, downloads = tmp_path / "page [1].html", tmp_path / "downloads"
    downloads.mkdir()
    assert dec_train(["compare", *arguments, "--blind", str(page), "--crops", "3", "--crop_size", "12"]) == 0
    key = json.loads(key_of(page).read_text())
    with Browser(page, tmp_path / "profile", downloads) as browser:

        def text(identifier: str) -> str:
            return browser.run(f"document.getElementById('{identifier}').innerText")

        def warns() -> bool:
            """Whether the page would warn somebody who leaves it now."""
            event = "new Event('beforeunload', {cancelable: true})"
            return browser.run(f"(event => {{ dispatchEvent(event); return event.defaultPrevented }})({event})")

        browser.press("Enter")
        assert browser.run("document.getElementById('ranking').hidden")  # not without a name
        browser.type("Ann <b> 1")
        browser.press("Enter")
        assert text("heading") == "Group 1 of 3"
        assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth === 12)")

        browser.press("Tab")  # to the first button of image A
        assert browser.run("document.activeElement.ariaLabel") == "Image A: rank 1, best"
        assert not warns()
        browser.press("2")
        assert warns()
        assert text("status") == "Image A has rank 2."
        browser.run("document.getElementById('next').click()")
        assert text("heading") == "Group 1 of 3"  # image B has no rank yet
        assert "B" in text("status")
        browser.press("Tab")
        browser.press("Tab")
        browser.press("Tab")
        assert browser.run("document.activeElement.ariaLabel") == "Image B: rank 2, worst"
        browser.press(" ")  # takes the rank from image A
        assert browser.run("[...document.querySelectorAll('[aria-pressed=true]')].map(e => e.ariaLabel)") == [
            "Image B: rank 2, worst"
        ]
        assert "0 of 3" in text("done")
        browser.run("document.querySelector('[aria-label=\"Image A: rank 1, best\"]').click()")
        assert "1 of 3" in text("done")
        browser.run("document.getElementById('next').click()")

        for group in (2, 3):
            assert text("heading") == f"Group {group} of 3"
            for button in ("Image B: rank 1, best", "Image A: rank 2, worst"):
                browser.run(f"document.querySelector('[aria-label=\"{button}\"]').click()")
            browser.run("document.getElementById('next').click()")
        browser.run("document.getElementById('download').click()")
        end = time.monotonic() + 30
        while not (files := list(downloads.glob("*.json"))):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.05)
        assert not warns()
        shown = browser.run("study.groups.map(group => [group.id, group.tiles.map(tile => tile.id)])")
        assert browser.requests[0] == page.as_uri()
        assert all(url.startswith(("data:", "blob:")) for url in browser.requests[1:])
        assert browser.complaints == []

    content = json.loads(files[0].read_text())
    assert content["page"] == key["page"]
    assert content["participant"] == "Ann <b> 1"
    best_first = [tiles if place == 0 else tiles[::-1] for place, (_, tiles) in enumerate(shown)]
    assert [each["ranking"] for each in content["answers"]] == best_first
    assert [each["group"] for each in content["answers"]] == [group for group, _ in shown]
    assert dec_train(["study", "--key", str(key_of(page)), str(files[0]), "--out", str(tmp_path / "out")]) == 0
    methods = json.loads((tmp_path / "out" / "study.json").read_text())["methods"]
    winners = [key["groups"][group]["tiles"][ranking[0]] for (group, _), ranking in zip(shown, best_first, strict=True)]
    assert {name: figures["top1"] for name, figures in methods.items()} == {
        name: pytest.approx(winners.count(name) / 3) for name in ("Fine", "Coarse")
    }
