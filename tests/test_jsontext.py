import json
import math

from dec_kernels.jsontext import to_json


def test_what_is_not_finite_is_null() -> None:
    content = {"a": [1.5, math.nan, (math.inf, {"b": -math.inf})], "c": "NaN", "d": True, "e": None, "f": 3}
    text = to_json(content)
    assert text.endswith("}\n")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(text, parse_constant=refuse)
    assert read == {"a": [1.5, None, [None, {"b": None}]], "c": "NaN", "d": True, "e": None, "f": 3}
