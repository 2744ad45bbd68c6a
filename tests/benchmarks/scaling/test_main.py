"""The whole command, with the tables and the plot that it makes of the results."""

import json

import pytest

from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling import measure


def canned(task, processes, plan):
    """What two processes could have returned for 256 patches."""
    received = dict.fromkeys(measure.RECEIVED, 411648)
    steps = [{**received, "rounds": [(9.0, 9.0), (0.3 + rank, 0.1 + 0.2 * rank)]} for rank in (0, 1)]
    return [[step] for step in steps] if task is measure.times_and_bytes else [[1000], [2000]]


def test_writes_what_was_measured_and_what_is_predicted_apart(monkeypatch, tmp_path, capsys):
    file, plot = tmp_path / "scaling.json", tmp_path / "scaling.png"
    monkeypatch.setattr(measure, "run", canned)
    arguments = ["--patches", "256", "--processes", "2", "--json", str(file), "--plot", str(plot)]
    monkeypatch.setattr("sys.argv", ["scaling", *arguments])
    scaling.main()
    results = json.loads(file.read_text())

    (step,) = results["measured"]["steps"]
    assert (step["wall"]["first_call"], step["wall"]["median"]) == (9.0, 1.3)  # the slower process
    assert step["cpu"]["median"] == pytest.approx(0.2)  # the mean
    assert (step["received_bytes"], step["extra_bytes"]) == ([411648] * 2, [1000, 2000])
    assert step["received_bytes_with_landmarks"] == [411648] * 2
    assert step["model"]["cpu_seconds"] == pytest.approx(0.2)
    assert step["model"]["received_bytes"] == 1024 + 2 * 3 * 128 * 128 * 4 + 256 * 8

    assert results["measured"]["what"].startswith("MEASURED")
    assert results["predicted"]["what"].startswith("PREDICTED")
    assert "H100" not in str(results["measured"])
    output = capsys.readouterr().out
    assert output.count("MEASURED on a CPU") == 2
    assert "received 0 bytes more" in " ".join(output.split())
    assert output.count("PREDICTED from datasheets, nothing of it was measured") == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
