"""Networks of architectures that are not built here: spandrel tells from the weights what network they are for.

spandrel is an extra: `pip install "dec-kernels[spandrel]"`. It has the MIT licence, and holds architectures with
permissive licences alone. Those of its companion spandrel_extra_arches, some of which forbid commercial use, are never
imported here; a program of yours that has added them to spandrel's registry finds them. Weight files have licences of
their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.models.weights import UnknownNetworkError, read_weights
from dec_kernels.trainer.ranges import PositiveInt


class SpandrelNetwork(nn.Module):
    """The super-resolution network that a weight file is for, with the file's weights, as a generator.

    (B, 3, h, w) in [0, 1] to (B, 3, scale * h, scale * w), not clipped. Images that are too small for the network, or
    whose sides are no multiples of what it takes, are continued at the bottom and right, and the output is cropped.

    Checkpoints of a training hold the weights under the file's own names, behind `spandrel.`; `read_weights` leaves
    that out, so that a checkpoint can take the file's place.

    Args:
        weights: file that `read_weights` reads: a public weight file, or a checkpoint of a training that began with
            one.
        scale: the scale that is wanted; None takes the file's.

    Attributes:
        spandrel: the network itself.
        scale: high-resolution size / low-resolution size.
        multiple: what height and width should be multiples of.
        takes_tiles: whether its results for the tiles of an image are those for the whole image.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: spandrel, or torchvision, which it needs, is not installed.
        UnknownNetworkError: spandrel knows no such network, or it is not for the super-resolution of plain images.
        ValueError: the file cannot be read, or the network has another scale.
    """

    def __init__(self, weights: str | Path, scale: PositiveInt | None = None) -> None:
        super().__init__()
        described = _described(weights)
        if scale not in (None, described.scale):
            raise ValueError(f"{weights} is for scale {described.scale}, and scale {scale} is wanted (data.scale)")
        self.spandrel: nn.Module = described.model
        self.scale: int = described.scale
        self.multiple: int = described.size_requirements.multiple_of
        self.num_in_ch: int = described.input_channels
        self.num_out_ch: int = described.output_channels
        self.takes_tiles: bool = described.tiling.name == "SUPPORTED"
        self._padding = described.size_requirements.get_padding

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        right, bottom = self._padding(width, height)
        own = F.pad(lr, (0, right, 0, bottom), mode="replicate") if right or bottom else lr.clone()
        sr: Tensor = self.spandrel(own)  # which may change it in place, as RCAN does
        return sr[..., : self.scale * height, : self.scale * width]


def _described(weights: str | Path) -> Any:
    """spandrel's description of the network that `weights` are for."""
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError as error:
        raise ImportError(
            f'to read the network off {weights}, spandrel is needed ({error}): pip install "dec-kernels[spandrel]"'
        ) from error
    state = read_weights(weights)
    try:
        described = ModelLoader().load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        raise UnknownNetworkError(f"{weights} holds no network that spandrel knows") from error
    name = described.architecture.name
    if not isinstance(described, ImageModelDescriptor) or described.purpose != "SR":
        raise UnknownNetworkError(
            f"{weights} is for {name}, a network for {described.purpose}, not for super-resolution"
        )
    if not _maps_images_to_images(described):
        raise UnknownNetworkError(f"{weights} is for {name}, whose inputs or outputs are not plain images")
    # Another one, since what a call by spandrel has computed in a network cannot be differentiated any more.
    return ModelLoader().load_from_state_dict(dict(state))


@torch.no_grad()
def _maps_images_to_images(described: Any) -> bool:
    """Whether the network by itself does what spandrel does with it: some want their images scaled, or return more."""
    side = max(described.size_requirements.minimum, 2 * described.size_requirements.multiple_of, 16)
    image = torch.rand(1, described.input_channels, side, side, generator=torch.Generator().manual_seed(0))
    wanted, found = described(image.clone()), described.model(image.clone())
    return isinstance(found, Tensor) and found.shape == wanted.shape and torch.allclose(found.clamp(0, 1), wanted)
