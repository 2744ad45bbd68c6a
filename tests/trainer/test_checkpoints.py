import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dec_kernels.trainer.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoint,
    UnusableCheckpointError,
    require_checkpoint,
)

WHOLE = {"state_dict": {"x": torch.ones(30_000)}, "pytorch-lightning_version": "2.5.0", "global_step": 7}


def damage(path: Path, kind: str) -> None:
    torch.save(WHOLE, path)
    whole = path.read_bytes()
    contents = {"cut": whole[:-100], "empty": b"", "noise": torch.randperm(256).to(torch.uint8).numpy().tobytes()}
    contents["halved"] = whole[: len(whole) // 2]  # where PyTorch has an OSError
    contents["zeros"] = bytes(len(whole))
    path.write_bytes(contents[kind])


@pytest.mark.parametrize("kind", ["cut", "halved", "empty", "noise", "zeros"])
def test_damaged_files_are_named(tmp_path: Path, kind: str) -> None:
    damage(tmp_path / "a.ckpt", kind)
    with pytest.raises(UnusableCheckpointError, match=r"a\.ckpt is damaged"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [{"params": {"x": torch.ones(1)}}, {"state_dict": {}}, torch.ones(1), [WHOLE]])
def test_other_files_are_no_checkpoints(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    save_file({"x": torch.ones(1)}, tmp_path / "b.pth")
    for name in ("a", "b"):
        with pytest.raises(UnusableCheckpointError, match=rf"{name}\.pth.*model\.weights"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / f"{name}.pth")


def test_an_infinite_best_figure_is_forgotten(tmp_path: Path) -> None:
    """As runs have it from before there was a score, whose best checkpoint would never be replaced."""
    before = BestCheckpoint(tmp_path)
    for figure, kept in ((30.0, True), (math.inf, False)):
        before.best_model_score, before.kth_best_model_path = torch.tensor(figure), "best.ckpt"
        after = BestCheckpoint(tmp_path)
        after.load_state_dict(before.state_dict())
        assert (after.best_model_score is not None, after.kth_best_model_path == "best.ckpt") == (kept, kept)


def test_neither_folders_nor_code_nor_nothing_is_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UnusableCheckpointError, match="folder"):
        AtomicCheckpointIO().load_checkpoint(tmp_path)
    torch.save(WHOLE | {"network": torch.nn.Linear(1, 1)}, tmp_path / "a.ckpt")
    with pytest.raises(UnusableCheckpointError, match=r"a\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "nothing.ckpt")


def test_another_checkpoint_is_named_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    last, best = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    torch.save(WHOLE, last)
    require_checkpoint(last, tmp_path)
    torch.save(WHOLE, best)
    damage(last, "cut")
    with pytest.raises(UnusableCheckpointError, match=r"last\.ckpt is damaged.*--resume .*best\.ckpt.* 7"):
        require_checkpoint(last, tmp_path)
    damage(best, "empty")
    with pytest.raises(UnusableCheckpointError, match=r"last\.ckpt is damaged.*--out"):
        require_checkpoint(last, tmp_path)
    torch.save({"params": {}}, tmp_path / "mine.pth")
    with pytest.raises(UnusableCheckpointError, match=r"mine\.pth.*model\.weights$"):
        require_checkpoint(tmp_path / "mine.pth", tmp_path)
    torch.save(WHOLE, last)
    with pytest.raises(UnusableCheckpointError, match=r"best\.ckpt is damaged.*--resume .*last\.ckpt"):
        require_checkpoint(best, tmp_path)
