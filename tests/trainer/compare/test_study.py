import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.compare.results import ComparisonError
from dec_kernels.trainer.compare.study import read_study, standings

# Participant -> the methods' names of each group, from the best to the worst.
VOTES = {
    "Ann": ["abcd", "bacd", "adcb"],
    "Ben": ["abdc", "bcad", "dabc"],
}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    groups = {f"g{n}": {"tiles": {f"g{n}{name}": name for name in "dcba"}} for n in range(3)}
    path = tmp_path / "page.key.json"
    path.write_text(json.dumps({"page": "p1", "methods": ["a", "b", "c", "d"], "groups": groups}))
    return path


def answers(participant: str, rankings: list[str], page: str = "p1") -> dict[str, Any]:
    given = [{"group": f"g{n}", "ranking": [f"g{n}{name}" for name in ranking]} for n, ranking in enumerate(rankings)]
    return {"page": page, "participant": participant, "answers": given}


def write(tmp_path: Path, name: str, content: Any) -> Path:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_standings() -> None:
    table = standings("abcd", VOTES)
    assert {method: row.top1 for method, row in table.items()} == {
        "a": pytest.approx(3 / 6),
        "b": pytest.approx(2 / 6),
        "c": 0,
        "d": pytest.approx(1 / 6),
    }
    assert {method: row.top3 for method, row in table.items()} == {
        "a": 1,
        "b": pytest.approx(5 / 6),
        "c": pytest.approx(4 / 6),
        "d": pytest.approx(3 / 6),
    }
    # The first group is a's, the second b's, and a and d share the third.
    assert {method: row.won for method, row in table.items()} == {
        "a": pytest.approx(1.5 / 3),
        "b": pytest.approx(1 / 3),
        "c": 0,
        "d": pytest.approx(0.5 / 3),
    }
    # Ann ranks a 1, 2, 1 and Ben 1, 3, 2: their means are 4/3 and 2.
    assert table["a"].rank == pytest.approx((4 / 3 + 2) / 2)
    assert table["a"].error == pytest.approx((2 - 4 / 3) / 2)  # half the difference, where there are two
    assert sum(row.rank for row in table.values()) == pytest.approx(1 + 2 + 3 + 4)


def test_what_cannot_be_said_is_nan() -> None:
    table = standings("ab", {"Ann": ["ab", "ba"]})
    assert table["a"][:1] + table["a"][2:4] == (0.5, 0.5, 1.5)
    assert math.isnan(table["a"].top3)  # all are among three
    assert math.isnan(table["a"].error)


def test_the_command(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(write(tmp_path, name, answers(name, rankings))) for name, rankings in VOTES.items()]
    out = tmp_path / "out"
    assert dec_train(["study", "--key", str(key), *files, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    wanted = standings("abcd", VOTES)
    for text in ("2 participants, 3 groups: 6 votes", "50.0 %", "1.67 ± 0.33", "groups won"):
        assert text in printed
    content = json.loads((out / "study.json").read_text())
    assert content == {
        "participants": 2,
        "groups": 3,
        "methods": {method: pytest.approx(row._asdict()) for method, row in wanted.items()},
    }
    with (out / "study.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["d"]["rank"]) == wanted["d"].rank
    with Image.open(out / "study.png") as image:
        assert image.size[1] == 4 * 160


def test_one_participant_and_few_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = {"g0": {"tiles": {"g0a": "a [x]", "g0b": "$b$"}}}
    key = write(tmp_path, "key", {"page": "p1", "methods": ["a [x]", "$b$"], "groups": groups})
    file = write(tmp_path, "ann", answers("Ann", ["ba"]))
    assert dec_train(["study", "--key", str(key), str(file), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "1 participant, 1 group: 1 vote" in printed
    assert "a [x]" in printed
    assert "±" not in printed
    assert "top 3" not in printed
    assert json.loads((tmp_path / "out" / "study.json").read_text())["methods"]["$b$"]["error"] is None


def test_answers_that_cannot_be_counted(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = answers("Ann", VOTES["Ann"])
    first = write(tmp_path, "first", good)
    mistakes: list[tuple[Any, list[str]]] = [
        (answers("Ben", VOTES["Ben"], page="p2"), ["'p2'", "'p1'"]),
        (answers(" ann ", VOTES["Ben"]), ["first.json", "both of the participant"]),
        (answers("Ben", VOTES["Ben"][:2]), ["incomplete", "1 of 3", "g2"]),
        (answers("Ben", [*VOTES["Ben"], "abcd"]), ["g3"]),
        (answers("Ben", ["abcd", "abc", "abcd"]), ["g1"]),
        (answers("Ben", ["abcd", "abca", "abcd"]), ["g1"]),
        (good | {"participant": "Ben", "answers": [*good["answers"], good["answers"][1]]}, ["g1", "twice"]),
        (answers(" ", VOTES["Ben"]), ["participant", "' '"]),
        (answers(3, VOTES["Ben"]), ["participant", "3"]),  # type: ignore[arg-type]
        ([1], ["holds no answers"]),
        ({"page": "p1"}, ["holds no answers"]),
        (good | {"answers": [{"group": ["g0"], "ranking": []}]}, ["holds no answers"]),
        (good | {"participant": "Ben", "answers": [{"group": "g0", "ranking": 3}]}, ["holds no answers"]),
    ]
    for content, words in mistakes:
        second = write(tmp_path, "second", content)
        assert dec_train(["study", "--key", str(key), str(first), str(second)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("dec-train study: ")
        assert all(word in error for word in ["second.json", *words]), error


def test_other_mistakes(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path, "first", answers("Ann", VOTES["Ann"]))
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "bytes.json").write_bytes(bytes(range(256)))
    damaged = write(tmp_path, "damaged", json.loads(key.read_text()) | {"methods": ["a", "b"]})
    for given, words in (
        (["--key", str(damaged), str(first)], ["damaged.json", "g0", "a, b"]),
        (["--key", str(first), str(first)], ["first.json is not the key"]),
        (["--key", str(tmp_path / "text.json"), str(first)], ["text.json is not JSON"]),
        (["--key", str(key), str(tmp_path / "bytes.json")], ["bytes.json is not JSON"]),
        (["--key", str(tmp_path / "nothing.json"), str(first)], ["nothing.json"]),
        (["--key", str(key), str(first), "--out", str(first)], ["--out", "is a file"]),
        (["--kay", str(key), str(first)], ["Did you mean 'key'?"]),
    ):
        assert dec_train(["study", *given]) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words), error


def test_the_order_of_groups_is_the_keys(key: Path, tmp_path: Path) -> None:
    content = answers("Ann", VOTES["Ann"])
    content["answers"].reverse()
    _, rankings = read_study(key, [write(tmp_path, "ann", content)])
    assert ["".join(ranking) for ranking in rankings["Ann"]] == VOTES["Ann"]
    with pytest.raises(ComparisonError):
        read_study(key, [write(tmp_path, "ann", content), write(tmp_path, "again", content)])
