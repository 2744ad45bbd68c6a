import csv
from pathlib import Path

import pytest

from dec_kernels.trainer.loggers import LastingCSVLogger


def log(folder: Path, step: int, **figures: float) -> None:
    logger = LastingCSVLogger(folder)
    logger.log_metrics(figures, step)
    logger.finalize("success")


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_rows_of_earlier_runs_stay(tmp_path: Path) -> None:
    log(tmp_path, 0, l1=0.5)
    log(tmp_path, 1, l1=0.25)
    log(tmp_path, 2, dec=4.0)  # a term that is new
    assert rows(tmp_path) == [
        {"dec": "", "l1": "0.5", "step": "0"},
        {"dec": "", "l1": "0.25", "step": "1"},
        {"dec": "4.0", "l1": "", "step": "2"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_a_crash_may_have_left_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    log(tmp_path, 1, l1=0.25)
    log(tmp_path, 2, l1=0.125)
    assert [row["l1"] for row in rows(tmp_path)] == ["0.25", "0.125"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_rows_stay_when_the_program_is_killed_as_it_begins(tmp_path: Path) -> None:
    log(tmp_path, 0, l1=0.5)
    (tmp_path / "metrics.csv").rename(tmp_path / "metrics.kept")
    log(tmp_path, 1, l1=0.25)
    assert [row["l1"] for row in rows(tmp_path)] == ["0.5", "0.25"]
