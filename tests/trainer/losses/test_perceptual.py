"""The perceptual loss, and what it is made of: VGG in `models/vgg.py`, and `models/pretrained.py`."""

import copy
import math
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from dec_kernels.trainer.losses import PerceptualLoss
from dec_kernels.trainer.models.vgg import VGG

# Where torchvision's networks have their convolutions and poolings, by index in `features`; the convolutions' channels.
CONVOLUTIONS = {
    **{0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256},
    **{19: 512, 21: 512, 23: 512, 25: 512, 28: 512, 30: 512, 32: 512, 34: 512},
}
POOLINGS = (4, 9, 18, 27)
CONVOLUTIONS_16 = {
    **{0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256},
    **{17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512},
}
POOLINGS_16 = (4, 9, 16, 23)
MEAN_AND_STD = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights under the keys of torchvision's file, scaled such that the signal keeps its size.

    All nine weights of a kernel are equal, which makes it a file of 9 MB rather than 80 MB.
    """
    return random_weights(CONVOLUTIONS)


@pytest.fixture(scope="module")
def state_16() -> dict[str, Tensor]:
    """The same of VGG-16, in float16."""
    return {key: value.half() for key, value in random_weights(CONVOLUTIONS_16).items()}


def random_weights(convolutions: dict[int, int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state, before = {"classifier.0.weight": torch.zeros(1)}, 3
    for index, channels in convolutions.items():
        weight = torch.randn(channels, before, 1, 1) * (2 / (9 * before)) ** 0.5
        state[f"features.{index}.weight"] = weight.expand(-1, -1, 3, 3)
        state[f"features.{index}.bias"] = torch.randn(channels) * 0.1
        before = channels
    return state


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def shallow(weights: Path) -> PerceptualLoss:
    return PerceptualLoss({"conv1_2": 1.0}, weights)


def images(size: int = 16) -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, size, size), torch.rand(2, 3, size, size)


def by_hand(state: dict[str, Tensor], image: Tensor, last: int) -> dict[int, Tensor]:
    """What the convolutions put out, by their index in torchvision's `features`, up to `last`."""
    poolings = POOLINGS_16 if "features.17.weight" in state else POOLINGS
    x = torch.stack([(image[:, channel] - mean) / std for channel, (mean, std) in enumerate(MEAN_AND_STD)], dim=1)
    features = {}
    for index in range(last + 1):
        if f"features.{index}.weight" in state:
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            features[index] = x
        else:
            x = F.max_pool2d(x, 2) if index in poolings else x.clamp(min=0)
    return features


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ("real-esrgan", {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}),
        ({"conv2_1": 2.0, "conv1_1": 0.5, "conv3_2": 3.0}, {5: 2.0, 0: 0.5, 12: 3.0}),
    ],
)
def test_is_the_papers_distance(state: dict[str, Tensor], weights: Path, layers: str, wanted: dict[int, float]) -> None:
    """Value and gradient, against VGG-19 written out."""
    sr, hr = images()
    sr.requires_grad_()
    value = PerceptualLoss(layers, weights)(sr, hr)  # type: ignore[arg-type]
    a, b = by_hand(state, sr, max(wanted)), by_hand(state, hr, max(wanted))
    reference = torch.stack([weight * (a[index] - b[index]).abs().mean() for index, weight in wanted.items()]).sum()
    torch.testing.assert_close(value, reference, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(scalar, sr)[0] for scalar in (value, reference)]
    assert gradients[0].norm() > 0
    # Where a feature is all but zero, the two may differ in its sign.
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * gradients[1].abs().max().item())


