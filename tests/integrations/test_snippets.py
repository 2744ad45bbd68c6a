"""The configs in docs/integrations.md parse, `DECLoss` takes what stands in them, and the weights are the paper's."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dec_kernels import DECLoss

PAGE = (Path(__file__).parents[2] / "docs/integrations.md").read_text()
PARSERS: dict[str, Callable[[str], Any]] = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}
SNIPPETS = [
    PARSERS[language](text) for language, text in re.findall(r"```(yaml|toml|json)\n(.*?)```", PAGE, flags=re.DOTALL)
]


def losses(config: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every loss in a config by its type, or by its key where it has none."""
    if isinstance(config, dict):
        if "loss_weight" in config:
            yield config.get("type", name), config
        for key, value in config.items():
            yield from losses(value, key)
    elif isinstance(config, list):
        for value in config:
            yield from losses(value, name)


def test_every_trainer_has_one() -> None:
    assert len(SNIPPETS) == 5


@pytest.mark.parametrize("config", SNIPPETS, ids=str)
def test_DECLoss_weighs_what_L1_weighs_as_in_the_paper(config: dict[str, Any]) -> None:
    found = dict(losses(config))
    (dec,) = [found.pop(name) for name in ("decloss", "DECLoss", "dec_loss", "dec_opt") if name in found]
    DECLoss(**{key: value for key, value in dec.items() if key != "type"})
    pixel = [loss["loss_weight"] for loss in found.values()] or [config["train"]["G_lossfn_weight"]]
    assert pixel == [dec["loss_weight"]]
