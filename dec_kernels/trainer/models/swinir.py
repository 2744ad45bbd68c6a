"""SwinIR (Liang et al., 2021), a generator of windowed self-attention, with the parameter names of its public files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.models.layers import lrelu, upsample_nearest

_RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K
_NUM_FEAT = 64  # channels of the reconstruction, in every published network
_MASKED = -100.0  # what the published networks add to the logits of pixels that must not attend to each other
_TABLES = (".relative_position_index", ".attn_mask")  # in public files beside the weights; computed here


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for every offset between two pixels.

    (B, N, T, dim), N windows of T = window_size**2 pixels, to the same shape. `mask`, (N, T, T), is added to the
    attention's logits.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", _relative_position_index(window_size), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # each (B, N, heads, T, dim / heads)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            bias = bias + mask[:, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(2, 3).flatten(3))


class SwinBlock(nn.Module):
    """Window attention, then a perceptron for each pixel, both under skip connections: (B, H, W, dim) to the same.

    With `shift`, the windows lie that many pixels further down and to the right, and wrap around the image; `mask`
    then keeps apart what only the wrapping has brought together. In training, each of the two branches is left out for
    a random `drop_path_rate` of the samples (stochastic depth, Huang et al., 2016).
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shift: int, mlp_ratio: float, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.window_size, self.shift, self.drop_path_rate = window_size, shift, drop_path_rate
        hidden = int(mlp_ratio * dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, hidden), gelu=nn.GELU(), fc2=nn.Linear(hidden, dim)),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self._drop_path(self._attend(self.norm1(x), mask))
        return x + self._drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        shifted = x.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(_split(shifted, self.window_size), mask if self.shift else None)
        return _join(windows, shifted.shape).roll((self.shift, self.shift), dims=(1, 2))

    def _drop_path(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path_rate == 0:
            return branch
        kept = 1 - self.drop_path_rate
        return branch * branch.new_empty(len(branch), 1, 1, 1).bernoulli_(kept) / kept


class ResidualGroup(nn.Module):
    """Swin blocks in a row."""

    def __init__(self, blocks: Iterable[SwinBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class RSTB(nn.Module):
    """Residual Swin transformer block: Swin blocks and a convolution under one more skip connection."""

    def __init__(self, dim: int, blocks: Iterable[SwinBlock]) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(blocks)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + _channels_last(self.conv(_channels_first(self.residual_group(x, mask))))


class SwinIR(nn.Module):
    """SwinIR for RGB images: (B, 3, H, W) in [0, 1] to (B, 3, scale * H, scale * W), not clipped.

    The defaults are those of the network for classical super-resolution, SwinIR-M. Where H or W is no multiple of the
    window size, which `multiple` is, the input is padded by reflection and the output cropped. Public files load with
    and without the index and mask tables that they hold: these follow from the sizes, and are no part of the state dict
    here.

    Args:
        scale: 2, 3, 4 or 8.
        embed_dim: channels of the body, a multiple of each of `num_heads`.
        depths: Swin blocks in each residual Swin transformer block.
        num_heads: attention heads in each residual Swin transformer block.
        window_size: height and width in pixels, at least 2, of the windows in which pixels attend to each other.
        mlp_ratio: width of the perceptrons' hidden layer, in units of `embed_dim`.
        drop_path_rate: of the last Swin block, in [0, 1): how often training leaves out a branch of it. It rises
            linearly from 0 at the first block.
        upsampler: `pixelshuffle`, that of classical super-resolution; `pixelshuffledirect`, one convolution, that
            of the lightweight network; or `nearest+conv`, that of real-world super-resolution, for scale 4.

    Raises:
        ValueError: an argument is out of its range, or the input's height or width is too small for the padding: below
            `window_size // 2 + 1`.
    """

    mean: Tensor

    def __init__(
        self,
        scale: int = 4,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        upsampler: Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv"] = "pixelshuffle",
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4, 8):
            raise ValueError(f"scale must be 2, 3, 4 or 8, got {scale}")
        if len(depths) != len(num_heads) or min((*depths, *num_heads), default=0) < 1:
            raise ValueError(f"depths and num_heads must be as many counts of at least 1, got {depths}, {num_heads}")
        if embed_dim < 1 or any(embed_dim % heads for heads in num_heads):
            raise ValueError(f"embed_dim must be a multiple of each of num_heads, {num_heads}, got {embed_dim}")
        require_at_least(2, window_size=window_size)
        if mlp_ratio * embed_dim < 1:
            raise ValueError(f"mlp_ratio must give the perceptrons a hidden layer, got {mlp_ratio}")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {drop_path_rate}")
        self.scale = scale
        self.multiple = window_size
        self.upsampler = upsampler
        self.register_buffer("mean", torch.tensor(_RGB_MEAN).view(3, 1, 1), persistent=False)

        self.conv_first = nn.Conv2d(3, embed_dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed_dim)})
        last = max(1, sum(depths) - 1)
        rates = (drop_path_rate * n / last for n in range(sum(depths)))
        self.layers = nn.ModuleList()
        for depth, heads in zip(depths, num_heads, strict=True):
            shifts = [0 if n % 2 == 0 else window_size // 2 for n in range(depth)]
            blocks = [SwinBlock(embed_dim, heads, window_size, shift, mlp_ratio, next(rates)) for shift in shifts]
            self.layers.append(RSTB(embed_dim, blocks))
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)

        if upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(*_pixel_shuffle(embed_dim, 3, scale))
        elif upsampler in ("pixelshuffle", "nearest+conv"):
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, _NUM_FEAT, 3, padding=1), nn.LeakyReLU())
            self.conv_last = nn.Conv2d(_NUM_FEAT, 3, 3, padding=1)
            if upsampler == "pixelshuffle":
                factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
                steps = (_pixel_shuffle(_NUM_FEAT, _NUM_FEAT, factor) for factor in factors)
                self.upsample = nn.Sequential(*(module for step in steps for module in step))
            elif scale == 4:
                self.conv_up1 = nn.Conv2d(_NUM_FEAT, _NUM_FEAT, 3, padding=1)
                self.conv_up2 = nn.Conv2d(_NUM_FEAT, _NUM_FEAT, 3, padding=1)
                self.conv_hr = nn.Conv2d(_NUM_FEAT, _NUM_FEAT, 3, padding=1)
            else:
                raise ValueError(f"upsampler nearest+conv needs scale 4, got {scale}")
        else:
            raise ValueError(f"upsampler must be pixelshuffle, pixelshuffledirect or nearest+conv, got {upsampler!r}")

        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.register_load_state_dict_pre_hook(_drop_tables)  # type: ignore[no-untyped-call]

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        if down >= height or right >= width:
            raise ValueError(
                f"lr's height and width must be at least {self.multiple // 2 + 1} for windows of {self.multiple}, "
                f"got {height} x {width}"
            )
        first = self.conv_first(F.pad(lr, (0, right, 0, down), mode="reflect") - self.mean)
        sr = self._reconstruct(first + self.conv_after_body(self._body(first))) + self.mean
        return sr[..., : height * self.scale, : width * self.scale]

    def _body(self, features: Tensor) -> Tensor:
        mask = _shift_mask(features, self.multiple)
        x = self.patch_embed["norm"](_channels_last(features))
        for layer in self.layers:
            x = layer(x, mask)
        return _channels_first(self.norm(x))

    def _reconstruct(self, features: Tensor) -> Tensor:
        if self.upsampler == "pixelshuffledirect":
            return self.upsample(features)
        features = self.conv_before_upsample(features)
        if self.upsampler == "pixelshuffle":
            return self.conv_last(self.upsample(features))
        features = lrelu(self.conv_up1(upsample_nearest(features)))
        features = lrelu(self.conv_up2(upsample_nearest(features)))
        return self.conv_last(lrelu(self.conv_hr(features)))


