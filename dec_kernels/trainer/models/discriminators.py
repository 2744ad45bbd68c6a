"""Discriminators for adversarial training, with the parameter names of BasicSR and Real-ESRGAN."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from dec_kernels.trainer.errors import require_at_least
from dec_kernels.trainer.models.layers import SLOPE, lrelu, upsample_bilinear


class VGGDiscriminator(nn.Sequential):
    """The VGG-style discriminator of SRGAN and ESRGAN: (B, num_in_ch, S, S) to logits (B, 1), S being `input_size`.

    Pairs of convolutions, the second of which halves the resolution, lead to 4 x 4 features, which two linear layers
    judge as a whole. Its batch norms let the other images of a batch change an image's logit.

    Args:
        num_in_ch: channels of the images.
        num_feat: channels of the first convolution; doubled with each halving, up to eight times as many.
        input_size: height and width of the images, 128 or 256.

    Raises:
        ValueError: `input_size` is another number, a count is below 1, or an input has another shape.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 128) -> None:
        halvings = {128: 5, 256: 6}
        if input_size not in halvings:
            raise ValueError(f"input_size must be 128 or 256, got {input_size}")
        require_at_least(1, num_in_ch=num_in_ch, num_feat=num_feat)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = num_in_ch
        for n in range(halvings[input_size]):
            width = num_feat * min(2**n, 8)
            layers[f"conv{n}_0"] = nn.Conv2d(channels, width, 3, padding=1, bias=n == 0)
            if n > 0:
                layers[f"bn{n}_0"] = nn.BatchNorm2d(width)
            layers[f"lrelu{n}_0"] = nn.LeakyReLU(SLOPE, inplace=True)
            layers[f"conv{n}_1"] = nn.Conv2d(width, width, 4, stride=2, padding=1, bias=False)
            layers[f"bn{n}_1"] = nn.BatchNorm2d(width)
            layers[f"lrelu{n}_1"] = nn.LeakyReLU(SLOPE, inplace=True)
            channels = width
        layers["flatten"] = nn.Flatten()
        layers["linear1"] = nn.Linear(channels * 4 * 4, 100)
        layers["lrelu"] = nn.LeakyReLU(SLOPE, inplace=True)
        layers["linear2"] = nn.Linear(100, 1)
        super().__init__(layers)
        self.input_shape = (num_in_ch, input_size, input_size)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1:] != self.input_shape:
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(f"image must have shape (B, {wanted}), got {tuple(image.shape)}")
        return super().forward(image)  # type: ignore[no-untyped-call]


class UNetDiscriminator(nn.Module):
    """The U-Net discriminator of Real-ESRGAN: (B, num_in_ch, H, W) to one logit for each pixel, (B, 1, H, W).

    Every convolution but the first and the last has its weight divided by its largest singular value (Miyato et al.,
    2018), which each forward pass in training mode estimates anew.

    Args:
        num_in_ch: channels of the images.
        num_feat: channels at full resolution; doubled with each of the three halvings.

    Raises:
        ValueError: a count is below 1, or an input has other channels or a size that is no multiple of 8.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64) -> None:
        super().__init__()
        require_at_least(1, num_in_ch=num_in_ch, num_feat=num_feat)

        def same(channels: int, width: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(channels, width, 3, padding=1, bias=False))

        def halving(channels: int, width: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False))

        self.num_in_ch = num_in_ch
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.conv1 = halving(num_feat, 2 * num_feat)
        self.conv2 = halving(2 * num_feat, 4 * num_feat)
        self.conv3 = halving(4 * num_feat, 8 * num_feat)
        self.conv4 = same(8 * num_feat, 4 * num_feat)
        self.conv5 = same(4 * num_feat, 2 * num_feat)
        self.conv6 = same(2 * num_feat, num_feat)
        self.conv7 = same(num_feat, num_feat)
        self.conv8 = same(num_feat, num_feat)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        _, channels, height, width = image.shape
        if channels != self.num_in_ch or height % 8 or width % 8:
            raise ValueError(
                f"image must have {self.num_in_ch} channels and a height and width that are multiples of 8, "
                f"got shape {tuple(image.shape)}"
            )
        full = lrelu(self.conv0(image))
        half = lrelu(self.conv1(full))
        quarter = lrelu(self.conv2(half))
        eighth = lrelu(self.conv3(quarter))
        features = quarter + lrelu(self.conv4(upsample_bilinear(eighth)))
        features = half + lrelu(self.conv5(upsample_bilinear(features)))
        features = full + lrelu(self.conv6(upsample_bilinear(features)))
        return self.conv9(lrelu(self.conv8(lrelu(self.conv7(features)))))
