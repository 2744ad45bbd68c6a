"""Errors of the command line that say which name was meant."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from dec_kernels.console import USE_UTF8

_UNKNOWN = re.compile(r"(?:does not accept option|unrecognized arguments:|Option) '?-{0,2}([\w.]+)")
_CLASS = re.compile(r"given class_path '([\w.]+)'")


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``name`` was meant to be, as the end of a sentence; empty where none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class SuggestingParser(LightningArgumentParser):
    """LightningArgumentParser without abbreviations, whose errors are short and suggest the known name that is near."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if "surrogates not allowed" in message:
            message = f"{message}. {USE_UTF8}, if that is what they are"
        unknown = _UNKNOWN.search(message)
        suggestion = "." + nearest(unknown[1], self._names(message)) if unknown else ""
        if "Expected a <class 'list'>" in message:
            suggestion += (
                "\nA list is written [NAME, NAME], in quotes for the shell, and a name that is a number, or that holds "
                'brackets, commas, colons or #, in quotes of its own: \'["2024", "a [b], c"]\'.'
            )
        sys.stderr.write(f"dec-train: {message}{suggestion}\n`dec-train fit --help` lists all that can be set.\n")
        raise SystemExit(2)

    def _names(self, message: str) -> set[str]:
        if named := _CLASS.search(message):
            module, _, name = named[1].rpartition(".")
            return set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
        subcommands = getattr(self, "_subcommands_action", None)
        parsers = subcommands.choices.values() if subcommands else [self]
        return {action.dest for parser in parsers for action in parser._actions}
