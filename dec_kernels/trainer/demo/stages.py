"""The trainings of the demo."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_STEPS = 6


@dataclass(frozen=True)
class Stage:
    """One training of the demo: its name in the report, its folder in the run's, and what `dec-train` would get."""

    name: str
    folder: str
    args: tuple[str, ...]


PRETRAIN = Stage("L1, stage 1", "stage1_l1", ("--config", "demo_stage1"))
WITHOUT_DEC = Stage("L1", "stage2_l1", ("--config", "demo_stage2", "--model.dec_weight=0"))
WITH_DEC = Stage("L1 + DECLoss", "stage2_l1_dec", ("--config", "demo_stage2"))
STAGES = (PRETRAIN, WITHOUT_DEC, WITH_DEC)
