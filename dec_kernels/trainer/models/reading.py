"""Files of tensors, of which nothing is executed; and filling networks with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dec_kernels.trainer.errors import is_out_of_memory
from dec_kernels.trainer.wording import first_few


def read_tensors(path: str | Path) -> Any:
    """What `torch.save` or safetensors has written, on the CPU; which of them it was is seen in the file itself.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, or damaged, or holds more than tensors and plain Python values.
    """
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a file of weights")
    by_safetensors = is_safetensors(path)
    with open(path, "rb") as file:  # opened, since PyTorch would go by the name
        try:
            return load_file(path) if by_safetensors else torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise almost anything
            if is_out_of_memory(error):
                raise
            raise ValueError(f"{path} is damaged, or holds more than tensors and plain Python values") from error


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is safetensors', by its content.

    Raises:
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"  # the header is JSON, behind 8 bytes for the header's length


def fill(network: nn.Module, state: Mapping[str, Tensor], assign: bool = False) -> str:
    """Loads what fits of `state` into `network`, and returns in words what does not; empty if all does.

    Args:
        assign: as in `load_state_dict`: take the tensors themselves, which a network on the meta device needs.
    """
    own = network.state_dict()
    resized = [key for key in own if key in state and state[key].shape != own[key].shape]
    fitting = {key: value for key, value in state.items() if key not in resized}
    missing, unexpected = network.load_state_dict(fitting, strict=False, assign=assign)
    found = {
        "missing in the file": [key for key in own if key in missing and key not in state],
        "not in the network": unexpected,
        "of another shape": [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in resized],
    }
    return "; ".join(f"{len(keys)} {what}: {first_few(keys)}" for what, keys in found.items() if keys)
