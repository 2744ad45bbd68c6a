"""HINet (Chen et al., CVPRW 2021), a generator for denoising and deblurring, with the parameter names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.models.layers import lrelu


class ConvBlock(nn.Module):
    """Two 3x3 convolutions under a 1x1 skip connection: (B, in_channels, H, W) to (B, channels, H, W).

    Args:
        in_channels: channels of the input.
        channels: channels of the output, even.
        half_norm: instance norm for the first half of the channels behind the first convolution, none for the others:
            the half instance normalization block.
        fuses: whether `forward` adds features of the stage before: the cross-stage feature fusion.
        halves: whether the block has `downsample`, the convolution to half the height and width that comes behind it.
    """

    def __init__(
        self, in_channels: int, channels: int, half_norm: bool = False, fuses: bool = False, halves: bool = False
    ) -> None:
        super().__init__()
        self.identity = nn.Conv2d(in_channels, channels, 1)
        self.conv_1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.InstanceNorm2d(channels // 2, affine=True) if half_norm else None
        if fuses:
            self.csff_enc = nn.Conv2d(channels, channels, 3, padding=1)
            self.csff_dec = nn.Conv2d(channels, channels, 3, padding=1)
        if halves:
            self.downsample = nn.Conv2d(channels, channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor, earlier: tuple[Tensor, Tensor] | None = None) -> Tensor:
        features = self.conv_1(x)
        if self.norm is not None:
            normed, plain = features.chunk(2, dim=1)
            features = torch.cat((self.norm(normed), plain), dim=1)
        features = lrelu(self.conv_2(lrelu(features))) + self.identity(x)
        if earlier is None:
            return features
        encoded, decoded = earlier
        return features + self.csff_enc(encoded) + self.csff_dec(decoded)


class UpBlock(nn.Module):
    """(B, 2 channels, H, W) and, from the encoder, (B, channels, 2 H, 2 W) to (B, channels, 2 H, 2 W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.conv_block = ConvBlock(2 * channels, channels)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        return self.conv_block(torch.cat((self.up(x), encoded), dim=1))


class SupervisedAttention(nn.Module):
    """The first stage's image, and its features as that image weights them, for the second stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, 3, 3, padding=1)
        self.conv3 = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, features: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        image = self.conv2(features) + lr
        return features + self.conv1(features) * self.conv3(image).sigmoid(), image


class HINet(nn.Module):
    """HINet for RGB images: (B, 3, H, W) in [0, 1] to the restored (B, 3, H, W), not clipped.

    Two U-Nets one behind the other, each of which adds to the input. H and W must be multiples of `2**(depth - 1)`:
    of the attribute `multiple`.

    Instance norm takes its statistics from the whole input, so that a tile of an image becomes another thing than the
    same part of the whole image: `takes_tiles` is False.

    Args:
        scale: 1; there is no other.
        wf: channels at full resolution, even; they double with each halving. HINet: 64, HINet 0.5x: 32.
        depth: resolutions of each U-Net, at least 2. HINet: 5.
        hin_position_left: the first resolution, counted from 0, whose encoder block has half instance norm.
        hin_position_right: the last one. HINet: 0 and 4 for denoising, 3 and 4 for deblurring.

    Raises:
        ValueError: an argument is out of its range, or the input's channels are not 3, or its height or width is no
            multiple of `multiple`; or both are `multiple`, which leaves a single pixel to be normed.
    """

    multiple: int
    takes_tiles = False

    def __init__(
        self, scale: int = 1, wf: int = 64, depth: int = 5, hin_position_left: int = 0, hin_position_right: int = 4
    ) -> None:
        super().__init__()
        if scale != 1:
            raise ValueError(f"scale must be 1 for HINet, got {scale}")
        require_at_least(1, wf=wf)
        require_at_least(2, depth=depth)
        if wf % 2:
            raise ValueError(f"wf must be even, got {wf}")
        self.scale = scale
        self.multiple = 2 ** (depth - 1)
        widths = [wf * 2**level for level in range(depth)]

        def encoder(fuses: bool) -> nn.ModuleList:
            return nn.ModuleList(
                ConvBlock(
                    before,
                    channels,
                    half_norm=hin_position_left <= level <= hin_position_right,
                    fuses=fuses and level < depth - 1,
                    halves=level < depth - 1,
                )
                for level, (before, channels) in enumerate(zip([wf, *widths], widths, strict=False))
            )

        def decoder() -> nn.ModuleList:
            return nn.ModuleList(UpBlock(channels) for channels in reversed(widths[:-1]))

        def bridges() -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for channels in reversed(widths[:-1]))

        self.conv_01 = nn.Conv2d(3, wf, 3, padding=1)
        self.down_path_1 = encoder(fuses=False)
        self.skip_conv_1 = bridges()
        self.up_path_1 = decoder()
        self.sam12 = SupervisedAttention(wf)
        self.conv_02 = nn.Conv2d(3, wf, 3, padding=1)
        self.cat12 = nn.Conv2d(2 * wf, wf, 1)
        self.down_path_2 = encoder(fuses=True)
        self.skip_conv_2 = bridges()
        self.up_path_2 = decoder()
        self.last = nn.Conv2d(wf, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return self.stages(lr)[-1]

    def stages(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """The images of both stages, each like `lr`; the second is the network's result."""
        self._check(lr)
        encoded = _encode(self.down_path_1, self.conv_01(lr))
        decoded = _decode(self.up_path_1, self.skip_conv_1, encoded)
        attended, first = self.sam12(decoded[0], lr)
        x = self.cat12(torch.cat((self.conv_02(lr), attended), dim=1))
        encoded = _encode(self.down_path_2, x, list(zip(encoded, decoded, strict=False)))
        return first, self.last(_decode(self.up_path_2, self.skip_conv_2, encoded)[0]) + lr

    def _check(self, lr: Tensor) -> None:
        height, width = lr.shape[-2:]
        if lr.shape[-3] != 3:
            raise ValueError(f"lr must have 3 channels, got shape {tuple(lr.shape)}")
        if height % self.multiple or width % self.multiple:
            raise ValueError(f"lr's height and width must be multiples of {self.multiple}, got {height} x {width}")
        if max(height, width) <= self.multiple:
            raise ValueError(
                f"lr must be larger than {self.multiple} x {self.multiple} for the instance norm of its smallest "
                f"resolution, got {height} x {width}"
            )


def _encode(blocks: nn.ModuleList, x: Tensor, earlier: Sequence[tuple[Tensor, Tensor]] | None = None) -> list[Tensor]:
    """The features at each resolution, the full one first. `earlier` has two of the stage before for all but the last
    resolution: those of its encoder and of its decoder."""
    *halving, last = blocks
    features = []
    for block, fused in zip(halving, earlier or repeat(None), strict=False):
        features.append(block(x, fused))
        x = block.downsample(features[-1])  # type: ignore[operator]
    return [*features, last(x)]


def _decode(blocks: nn.ModuleList, bridges: nn.ModuleList, encoded: Sequence[Tensor]) -> list[Tensor]:
    """The features at each resolution but the last, the full one first."""
    *finer, x = encoded
    features: list[Tensor] = []
    for block, bridge, level in zip(blocks, bridges, reversed(finer), strict=True):
        x = block(x, bridge(level))
        features.insert(0, x)
    return features
