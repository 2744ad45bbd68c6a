import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dec_kernels.trainer import cli

SWEEP = """
title: A title [with brackets]
base: {base}
settings: {{model.learning_rate: 1.0e-3}}
figure: {{kind: line, x: {{label: "threshold [dB]", setting: model.dec.init_args.threshold}}}}
runs:
  30 dB: {{model.dec.init_args.threshold: 30.0}}
  40 dB: {{model.dec.init_args.threshold: 40.0}}
  34/8: {{model.dec.init_args.threshold: 34.0, data.batch_size: 8}}
"""
FOLDERS = ["30_dB", "40_dB", "34_8"]
FIGURES = {"psnr_y": 28.0, "ssim_y": 0.8, "lpips": 0.2}


class FakeFit:
    """Stands in for `dec-train`: keeps what it was called with, and leaves a summary of the figures it is given."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.figures = dict(FIGURES)
        self.ends: dict[str, Callable[[], int]] = {}  # a run's folder -> how its training ends, if not well

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        assert argv is not None
        self.calls.append([*argv])
        out = Path(argv[argv.index("--out") + 1])
        (out / "checkpoints").mkdir(exist_ok=True)
        # A training that is stopped leaves a summary, too.
        (out / "summary.json").write_text(json.dumps({"step": 2, "epoch": 1, "val": self.figures}))
        return self.ends.get(out.name, lambda: 0)()

    def trained(self) -> list[str]:
        folders = [Path(call[call.index("--out") + 1]).name for call in self.calls]
        self.calls.clear()
        return folders


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> FakeFit:
    fake = FakeFit()
    monkeypatch.setattr(cli, "main", fake)
    return fake


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text("model: {pixel_weight: 1.0}\n")
    return path


@pytest.fixture
def file(tmp_path: Path, base: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(base=base))
    return path


@pytest.fixture
def call(file: Path, tmp_path: Path) -> list[str]:
    return ["--config", str(file), "--out", str(tmp_path / "out")]
