"""Generator weight files: reading those of this trainer and of BasicSR, writing BasicSR's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

_IN_CHECKPOINT = "generator."  # where a checkpoint of the training module keeps the generator
_WRAPPERS = ("params_ema", "params")  # BasicSR's, the averaged weights first, as its test scripts read them


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The generator's state dict, under BasicSR's key names.

    Args:
        path: a checkpoint of this trainer (``.ckpt``), or a file of BasicSR's with the weights under ``params_ema`` or
            ``params`` or bare (``.pth``). Nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no weights of a generator.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping) and "state_dict" in content:
        state = content["state_dict"]
        content = {k.removeprefix(_IN_CHECKPOINT): v for k, v in state.items() if k.startswith(_IN_CHECKPOINT)}
    elif isinstance(content, Mapping):
        content = next((content[key] for key in _WRAPPERS if key in content), content)
    if not (isinstance(content, Mapping) and content and all(isinstance(v, Tensor) for v in content.values())):
        raise ValueError(f"{path} holds no weights of a generator: neither a checkpoint of this trainer nor BasicSR's")
    return dict(content)


def load_weights(generator: nn.Module, path: str | Path) -> None:
    """Fill ``generator`` with the weights of a file that :func:`read_weights` reads.

    Raises:
        ValueError: they are the weights of another network; the message lists what differs.
    """
    try:
        generator.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the generator: {error}") from error


def save_weights(generator: nn.Module, path: str | Path) -> None:
    """Write the generator's weights as BasicSR does: float tensors in ordinary memory order, under ``params``."""
    state = {key: value.detach().cpu().contiguous() for key, value in generator.state_dict().items()}
    torch.save({"params": state}, path)
