"""Parts of the sentences that tell users what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The one of `known` that is spelled most like `name`, as a sentence behind a space; empty where none is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_few(names: Sequence[object], limit: int = 5) -> str:
    """The first `limit` of `names`, separated by commas, and how many more there are."""
    shown = ", ".join(map(str, names[:limit]))
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
