import pytest

from benchmarks import documents


def test_a_block_is_replaced_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCKS", {"one": lambda: "new\n", "two": lambda: "1 \\1\n"})
    text = "a\n<!-- figures: {} -->\n{}<!-- end of figures -->\n"
    before = text.format("one", "old\nold\n") + text.format("two", "")
    assert documents.updated(before) == text.format("one", "new\n") + text.format("two", "1 \\1\n")


def test_a_block_that_nothing_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        documents.updated("<!-- figures: nothing -->\n<!-- end of figures -->\n")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0996, "0.10"), (0.20, "0.20"), (9.96, "10"), (13.4, "13"), (257, "260"), (10021, "10,000")]
)
def test_two_digits(value: float, text: str) -> None:
    assert documents.two_digits(value) == text


@pytest.mark.parametrize(("value", "text"), [(5.37e8, "5.4e8"), (6.87e10, "6.9e10")])
def test_scientific(value: float, text: str) -> None:
    assert documents.scientific(value) == text
