"""Weight files: reading this trainer's, BasicSR's, KAIR's and ESRGAN's first ones; writing BasicSR's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dec_kernels.trainer.models.hinet import HINet
from dec_kernels.trainer.models.reading import fill, read_tensors
from dec_kernels.trainer.models.rrdbnet import RRDBNet

# Where a file may keep the generator, the averaged weights first: in this trainer's checkpoints, in BasicSR's files.
_PLACES = (
    *(("state_dict", "averaged.module."), ("state_dict", "generator.")),
    *((wrapper, "") for wrapper in ("params_ema", "params-ema", "params", "model_state_dict", "net")),
)

# Before each key, where a network was saved from within another module: DistributedDataParallel, or SpandrelNetwork.
_WRAPPERS = ("module.", "spandrel.")

# What RRDBNet's layers are called in ESRGAN's first release (`model.`) and in its second, which KAIR keeps.
_BASICSR_NAMES = {
    r"model\.0": "conv_first",
    r"(?:model\.1\.sub|RRDB_trunk)\.(\d+)\.RDB(\d)\.conv(\d)(?:\.0)?": r"body.\1.rdb\2.conv\3",
    r"model\.1\.sub\.\d+|trunk_conv": "conv_body",
    r"model\.3|upconv1": "conv_up1",
    r"model\.6|upconv2": "conv_up2",
    r"model\.8|HRconv": "conv_hr",
    r"model\.10": "conv_last",
}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The generator's state dict, under BasicSR's key names.

    Args:
        path: a checkpoint of this trainer (`.ckpt`), of which the averaged weights are taken where it has them; or a
            file (`.pth`, `.safetensors`) with the weights under `params_ema` or `params` or bare, where an
            RRDBNet's layers may have the names of BasicSR and Real-ESRGAN, of KAIR and neosr, or of ESRGAN's first
            release and traiNNer-redux. Nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, or damaged, or holds no weights of a generator.
    """
    state = _state_dict(read_tensors(path))
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no weights of a generator: neither a checkpoint of this trainer nor BasicSR's")
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    in_old_names = any(".RDB1." in key for key in state)
    return {_basicsr_name(key) if in_old_names else key: value for key, value in state.items()}


class UnknownNetworkError(ValueError):
    """The weights in a file are for no network that is looked for; the message says which that is."""


def load_weights(generator: nn.Module, path: str | Path) -> None:
    """Fills `generator` with the weights of a file that `read_weights` reads.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or holds the weights of another network; the message lists what differs.
            What fits has then been loaded.
    """
    _fill(_unwrapped(generator), read_weights(path), f"the weights in {path} do not fit the generator")


def rrdbnet_from(path: str | Path) -> RRDBNet:
    """The RRDBNet that the shapes in a weight file describe, with the file's weights.

    The scale follows from the channels of the first convolution, taking it that the network reads as many as it writes:
    for RGB images 3 stand for scale 4, 12 for 2 and 48 for 1. Networks that reach other scales by more or fewer
    upsampling convolutions than ESRGAN's two are not read.

    Args:
        path: a file that `read_weights` reads.

    Raises:
        FileNotFoundError: there is no such file.
        UnknownNetworkError: the file holds another network than such an RRDBNet.
        ValueError: the file cannot be read.
    """
    state, problem = read_weights(path), f"{path} holds no RRDBNet with two upsampling convolutions"
    first, dense, last = "conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"
    for key in (first, dense, last):
        if key not in state or state[key].ndim != 4:
            raise UnknownNetworkError(f"{problem}: it has no convolution {key}")
    num_feat, channels = state[first].shape[:2]
    num_out_ch = state[last].shape[0]
    scales = {num_out_ch: 4, 4 * num_out_ch: 2, 16 * num_out_ch: 1}
    if channels not in scales:
        raise UnknownNetworkError(
            f"{problem}: for {num_out_ch} output channels, {first} must have {', '.join(map(str, scales))} input "
            f"channels, got {channels}"
        )
    network = RRDBNet(
        num_in_ch=num_out_ch,
        num_out_ch=num_out_ch,
        scale=scales[channels],
        num_feat=num_feat,
        num_block=len({key.split(".")[1] for key in state if key.startswith("body.")}),
        num_grow_ch=state[dense].shape[0],
    )
    _fill(network, state, problem)
    return network


def hinet_from(path: str | Path) -> HINet:
    """The HINet that the keys and shapes in a weight file describe, with the file's weights.

    Args:
        path: a file that `read_weights` reads.

    Raises:
        FileNotFoundError: there is no such file.
        UnknownNetworkError: the file holds another network than a HINet.
        ValueError: the file cannot be read.
    """
    state, first = read_weights(path), "conv_01.weight"
    depth = len({key.split(".")[1] for key in state if key.startswith("down_path_1.")})
    if first not in state or depth < 2:
        raise UnknownNetworkError(f"{path} holds no HINet: it has no convolution {first}, or no down_path_1")
    normed = [level for level in range(depth) if f"down_path_1.{level}.norm.weight" in state]
    left, right = (normed[0], normed[-1]) if normed else (depth, depth)
    network = HINet(wf=state[first].shape[0], depth=depth, hin_position_left=left, hin_position_right=right)
    _fill(network, state, f"{path} holds no HINet")
    return network


def save_weights(generator: nn.Module, path: str | Path) -> None:
    """Writes the generator's weights as BasicSR does: float tensors in ordinary memory order, under `params`."""
    state = {key: value.detach().cpu().contiguous() for key, value in _unwrapped(generator).state_dict().items()}
    torch.save({"params": state}, path)


def _state_dict(content: object) -> dict[str, Any]:
    """What a file's content keeps in the first of the places that it has, else the content itself."""
    if not (isinstance(content, Mapping) and all(isinstance(key, str) for key in content)):
        return {}
    for wrapper, prefix in _PLACES:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping):
            found = {key.removeprefix(prefix): value for key, value in inner.items() if key.startswith(prefix)}
            if found:
                return found
    return dict(content)


def _basicsr_name(key: str) -> str:
    layer, _, parameter = key.rpartition(".")
    for pattern, name in _BASICSR_NAMES.items():
        if match := re.fullmatch(pattern, layer):
            return f"{match.expand(name)}.{parameter}"
    return key


def _fill(network: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Loads `state`, or raises an UnknownNetworkError that says `problem` and what differs."""
    if different := fill(network, state):
        raise UnknownNetworkError(f"{problem}: {different}")


def _unwrapped(generator: nn.Module) -> nn.Module:
    """The network whose names are those of public files: a SpandrelNetwork's own one."""
    network: nn.Module = getattr(generator, "spandrel", generator)
    return network