def _split(x: Tensor, size: int) -> Tensor:
    """(B, H, W, dim) to (B, windows, pixels of one, dim), both in row-major order."""
    x = x.unflatten(2, (-1, size)).unflatten(1, (-1, size))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _join(windows: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `_split`, to `shape`."""
    size = round(windows.shape[2] ** 0.5)
    x = windows.unflatten(2, (size, size)).unflatten(1, (shape[1] // size, shape[2] // size))
    return x.transpose(2, 3).reshape(shape)


def _relative_position_index(size: int) -> Tensor:
    """(T, T), int64: for each two pixels of a window, the row of the bias table that belongs to their offset."""
    rows, columns = torch.arange(size**2).div(size, rounding_mode="floor"), torch.arange(size**2).remainder(size)
    down = rows[:, None] - rows + size - 1
    right = columns[:, None] - columns + size - 1
    return down * (2 * size - 1) + right


def _shift_mask(features: Tensor, size: int) -> Tensor:
    """(windows, T, T): 0 where two pixels of a shifted window are neighbours in the image, too, else `_MASKED`."""
    height, width = features.shape[-2:]
    wrapped_rows = torch.arange(height, device=features.device) >= height - size // 2
    wrapped_columns = torch.arange(width, device=features.device) >= width - size // 2
    side = 2 * wrapped_rows[:, None] + wrapped_columns  # the four parts of a window that wrapping can bring together
    sides = _split(side[None, :, :, None], size).squeeze(-1).squeeze(0)
    apart = sides[:, :, None] != sides[:, None, :]
    return apart.to(features.dtype) * _MASKED


def _pixel_shuffle(channels: int, width: int, factor: int) -> tuple[nn.Module, nn.Module]:
    """A convolution and the shuffle that give `width` channels at `factor` times the resolution."""
    return nn.Conv2d(channels, factor**2 * width, 3, padding=1), nn.PixelShuffle(factor)


def _drop_tables(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(prefix) and key.endswith(_TABLES)]:
        del state[key]


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
