import json

import pytest

from benchmarks import precision


def test_writes_the_error_of_each_preset(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys) -> None:
    presets = {"cpp": ("ieee", "bf16"), "torch": ("ieee",)}
    monkeypatch.setattr(precision, "PRESETS", presets)
    monkeypatch.setattr("sys.argv", ["precision", "--n", "128", "--out", str(tmp_path)])
    precision.main()
    results = json.loads((tmp_path / "precision.json").read_text())
    found = {(r["backend"], r["precision"], r["temperature"]): r for r in results["errors"]}
    assert len(found) == 6
    assert all(r["gradient_error"] < 1e-5 for (_, preset, _), r in found.items() if preset == "ieee")
    assert 1e-5 < found["cpp", "bf16", "outside"]["gradient_error"] < 1e-2
    assert "Relative errors, n = 128" in capsys.readouterr().out
