import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dec_kernels.trainer.compare.blind import check_page, key_of, write_page
from dec_kernels.trainer.compare.results import ComparisonError
from dec_kernels.trainer.samples import Crop, Sample

METHODS = ("ESRGAN", "Ours", "Third", "SPSR")


@pytest.fixture
def samples() -> list[tuple[Crop, Sample]]:
    names = (*METHODS, "HR")
    return [
        (
            Crop(f"image{n}", n, 2 * n, 12),
            Sample(f"image{n}", {name: torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8) for name in names}),
        )
        for n in range(6)
    ]


def study_in(page: Path) -> Any:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_key_says_what_is_shown(samples: list[tuple[Crop, Sample]], tmp_path: Path) -> None:
    page = tmp_path / "deep" / "page.html"
    write_page(page, samples, seed=0)
    study, key = study_in(page), json.loads(key_of(page).read_text())
    assert study["page"] == key["page"]
    assert key["methods"] == list(METHODS)
    assert len(study["groups"]) == len(key["groups"]) == 6
    by_image = {crop.image: sample for crop, sample in samples}
    for group in study["groups"]:
        secret = key["groups"][group["id"]]
        sample = by_image[secret["crop"]["image"]]
        assert sorted(secret["tiles"].values()) == sorted(METHODS)
        for tile in group["tiles"]:
            with Image.open(io.BytesIO(base64.b64decode(tile["png"]))) as image:
                shown = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            assert torch.equal(shown, sample.tiles[secret["tiles"][tile["id"]]])


def test_the_page_names_no_method_and_loads_nothing(samples: list[tuple[Crop, Sample]], tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", samples, seed=0)
    text = re.sub(r'"png": "[^"]*"', "", (tmp_path / "page.html").read_text())
    assert not re.search("|".join((*METHODS, "image\\d")), text)
    assert not re.search(r"https?:|src=|@import|url\(|fetch|XMLHttpRequest|sendBeacon|WebSocket", text)
    identifiers = re.findall(r'"id": "([^"]*)"', text)
    assert len(set(identifiers)) == len(identifiers) == 6 * (1 + len(METHODS))
    assert all(re.fullmatch("[0-9a-f]{12}", each) for each in identifiers)


def test_orders_are_random_and_come_from_the_seed(samples: list[tuple[Crop, Sample]], tmp_path: Path) -> None:
    def orders(seed: int) -> tuple[list[str], list[list[str]]]:
        page = tmp_path / f"{seed}.html"
        write_page(page, samples, seed)
        key = json.loads(key_of(page).read_text())
        groups = [(key["groups"][group["id"]], group) for group in study_in(page)["groups"]]
        return (
            [secret["crop"]["image"] for secret, _ in groups],
            [[secret["tiles"][tile["id"]] for tile in group["tiles"]] for secret, group in groups],
        )

    first = orders(0)
    content = (tmp_path / "0.html").read_bytes()
    assert orders(0) == first
    assert (tmp_path / "0.html").read_bytes() == content
    assert len({tuple(methods) for methods in first[1]}) > 2  # each group has an order of its own
    assert first[0] != [crop.image for crop, _ in samples]
    assert orders(1) != first
    assert study_in(tmp_path / "1.html")["page"] != study_in(tmp_path / "0.html")["page"]


def test_pages_of_other_images_are_other_pages(samples: list[tuple[Crop, Sample]], tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", samples, seed=0)
    samples[2][1].tiles["Ours"][0, 3, 4] += 1
    write_page(tmp_path / "b.html", samples, seed=0)
    assert study_in(tmp_path / "a.html")["page"] != study_in(tmp_path / "b.html")["page"]


def test_pages_that_cannot_be_written(tmp_path: Path) -> None:
    check_page(tmp_path / "new" / "page.html", 2, 1)
    (tmp_path / "a.html").write_text("")
    (tmp_path / "b.key.json").write_text("")
    mistakes: list[tuple[str, int, int, type[Exception], str]] = [
        ("a.html", 2, 1, FileExistsError, "a.html exists"),
        ("b.html", 2, 1, FileExistsError, "b.key.json exists"),
        ("a.html/page.html", 2, 1, ValueError, "a.html is a file"),
        ("c.html", 1, 1, ComparisonError, "two methods.* 1"),
        ("c.html", 2, 0, ComparisonError, "--crops is 0"),
    ]
    for name, methods, crops, kind, words in mistakes:
        with pytest.raises(kind, match=words):
            check_page(tmp_path / name, methods, crops)
