"""Parsers of command lines and files, whose errors are short and say which name was meant."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from argparse import ArgumentError
from collections.abc import Iterable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from dec_kernels.console import USE_UTF8
from dec_kernels.trainer.wording import did_you_mean

_UNKNOWN = re.compile(r"(?:does not accept option|unrecognized arguments:|Option) '?-{0,2}([\w.-]+)")
_GROUP = re.compile(r"Group '([\w.]+)' does not")
_CLASS = re.compile(r"given class_path '([\w.]+)'")
_CHOICE = re.compile(r"Literal\[(.*?)\]\. Got value: (\S+)")

# What is wrong with the one of several types that was meant, where the parser lists what each of them wants.
_NOT_OF_UNION = re.compile(r"^ *- (?!Expected a )(.*(?:\n(?! *- | *Given ).*)*)", re.MULTILINE)


class SuggestingParser(ArgumentParser):
    """ArgumentParser without abbreviations, whose errors are short and suggest the known name that is near.

    An error ends the program with exit status 2, or is raised as an `argparse.ArgumentError` by a parser that was made
    with `exit_on_error=False`.

    Attributes:
        program: what error messages begin with.
        help_command: what lists all that can be set.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.program = self.prog
        self.help_command = f"{self.prog} --help"

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        explained = shortened(message) + self._suggestion(message)
        if not self.exit_on_error:
            raise ArgumentError(None, explained) from ex
        sys.stderr.write(f"{self.program}: {explained}\n`{self.help_command}` lists all that can be set.\n")
        raise SystemExit(2)

    def _suggestion(self, message: str) -> str:
        """What follows an error's own words."""
        suggestion = ""
        if "surrogates not allowed" in message:
            suggestion += f". {USE_UTF8}, if that is what they are"
        if unknown := _UNKNOWN.search(message):
            group = _GROUP.search(message)
            name = f"{group[1]}.{unknown[1]}" if group else unknown[1]
            suggestion += "." + did_you_mean(name, self._names(message))
        if choice := _CHOICE.search(message):
            suggestion += "." + did_you_mean(choice[2], re.findall(r"'(.*?)'", choice[1]))
        if "Expected a <class 'list'>" in message:
            suggestion += (
                "\nA list is written [NAME, NAME], in quotes for the shell, and a name that is a number, or that holds "
                'brackets, commas, colons or #, in quotes of its own: \'["2024", "a [b], c"]\'.'
            )
        return suggestion

    def _names(self, message: str) -> Iterable[str]:
        """The names that are known where `message` found another one."""
        if named := _CLASS.search(message):
            module, _, name = named[1].rpartition(".")
            return inspect.signature(getattr(importlib.import_module(module), name)).parameters
        subcommands = getattr(self, "_subcommands_action", None)
        parsers = subcommands.choices.values() if subcommands else [self]
        return {action.dest for parser in parsers for action in parser._actions}  # noqa: SLF001  argparse names none


class TrainingParser(SuggestingParser, LightningArgumentParser):
    """The parser of LightningCLI, and of each of its subcommands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.program = "dec-train"
        self.help_command = "dec-train fit --help"


def shortened(message: str) -> str:
    """The parser's `message` without its list of what other types want, where one type was meant: None is the other."""
    wrapped = _NOT_OF_UNION.findall(message)
    return wrapped[0] if wrapped else message
