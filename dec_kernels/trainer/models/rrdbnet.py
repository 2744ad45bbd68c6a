"""RRDBNet, the generator of ESRGAN (Wang et al., 2018), with the parameter names of BasicSR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.models.layers import lrelu, upsample_nearest

_RESIDUAL_SCALE = 0.2  # ESRGAN, section 3.1: keeps a deep stack of residual blocks stable without batch norm
_INIT_SCALE = 0.1  # likewise: dense blocks start close to the identity


class ResidualDenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the block's input and the outputs of all before it."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                conv.weight.mul_(_INIT_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat((features, lrelu(conv(features))), dim=1)
        return x + _RESIDUAL_SCALE * self.conv5(features)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks under one more skip connection."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        return x + _RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """RRDBNet: (B, num_in_ch, H, W) in [0, 1] to (B, num_out_ch, scale * H, scale * W), not clipped.

    The body works at a quarter of the output's resolution, whatever the scale: for scales 2 and 1 the input is first
    folded by pixel-unshuffle, as in Real-ESRGAN (Wang et al., 2021), so H and W must then be multiples of 2 and 4: of
    the attribute `multiple`.

    Args:
        num_in_ch: channels of the low-resolution images.
        num_out_ch: channels of the high-resolution images.
        scale: 1, 2 or 4.
        num_feat: channels of the trunk. ESRGAN: 64.
        num_block: residual-in-residual dense blocks. ESRGAN: 23.
        num_grow_ch: channels that each convolution of a dense block adds. ESRGAN: 32.

    Raises:
        ValueError: a size is below 1, `scale` is another number, or the input's size is no multiple of `multiple`
            or its channels are others.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {scale}")
        require_at_least(
            1,
            num_in_ch=num_in_ch,
            num_out_ch=num_out_ch,
            num_feat=num_feat,
            num_block=num_block,
            num_grow_ch=num_grow_ch,
        )
        self.num_in_ch = num_in_ch
        self.num_out_ch = num_out_ch
        self.scale = scale
        self.multiple = 4 // scale
        self.conv_first = nn.Conv2d(num_in_ch * self.multiple**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        if lr.shape[-3] != self.num_in_ch:
            raise ValueError(f"lr must have {self.num_in_ch} channels, got shape {tuple(lr.shape)}")
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"lr's height and width must be multiples of {self.multiple} at scale {self.scale}, "
                f"got {height} x {width}"
            )
        first = self.conv_first(F.pixel_unshuffle(lr, self.multiple))
        features = first + self.conv_body(self.body(first))
        features = lrelu(self.conv_up1(upsample_nearest(features)))
        features = lrelu(self.conv_up2(upsample_nearest(features)))
        return self.conv_last(lrelu(self.conv_hr(features)))
