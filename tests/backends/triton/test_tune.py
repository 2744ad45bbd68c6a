"""The tuner: what it tries, in which order, and what it takes."""

import itertools

import pytest

from dec_kernels.backends import triton
from dec_kernels.backends.triton import tiles, tune
from dec_kernels.backends.triton.host import Host
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.spec import Spec
from tests.backends.triton.cases import gradient_ramp, prepared
from tests.conftest import on_the_interpreter
from tests.oracle import error, evaluate

pytestmark = on_the_interpreter


def test_tuning_finds_tiles_that_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plain, band = [Tile(32, 32, 4, 1), Tile(48, 32, 4, 1)], [Tile(16, 16, 4, 1), Tile(64, 128, 4, 1)]
    monkeypatch.setattr(tune, "PROMISING", {"forward": plain, "backward": plain})
    monkeypatch.setattr(tune, "PLAIN", plain)
    monkeypatch.setattr(tune, "BAND", band)
    monkeypatch.setattr(tiles, "INTERPRETED", Tiles(plain[0], band[0], plain[0], band[0]))
    # The last one tried is the fastest, and 48 rows are no power of two.
    speeds = itertools.count(1000.0, -1.0)
    monkeypatch.setattr(tune, "_on_cpu", lambda call: [next(speeds)])
    monkeypatch.setenv(triton.AUTOTUNE, "1")
    host = Host(tiles.INTERPRETER, multiprocessors=2)
    monkeypatch.setattr(triton, "host_of", lambda device: host)
    sr, hr = gradient_ramp(6, 8, 4)
    arguments = {"patch_size": 4, "threshold": 14.0, "backend": "triton", "precision": "ieee"}
    tuned = evaluate(sr, hr, **arguments)
    one_program = Tile(32, 32, 4, 1, splits=1)
    assert host.tuned == {(16, "ieee"): Tiles(one_program, band[1], one_program, band[1])}
    assert "left out" in capsys.readouterr().out
    row = tune.row("sm_90", 16, "ieee", Tiles(plain[0], band[0], one_program, band[0]))
    assert row == '("sm_90", 16, "ieee", (32, 32, 4, 1), (16, 16, 4, 1), (32, 32, 4, 1, 1, False), (16, 16, 4, 1))'
    monkeypatch.delenv(triton.AUTOTUNE)
    assert error(tuned.gradient, evaluate(sr, hr, **arguments).gradient) < 1e-6


def test_tuning_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = itertools.count(0.0, 10.0)
    monkeypatch.setattr(tune.time, "monotonic", lambda: next(now))
    tried = []
    monkeypatch.setattr(tune, "seconds", lambda call, device: tried.append(call) or 1.0)
    constants = Spec(patch_size=4, threshold=14.0).constants(16, "bf16")
    rows, _ = prepared(*gradient_ramp(3, 4, 4), 4, constants)
    assert tune.fastest(triton.host_of(rows.z.device), rows, constants, deadline=35.0) == tiles.INTERPRETED
    assert len(tried) == 2 + 4  # the table's, forward and backward, and a candidate at each time from 0 to 30
    assert "out of time" in capsys.readouterr().out


def test_the_most_promising_candidates_come_first() -> None:
    def order(precision: str, temperature: str = "outside") -> list[tuple[str, dict]]:
        return list(tune.changes(Spec(temperature=temperature).constants(192, precision)))

    first = order("bf16")
    wide = {"rows": 128, "columns": 128, "warps": 8, "stages": 2}
    narrow = {"rows": 64, "columns": 64, "warps": 4, "stages": 2}
    assert first[0][0] == "forward"
    assert wide.items() <= first[0][1].items()
    assert {role for role, change in first[:8] if narrow.items() <= change.items()} == {"forward", "backward"}
    assert ("forward", {"polynomial": True}) in first[:10]
    assert ("backward", {"splits": 2}) in first[:14]
    for other in (order("ieee"), order("tf32x3"), order("bf16", "inside")):
        assert ("forward", {"polynomial": True}) not in other
