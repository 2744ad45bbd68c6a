from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("lightning", reason="the trainer's dependencies are not installed")

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a subfolder: three small RGB images of different sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "deeper").mkdir()
    rng = np.random.default_rng(0)
    for name, height, width in (("a.png", 48, 64), ("b.png", 40, 40), ("deeper/c.PNG", 51, 43)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def tiny_config(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config that trains the smallest network for two steps, with DECLoss."""
    folder = tmp_path_factory.mktemp("config")
    path = folder / "tiny.yaml"
    path.write_text(f"""
seed_everything: 0
trainer:
  accelerator: cpu
  max_epochs: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
out: {folder}/run
model:
  generator:
    class_path: dec_kernels.trainer.models.RRDBNet
    init_args: {{num_feat: 4, num_block: 1, num_grow_ch: 2}}
  dec:
    class_path: dec_kernels.DECLoss
    init_args: {{patch_size: 8}}
  learning_rate: 1.0e-3
data:
  train: ["{photographs}"]
  val: ["{photographs}/a.png"]
  test: ["{photographs}/b.png"]
  crop_size: 32
  batch_size: 2
  batches_per_epoch: 2
""")
    return path


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring to networks as small as those of these tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
