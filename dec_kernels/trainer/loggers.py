"""The log as a table that a resumed run goes on with."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class LastingCSVLogger(CSVLogger):
    """Lightning's CSVLogger would delete the `metrics.csv` of the run that is resumed; this one keeps its rows.

    Steps after the last checkpoint are there twice then, once from each run.
    """

    def __init__(self, out: Path) -> None:
        super().__init__(out, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            table = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
            kept = table.with_suffix(".kept")
            if table.exists():
                os.replace(table, kept)  # out of sight, while Lightning looks for what to delete
            writer = super().experiment
            if kept.exists():  # also if the program was killed here the last time
                os.replace(kept, table)
                with table.open(newline="") as file:
                    writer.metrics_keys = next(csv.reader(file), [])  # a crash can leave it empty
        return super().experiment
