from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dec_kernels.trainer.models.reading import fill, read_tensors


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])  # the content tells, not the name
def test_reads_both_kinds(tmp_path: Path, name: str) -> None:
    state = {"a.weight": torch.rand(2, 3), "b": torch.rand(1).half()}
    for save in (save_file, torch.save):
        save(state, tmp_path / name)
        read = read_tensors(tmp_path / name)
        assert read.keys() == state.keys()
        assert all(torch.equal(read[key], state[key]) and read[key].dtype == state[key].dtype for key in state)


def test_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    save_file({"a": torch.rand(100)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    for content in (whole[:40], whole[:-1], whole[:8] + b"{" + bytes(100), b"", b"some text"):
        (tmp_path / "w.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.safetensors is damaged"):
            read_tensors(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="folder"):
        read_tensors(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_tensors(tmp_path / "nothing")


def test_fills_what_fits() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {key: torch.ones_like(value) for key, value in network.state_dict().items()}
    assert fill(network, state) == ""
    assert all(bool((value == 1).all()) for value in network.state_dict().values())
    del state["0.weight"]
    different = fill(network, state | {"1.weight": torch.zeros(1, 4), "x": torch.zeros(1), "1.bias": torch.zeros(1)})
    assert different == (
        "1 missing in the file: 0.weight; 1 not in the network: x; 1 of another shape: 1.weight (1, 4) for (1, 3)"
    )
    assert network[1].bias.item() == 0
