"""JSON that every reader accepts."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(content: Any) -> str:
    """Indented JSON that ends with a newline; NaN and infinity, which JSON does not have, become null.

    Args:
        content: made of dicts, lists, tuples, strings, numbers, booleans and None.
    """
    return json.dumps(_with_null(content), indent=1, allow_nan=False) + "\n"


def _with_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_null(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_with_null(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
