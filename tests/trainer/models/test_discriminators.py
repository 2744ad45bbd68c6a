from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.models import UNetDiscriminator, VGGDiscriminator, load_weights


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize(("network", "count"), [(VGGDiscriminator, 14_499_401), (UNetDiscriminator, 4_376_897)])
def test_sizes_of_the_published_networks(network: type[nn.Module], count: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in network().parameters()) == count


# Per convolution: kernel, stride, output channels in units of num_feat. The last pair is only there for 256 x 256.
VGG_LAYERS = {
    "0_0": (3, 1, 1), "0_1": (4, 2, 1), "1_0": (3, 1, 2), "1_1": (4, 2, 2), "2_0": (3, 1, 4), "2_1": (4, 2, 4),
    "3_0": (3, 1, 8), "3_1": (4, 2, 8), "4_0": (3, 1, 8), "4_1": (4, 2, 8), "5_0": (3, 1, 8), "5_1": (4, 2, 8),
}  # fmt: skip


@pytest.mark.parametrize("input_size", [128, 256])
def test_vgg_is_the_published_function_under_the_published_names(tmp_path: Path, input_size: int) -> None:
    state: dict[str, Tensor] = {}
    x = image = torch.rand(2, 3, input_size, input_size)
    for name, (kernel, stride, width) in list(VGG_LAYERS.items())[: 12 if input_size == 256 else 10]:
        weight = state[f"conv{name}.weight"] = torch.randn(2 * width, x.shape[1], kernel, kernel)
        x = F.conv2d(x, weight, stride=stride, padding=1)
        if name == "0_0":
            bias = state["conv0_0.bias"] = torch.randn(2)
            x = x + bias[:, None, None]
        else:
            weight, bias, mean = torch.randn(3, 2 * width, 1, 1)
            variance = 10 * torch.rand(2 * width, 1, 1) + 10
            x = (x - mean) / (variance + 1e-5).sqrt() * weight + bias
            entries = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
            state |= {f"bn{name}.{entry}": value.flatten() for entry, value in entries.items()}
            state[f"bn{name}.num_batches_tracked"] = torch.tensor(7)
        x = leaky(x)
    state["linear1.weight"], state["linear1.bias"] = torch.randn(100, 16 * 4 * 4), torch.randn(100)
    state["linear2.weight"], state["linear2.bias"] = torch.randn(1, 100), torch.randn(1)
    x = leaky(x.flatten(1) @ state["linear1.weight"].T + state["linear1.bias"])
    wanted = x @ state["linear2.weight"].T + state["linear2.bias"]

    torch.save({"params": state}, tmp_path / "net_d.pth")
    network = VGGDiscriminator(num_feat=2, input_size=input_size).eval()
    load_weights(network, tmp_path / "net_d.pth")
    torch.testing.assert_close(network(image), wanted, rtol=1e-3, atol=1e-3)


# Per convolution: input and output channels in units of num_feat, kernel, stride.
UNET_LAYERS = {
    1: (1, 2, 4, 2), 2: (2, 4, 4, 2), 3: (4, 8, 4, 2), 4: (8, 4, 3, 1),
    5: (4, 2, 3, 1), 6: (2, 1, 3, 1), 7: (1, 1, 3, 1), 8: (1, 1, 3, 1),
}  # fmt: skip


def test_unet_is_the_published_function_under_the_published_names(tmp_path: Path) -> None:
    state = {
        "conv0.weight": torch.randn(2, 3, 3, 3),
        "conv0.bias": torch.randn(2),
        "conv9.weight": torch.randn(1, 2, 3, 3),
        "conv9.bias": torch.randn(1),
    }
    weights: dict[int, Tensor] = {}
    for n, (channels, width, kernel, _) in UNET_LAYERS.items():
        weight = torch.randn(2 * width, 2 * channels, kernel, kernel)
        u = F.normalize(torch.randn(2 * width), dim=0)
        v = F.normalize(weight.flatten(1).T @ u, dim=0)
        state |= {f"conv{n}.weight_orig": weight, f"conv{n}.weight_u": u, f"conv{n}.weight_v": v}
        weights[n] = weight / (u @ weight.flatten(1) @ v)

    def layer(n: int, x: Tensor) -> Tensor:
        return leaky(F.conv2d(x, weights[n], stride=UNET_LAYERS[n][3], padding=1))

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    image = torch.rand(2, 3, 16, 24)
    x0 = leaky(F.conv2d(image, state["conv0.weight"], state["conv0.bias"], padding=1))
    x1 = layer(1, x0)
    x2 = layer(2, x1)
    x3 = layer(3, x2)
    x6 = layer(6, up(layer(5, up(layer(4, up(x3)) + x2)) + x1)) + x0
    wanted = F.conv2d(layer(8, layer(7, x6)), state["conv9.weight"], state["conv9.bias"], padding=1)

    torch.save({"params": state}, tmp_path / "net_d.pth")
    network = UNetDiscriminator(num_feat=2).eval()
    load_weights(network, tmp_path / "net_d.pth")
    assert wanted.shape == (2, 1, 16, 24)
    torch.testing.assert_close(network(image), wanted, rtol=1e-4, atol=1e-4)


def test_spectral_norms_tend_to_one_in_training() -> None:
    network = UNetDiscriminator(num_feat=2)
    for _ in range(30):
        network(torch.rand(1, 3, 8, 8))
    for n in range(1, 9):
        weight = network.get_submodule(f"conv{n}").weight
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02), n


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["vgg", "unet"])
def test_three_judgements_in_one_graph(name: str, precision: torch.dtype) -> None:
    network = VGGDiscriminator(num_feat=2) if name == "vgg" else UNetDiscriminator(num_feat=2)
    size = 128 if name == "vgg" else 16
    sr, hr = torch.rand(4, 3, size, size, requires_grad=True), torch.rand(4, 3, size, size)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        logits = [network(image) for image in (sr, hr, sr.detach())]
        loss = F.softplus(-logits[0]).mean() + F.softplus(-logits[1]).mean() + F.softplus(logits[2]).mean()
    assert all(logit.shape == ((4, 1) if name == "vgg" else (4, 1, 16, 16)) for logit in logits)
    loss.backward()
    assert sr.grad is not None
    assert sr.grad.any()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


def test_refuses_bad_sizes() -> None:
    with pytest.raises(ValueError, match="input_size must be 128 or 256, got 192"):
        VGGDiscriminator(input_size=192)
    for network in (VGGDiscriminator, UNetDiscriminator):
        with pytest.raises(ValueError, match="num_in_ch must be at least 1, got 0"):
            network(num_in_ch=0)
        with pytest.raises(ValueError, match="num_feat must be at least 1, got 0"):
            network(num_feat=0)
    vgg, unet = VGGDiscriminator(num_feat=1), UNetDiscriminator(num_feat=1)
    for shape in ((1, 3, 128, 120), (1, 3, 256, 256), (1, 1, 128, 128), (3, 128, 128)):
        with pytest.raises(ValueError, match=r"\(B, 3, 128, 128\).*\("):
            vgg(torch.rand(shape))
    for shape in ((1, 3, 16, 12), (1, 3, 12, 16), (1, 1, 16, 16)):
        with pytest.raises(ValueError, match=r"3 channels.*8.*\("):
            unet(torch.rand(shape))
