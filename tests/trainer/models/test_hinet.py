from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dec_kernels.trainer.models import (
    HINet,
    RRDBNet,
    UnknownNetworkError,
    check_generator,
    hinet_from,
    load_weights,
    save_weights,
)
from dec_kernels.trainer.tiles import upscale


def tiny(**settings: int) -> HINet:
    return HINet(**{"wf": 4, "depth": 3, "hin_position_left": 1, "hin_position_right": 2, **settings})


def shaken(network: HINet) -> HINet:
    """`network` with norms other than the ones and zeros that they start from."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def published(wf: int, left: int, right: int) -> dict[str, tuple[int, ...]]:
    """The keys of a public file and their shapes, for five resolutions."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, weight: tuple[int, ...], bias: int) -> None:
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = (bias,)

    def block(name: str, before: int, width: int) -> None:
        conv(f"{name}.identity", (width, before, 1, 1), width)
        conv(f"{name}.conv_1", (width, before, 3, 3), width)
        conv(f"{name}.conv_2", (width, width, 3, 3), width)

    for stage in (1, 2):
        conv(f"conv_0{stage}", (wf, 3, 3, 3), wf)
        for level, (before, width) in enumerate([(wf, wf)] + [(wf * 2**n, wf * 2 ** (n + 1)) for n in range(4)]):
            name = f"down_path_{stage}.{level}"
            block(name, before, width)
            if left <= level <= right:
                conv(f"{name}.norm", (width // 2,), width // 2)
            if level < 4:
                shapes[f"{name}.downsample.weight"] = (width, width, 4, 4)
            if stage == 2 and level < 4:
                conv(f"{name}.csff_enc", (width, width, 3, 3), width)
                conv(f"{name}.csff_dec", (width, width, 3, 3), width)
        for number, width in enumerate((8 * wf, 4 * wf, 2 * wf, wf)):
            conv(f"up_path_{stage}.{number}.up", (2 * width, width, 2, 2), width)
            block(f"up_path_{stage}.{number}.conv_block", 2 * width, width)
            conv(f"skip_conv_{stage}.{number}", (width, width, 3, 3), width)
    conv("sam12.conv1", (wf, wf, 3, 3), wf)
    conv("sam12.conv2", (3, wf, 3, 3), 3)
    conv("sam12.conv3", (wf, 3, 3, 3), wf)
    conv("cat12", (wf, 2 * wf, 1, 1), wf)
    conv("last", (3, wf, 3, 3), 3)
    return shapes


@pytest.mark.parametrize(("wf", "left", "right"), [(64, 0, 4), (64, 3, 4), (32, 0, 4)])  # SIDD, GoPro, SIDD 0.5x
def test_keys_and_shapes_of_the_public_files(wf: int, left: int, right: int) -> None:
    with torch.device("meta"):
        network = HINet(wf=wf, hin_position_left=left, hin_position_right=right)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published(wf, left, right)


def test_size_of_the_published_network() -> None:
    with torch.device("meta"):
        network = HINet()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(88.7e6, abs=0.05e6)


def convolve(x: Tensor, weights: Mapping[str, Tensor], name: str, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    padding = (weight.shape[-1] - 1) // 2
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride, padding=padding)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def block(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    features = convolve(x, weights, f"{name}.conv_1")
    if f"{name}.norm.weight" in weights:
        half = features.shape[1] // 2
        part = features[:, :half]
        centred = part - part.mean((2, 3), keepdim=True)
        normed = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        gain, shift = (weights[f"{name}.norm.{kind}"].view(-1, 1, 1) for kind in ("weight", "bias"))
        features = torch.cat((normed * gain + shift, features[:, half:]), dim=1)
    features = leaky(convolve(leaky(features), weights, f"{name}.conv_2"))
    return features + convolve(x, weights, f"{name}.identity")


def unet(
    x: Tensor, weights: Mapping[str, Tensor], stage: int, earlier: tuple[list[Tensor], list[Tensor]] | None
) -> tuple[list[Tensor], list[Tensor]]:
    """What the encoder and the decoder of a stage make, each by resolution, the full one first."""
    encoded = []
    for level in range(3):
        name = f"down_path_{stage}.{level}"
        x = block(x, weights, name)
        if level == 2:
            break
        if earlier is not None:
            x = x + convolve(earlier[0][level], weights, f"{name}.csff_enc")
            x = x + convolve(earlier[1][level], weights, f"{name}.csff_dec")
        encoded.append(x)
        x = convolve(x, weights, f"{name}.downsample", stride=2)
    decoded = []
    for number, level in enumerate((1, 0)):
        up, bias = (weights[f"up_path_{stage}.{number}.up.{kind}"] for kind in ("weight", "bias"))
        x = F.conv_transpose2d(x, up, bias, stride=2)
        bridge = convolve(encoded[level], weights, f"skip_conv_{stage}.{number}")
        x = block(torch.cat((x, bridge), dim=1), weights, f"up_path_{stage}.{number}.conv_block")
        decoded.append(x)
    return encoded, decoded[::-1]


@torch.no_grad()
def test_computes_the_published_function() -> None:
    """Both stages, written out from the public file's keys."""
    network = shaken(tiny().double())
    weights = network.state_dict()
    lr = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    encoded, decoded = unet(convolve(lr, weights, "conv_01"), weights, 1, None)
    first = convolve(decoded[0], weights, "sam12.conv2") + lr
    attention = convolve(first, weights, "sam12.conv3").sigmoid()
    attended = convolve(decoded[0], weights, "sam12.conv1") * attention + decoded[0]
    x = convolve(torch.cat((convolve(lr, weights, "conv_02"), attended), dim=1), weights, "cat12")
    _, features = unet(x, weights, 2, (encoded, decoded))
    second = convolve(features[0], weights, "last") + lr
    found = network.stages(lr)
    torch.testing.assert_close(found[0], first, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[1], second, rtol=1e-10, atol=1e-10)
    assert torch.equal(network(lr), found[1])
    assert torch.equal(network(lr), network(lr))


def test_every_parameter_learns_from_both_stages_together() -> None:
    network = tiny()
    first, second = network.stages(torch.rand(2, 3, 16, 8))
    (first.square().mean() + second.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_learns_in_bfloat16() -> None:
    network, lr = shaken(tiny()), torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(lr)
    torch.testing.assert_close(found.float(), network(lr), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("wrapper", ["params", None])
def test_loads_public_files(tmp_path: Path, wrapper: str | None) -> None:
    state = {key: torch.randn(shape) for key, shape in published(4, 3, 4).items()}
    torch.save(state if wrapper is None else {wrapper: state}, tmp_path / "w.pth")
    network = HINet(wf=4, hin_position_left=3)
    load_weights(network, tmp_path / "w.pth")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"missing in the file: down_path_1\.0\.norm") as caught:
        load_weights(HINet(wf=4), tmp_path / "w.pth")
    assert "not in the network" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize(("left", "right"), [(0, 2), (1, 1), (3, 2)])
def test_is_read_off_its_weights(tmp_path: Path, left: int, right: int) -> None:
    source, lr = shaken(tiny(hin_position_left=left, hin_position_right=right)), torch.rand(1, 3, 8, 8)
    save_weights(source, tmp_path / "w.pth")
    assert torch.equal(hinet_from(tmp_path / "w.pth").eval()(lr), source(lr))


def test_other_weights_are_no_hinet(tmp_path: Path) -> None:
    save_weights(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2), tmp_path / "w.pth")
    with pytest.raises(UnknownNetworkError, match=r"w\.pth holds no HINet"):
        hinet_from(tmp_path / "w.pth")
    state = {key: value for key, value in tiny().state_dict().items() if key != "last.bias"}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UnknownNetworkError, match=r"w\.pth holds no HINet: 1 missing in the file: last\.bias"):
        hinet_from(tmp_path / "w.pth")


@torch.no_grad()
def test_saved_weights_load_into_a_copy(tmp_path: Path) -> None:
    source, target, lr = shaken(tiny()), tiny().eval(), torch.rand(1, 3, 8, 8)
    save_weights(source, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(target(lr), source(lr))


@torch.no_grad()
def test_takes_images_of_any_size_and_sees_all_of_each() -> None:
    """Continued by reflection to what the network takes; and a tile's statistics are not the image's."""
    network, lr = shaken(tiny()), torch.rand(1, 3, 21, 30)
    check_generator(network)
    assert network.multiple == 4
    whole = upscale(network, lr, tile=None, overlap=0)
    rows, columns = [*range(21), 19, 18, 17], [*range(30), 28, 27]
    torch.testing.assert_close(whole, network(lr[:, :, rows][..., columns])[..., :21, :30])
    tiled = upscale(network, lr, tile=8, overlap=16)
    assert tiled.shape == whole.shape
    assert not torch.allclose(tiled, whole, atol=1e-4)
    assert not network.takes_tiles
    plain = shaken(tiny(hin_position_left=3, hin_position_right=2))  # without norms, tiles are all the same
    torch.testing.assert_close(upscale(plain, lr, tile=8, overlap=24), upscale(plain, lr, tile=None, overlap=0))


def test_refuses_bad_settings_and_images() -> None:
    for settings, message in (
        ({"scale": 2}, "scale must be 1 for HINet, got 2"),
        ({"wf": 0}, "wf must be at least 1, got 0"),
        ({"wf": 3}, "wf must be even, got 3"),
        ({"depth": 1}, "depth must be at least 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(**settings)
    network = tiny()
    for shape, message in (
        ((1, 1, 8, 8), r"lr .*\(1, 1, 8, 8\)"),
        ((1, 3, 8, 10), "multiples of 4, got 8 x 10"),
        ((1, 3, 4, 4), "larger than 4 x 4 .*, got 4 x 4"),
    ):
        with pytest.raises(ValueError, match=message):
            network(torch.rand(shape))
