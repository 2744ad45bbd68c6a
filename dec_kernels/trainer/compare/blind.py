"""The page of a user study: crops in random order, without the methods' names, for people to rank."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from dec_kernels.trainer.compare.results import GROUND_TRUTH, ComparisonError
from dec_kernels.trainer.files import require_folder, write_file, write_json
from dec_kernels.trainer.png import write_png
from dec_kernels.trainer.samples import Crop, Sample

_PLACEHOLDER = "/*STUDY*/"


def key_of(page: Path) -> Path:
    """The file beside `page` that says which image is of which method."""
    return page.with_suffix(".key.json")


def check_page(page: Path, methods: int, crops: int) -> None:
    """Checks that a page can be written: before the comparison, which may take hours.

    Raises:
        ComparisonError: there are fewer than two methods, or no crops.
        FileExistsError: the page or its key exists already.
        ValueError: its folder cannot be written to.
    """
    if methods < 2:
        raise ComparisonError(f"--blind needs at least two methods to rank, got {methods}")
    if crops < 1:
        raise ComparisonError(f"--blind needs crops to rank, and --crops is {crops}")
    if existing := [path for path in (page, key_of(page)) if path.exists()]:
        raise FileExistsError(f"--blind: {existing[0]} exists already, and answers to it would lose their key")
    require_folder(page.parent, "--blind")


def write_page(page: Path, samples: Sequence[tuple[Crop, Sample]], seed: int) -> None:
    """Writes the page and its key.

    The page is one HTML file that loads nothing. The order of the groups and of the images in each, and the identifiers
    that stand for both, are drawn at random from `seed` and the images: the page holds no method's name. The ground
    truth is not shown.

    Args:
        page: the HTML file; `key_of` says where the key goes.
        samples: each crop and its tiles, by the same methods in all of them.
        seed: of the random order.
    """
    shown = [
        (crop, {method: _png(tile) for method, tile in sample.tiles.items() if method != GROUND_TRUTH})
        for crop, sample in samples
    ]
    digest = hashlib.sha256(repr([seed, *shown]).encode()).hexdigest()
    rng = random.Random(digest)
    study: dict[str, Any] = {"page": digest[:16], "groups": []}
    key: dict[str, Any] = {"page": digest[:16], "methods": [*shown[0][1]], "groups": {}}
    for crop, tiles in rng.sample(shown, len(shown)):
        group = _identifier(rng)
        named = [(_identifier(rng), method) for method in rng.sample([*tiles], len(tiles))]
        encoded = [{"id": name, "png": base64.b64encode(tiles[method]).decode()} for name, method in named]
        study["groups"].append({"id": group, "size": crop.size, "tiles": encoded})
        key["groups"][group] = {"crop": crop._asdict(), "tiles": dict(named)}
    template = files("dec_kernels.trainer.compare").joinpath("blind.html").read_text(encoding="utf-8")
    write_json(key_of(page), key)  # first: without its key, a page is of no use
    write_file(page, template.replace(_PLACEHOLDER, json.dumps(study)).encode())


def _identifier(rng: random.Random) -> str:
    return f"{rng.getrandbits(48):012x}"


def _png(image: Tensor) -> bytes:
    content = io.BytesIO()
    height, width = image.shape[-2:]
    write_png(content, [image], height, width, image.dtype)
    return content.getvalue()
