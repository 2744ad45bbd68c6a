from pathlib import Path

import pytest
import torch

from dec_kernels.trainer.models import RRDBNet, load_weights, read_weights, save_weights


def network(num_feat: int = 4) -> RRDBNet:
    return RRDBNet(num_feat=num_feat, num_block=1, num_grow_ch=2)


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "", "state_dict"])
def test_reads_every_layout(tmp_path: Path, wrapper: str) -> None:
    source, target = network(), network()
    state = source.state_dict()
    content = {"state_dict": {f"generator.{k}": v for k, v in state.items()} | {"criteria.x": torch.ones(1)}}
    torch.save(content if wrapper == "state_dict" else {wrapper: state} if wrapper else state, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    torch.save({"params": {"x": torch.zeros(1)}, "params_ema": {"x": torch.ones(1)}}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth") == {"x": torch.ones(1)}


def test_saves_as_basicsr_does(tmp_path: Path) -> None:
    source = network().to(memory_format=torch.channels_last)
    save_weights(source, tmp_path / "w.pth")
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["params"]
    assert list(content["params"]) == list(source.state_dict())
    assert all(value.is_contiguous() for value in content["params"].values())


@pytest.mark.parametrize("content", [{}, {"state_dict": {"other.x": torch.ones(1)}}, {"epoch": 3}, torch.ones(1)])
def test_refuses_files_without_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds no weights of a generator"):
        read_weights(tmp_path / "w.pth")


def test_refuses_another_networks_weights(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"(?s)w\.pth do not fit the generator.*conv_first"):
        load_weights(network(num_feat=6), tmp_path / "w.pth")