def test_vgg16_in_16_bits(state: dict[str, Tensor], state_16: dict[str, Tensor], tmp_path: Path) -> None:
    """Its features against VGG-16 written out, and the loss on them by config; VGG-19's file is none of its."""
    file = tmp_path / "vgg16.pth"
    torch.save(state_16, file)
    sr, hr = images()
    wanted = by_hand({key: value.float() for key, value in state_16.items()}, sr, 28)
    found = VGG(["conv3_3", "conv4_1", "conv5_3"], file, "vgg16")(sr)
    for name, index in (("conv3_3", 14), ("conv4_1", 17), ("conv5_3", 28)):
        assert found[name].dtype == torch.float32
        scale = wanted[index].abs().max().item()  # what float32 is off by is relative to the largest
        torch.testing.assert_close(found[name], wanted[index], rtol=0, atol=1e-5 * scale)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PerceptualLoss, "perceptual")
    settings = f"{{network: vgg16, layers: {{conv5_3: 1.0}}, weights: {file}}}"
    config = parser.parse_args(
        [f"--perceptual={{class_path: dec_kernels.trainer.losses.PerceptualLoss, init_args: {settings}}}"]
    )
    other = by_hand({key: value.float() for key, value in state_16.items()}, hr, 28)
    loss = parser.instantiate(config).perceptual(sr, hr)
    assert loss.item() == pytest.approx((wanted[28] - other[28]).abs().mean().item(), rel=1e-4)
    with pytest.raises(ValueError, match=r"layers of vgg16.*conv5_3, got conv5_4"):
        PerceptualLoss(weights=file, network="vgg16")
    with pytest.raises(ValueError, match="another network, not vgg19"):
        PerceptualLoss({"conv1_2": 1.0}, file)
    torch.save(state, file)
    with pytest.raises(ValueError, match="another network, not vgg16"):
        PerceptualLoss({"conv1_2": 1.0}, file, network="vgg16")
    with pytest.raises(ValueError, match="'vgg16', 'vgg19', got 'vgg11'"):
        PerceptualLoss({"conv1_2": 1.0}, file, network="vgg11")  # type: ignore[arg-type]


def test_the_2_norm_of_eq_44(state: dict[str, Tensor], weights: Path) -> None:
    sr, hr = images()
    sr.requires_grad_()
    value = PerceptualLoss({"conv2_1": 2.0}, weights, distance="l2")(sr, hr)
    found, wanted = by_hand(state, sr, 5)[5], by_hand(state, hr, 5)[5]
    norms = [(a - b).square().sum().sqrt() for a, b in zip(found, wanted, strict=True)]
    torch.testing.assert_close(value, 2 * torch.stack(norms).mean(), rtol=1e-5, atol=0)
    value.backward()
    assert sr.grad is not None
    assert sr.grad.norm() > 0
    # Images that are alike have a zero gradient, not NaN.
    (gradient,) = torch.autograd.grad(PerceptualLoss({"conv2_1": 2.0}, weights, "l2")(sr, sr.detach()), sr)
    assert not gradient.any()


def test_esrgans_layer_unless_told_and_no_deeper_than_asked(weights: Path) -> None:
    assert PerceptualLoss(weights=weights).layers == {"conv5_4": 1.0}
    assert list(VGG(["conv2_1", "conv1_2"], weights).layers) == [
        *("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"),
        "conv2_1",
    ]


def test_the_network_is_hidden_but_moves_along(weights: Path) -> None:
    outer = nn.ModuleDict({"trained": nn.Conv2d(3, 3, 1), "loss": PerceptualLoss({"conv1_2": 1.0}, weights)})
    network = outer["loss"].features._network[0]  # noqa: SLF001
    assert list(outer.state_dict()) == ["trained.weight", "trained.bias"]
    assert len(list(outer.parameters())) == 2
    assert not list(outer.buffers())
    outer.load_state_dict(outer.state_dict())
    outer.train().requires_grad_()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    outer.to("meta", torch.float64)
    assert {(t.device.type, t.dtype) for t in network.state_dict().values()} == {("meta", torch.float64)}
    assert len(network.state_dict()) == 6  # two convolutions, mean and standard deviation


