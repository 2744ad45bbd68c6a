from types import SimpleNamespace

import pytest
import torch

from dec_kernels.trainer import progress as progress_module
from dec_kernels.trainer.progress import TrainingBar


def test_the_bar_shows_memory_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingBar.__mro__[1], "get_metrics", lambda *arguments: {"train/l1": 0.5, "v_num": 3})
    module = SimpleNamespace(device=torch.device("cpu"))
    shown = TrainingBar().get_metrics(None, module)
    assert shown.keys() == {"train/l1", "memory"}
    assert 0.1 < float(shown["memory"].removesuffix(" GiB")) < 20
    monkeypatch.setattr(progress_module, "resource", None)
    assert TrainingBar().get_metrics(None, module) == {"train/l1": 0.5}