def test_building_it_leaves_the_random_numbers_alone(weights: Path) -> None:
    before = torch.get_rng_state()
    PerceptualLoss(weights=weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_sr_has_a_gradient(shallow: PerceptualLoss) -> None:
    sr, hr = (image.requires_grad_() for image in images())
    shallow(sr, hr).backward()
    assert sr.grad is not None
    assert hr.grad is None


def test_reduced_precision_ends_with_the_features(shallow: PerceptualLoss) -> None:
    sr, hr = images()
    wanted = shallow(sr, hr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = shallow.features(sr)["conv1_2"]
        loss = shallow(sr, hr)
    assert features.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-2)
    assert loss != loss.bfloat16()
    reduced = copy.deepcopy(shallow).bfloat16()
    assert reduced(sr.bfloat16(), hr.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_pixels_are_not_hidden(shallow: PerceptualLoss, value: float) -> None:
    for place in (0, 1):
        pair = images()
        pair[place][1, 2, 5, 7] = value
        assert not shallow(*pair).isfinite()


@pytest.mark.parametrize(("layer", "smallest"), [("conv1_2", 1), ("conv2_1", 2), ("conv3_2", 4), ("conv5_1", 16)])
def test_size_of_images(weights: Path, layer: str, smallest: int) -> None:
    loss = PerceptualLoss({layer: 1.0}, weights)
    assert loss(*images(smallest)).isfinite()
    sr, hr = images(20)
    message = f"at least {smallest} x {smallest} pixels for the deepest layer, got 20 x {smallest - 1}"
    with pytest.raises(ValueError, match=message):
        loss(sr[..., : smallest - 1], hr[..., : smallest - 1])


def test_refuses_images_that_cannot_be_compared(shallow: PerceptualLoss) -> None:
    sr, hr = images()
    with pytest.raises(TypeError, match=r"hr.*torch\.uint8"):
        shallow(sr, hr.byte())
    with pytest.raises(ValueError, match=r"sr.*\(2, 1, 16, 16\)"):
        shallow(sr[:, :1], hr)
    with pytest.raises(ValueError, match="must have one shape"):
        shallow(sr[:1], hr)


def test_refuses_layers_and_weights_that_mean_nothing(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"conv1_1, conv1_2, .*conv5_4.*relu1_1, conv1_3$"):
        PerceptualLoss({"conv1_1": 1.0, "relu1_1": 1.0, "conv1_3": 1.0}, weights)
    with pytest.raises(ValueError, match="got none"):
        PerceptualLoss({}, weights)
    with pytest.raises(ValueError, match=r"esrgan, real-esrgan.*'srgan'"):
        PerceptualLoss("srgan", weights)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^distance .*'l1', 'l2', got 'l3'"):
        PerceptualLoss(weights=weights, distance="l3")  # type: ignore[arg-type]
    for weight in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{weight} for conv1_1"):
            PerceptualLoss({"conv1_1": weight}, weights)


def test_refuses_another_networks_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Even one that begins like VGG-19, as VGG-16 does."""
    begins = {key: value for key, value in state.items() if value.numel() < 600_000}  # as far as conv3_4
    for content, message in (
        (begins, r"(?s)w\.pth holds the weights of another network, not vgg19-dcbb9e9d: .*19\.weight"),
        (state["features.0.bias"], r"w\.pth holds no weights but a Tensor"),
        ({"features.0.weight": 3, 4: torch.zeros(1)}, r"32 missing in the file: 0\.weight"),
        (
            {"features.0.weight": torch.zeros(64, 3, 5, 5)},
            r"1 of another shape: 0\.weight \(64, 3, 5, 5\) for \(64, 3,",
        ),
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=message):
            PerceptualLoss({"conv1_2": 1.0}, tmp_path / "w.pth")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        PerceptualLoss(weights=tmp_path / "nothing.pth")


def test_file_in_the_hubs_cache(
    shallow: PerceptualLoss, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg19-dcbb9e9d.pth").symlink_to(weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    pair = images()
    assert PerceptualLoss({"conv1_2": 1.0})(*pair) == shallow(*pair)
    (folder / "vgg19-dcbb9e9d.pth").unlink()
    for length in (1000, 60_000):  # at the latter, PyTorch has an OSError
        (folder / "vgg19-dcbb9e9d.pth").write_bytes(weights.read_bytes()[:length])
        with pytest.raises(ValueError, match=r"hub.checkpoints.vgg19-dcbb9e9d\.pth.*damaged"):
            PerceptualLoss({"conv1_2": 1.0})


def test_without_file_and_internet_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(url: str, *args: object, **kwargs: object) -> None:
        asked.append(url)
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError) as caught:
        PerceptualLoss()
    assert asked == ["https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"]
    for part in ("vgg19-dcbb9e9d.pth", "no route to host", asked[0], str(tmp_path / "hub" / "checkpoints")):
        assert part in str(caught.value)
    assert "model.perceptual.init_args.weights" in str(caught.value)


def test_from_a_config(weights: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PerceptualLoss, "perceptual")
    for layers in ("real-esrgan", "{conv5_4: 1, conv1_2: 0.5}"):
        text = "{class_path: dec_kernels.trainer.losses.PerceptualLoss, init_args: {layers: %s, weights: %s}}"
        config = parser.parse_args([f"--perceptual={text % (layers, weights)}"])
        loss = parser.instantiate(config).perceptual
        assert loss.layers["conv5_4"] == 1
        assert loss.layers["conv1_2"] == (0.5 if "{" in layers else 0.1)
