import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dec_kernels.trainer.models import (
    RRDBNet,
    SwinIR,
    UNetDiscriminator,
    load_weights,
    read_weights,
    rrdbnet_from,
    save_weights,
)


def network(num_feat: int = 4, num_block: int = 1, **settings: int) -> RRDBNet:
    return RRDBNet(num_feat=num_feat, num_block=num_block, num_grow_ch=2, **settings)


def same(network: nn.Module, state: dict[str, Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


@pytest.mark.parametrize("wrapper", ["params_ema", "params-ema", "params", "model_state_dict", "net", "", "state_dict"])
def test_reads_every_layout(tmp_path: Path, wrapper: str) -> None:
    source, target = network(), network()
    state = source.state_dict()
    content = {"state_dict": {f"generator.{k}": v for k, v in state.items()} | {"criteria.x": torch.ones(1)}}
    torch.save(content if wrapper == "state_dict" else {wrapper: state} if wrapper else state, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert same(target, state)


def test_reads_safetensors(tmp_path: Path) -> None:
    """traiNNer-redux writes bare weights under the names of ESRGAN's first release; neosr, under BasicSR's."""
    for source in (FirstESRGAN(), network(num_block=11)):
        save_file(source.state_dict(), tmp_path / "w.safetensors", metadata={"metadata": "{}"})
        target = network(num_block=11)
        load_weights(target, tmp_path / "w.safetensors")
        lr = torch.rand(1, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(target(lr), source(lr))
            assert torch.equal(rrdbnet_from(tmp_path / "w.safetensors")(lr), target(lr))


def test_reads_networks_saved_from_within_a_parallel_one(tmp_path: Path) -> None:
    source, target = network(), network()
    torch.save({"params": nn.DataParallel(source).state_dict()}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert same(target, source.state_dict())


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    torch.save({"params": {"x": torch.zeros(1)}, "params_ema": {"x": torch.ones(1)}}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth") == {"x": torch.ones(1)}


def test_averaged_weights_of_a_checkpoint_come_first(tmp_path: Path) -> None:
    module = nn.Module()
    module.generator = network()
    module.averaged = AveragedModel(module.generator)
    averaged = {key: value.clone() for key, value in module.averaged.module.state_dict().items()}
    nn.init.ones_(module.generator.conv_last.weight)
    torch.save({"epoch": 3, "state_dict": module.state_dict(), "loops": {"x": [1]}}, tmp_path / "last.ckpt")
    target = network()
    load_weights(target, tmp_path / "last.ckpt")
    assert same(target, averaged)


class DenseBlock(nn.Module):
    def __init__(self, feat: int, grow: int, *, last_wrapped: bool) -> None:
        super().__init__()
        for k in range(4):
            conv = nn.Conv2d(feat + k * grow, grow, 3, padding=1)
            setattr(self, f"conv{k + 1}", nn.Sequential(conv, nn.LeakyReLU(0.2)))
        last = nn.Conv2d(feat + 4 * grow, feat, 3, padding=1)
        self.conv5 = nn.Sequential(last) if last_wrapped else last

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, conv(seen)), 1)
        return x + 0.2 * self.conv5(seen)


class ThreeDenseBlocks(nn.Module):
    def __init__(self, feat: int, grow: int, *, last_wrapped: bool) -> None:
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (DenseBlock(feat, grow, last_wrapped=last_wrapped) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.RDB3(self.RDB2(self.RDB1(x)))


class Shortcut(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.sub = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class FirstESRGAN(nn.Module):
    """RRDBNet with the modules, and so the names, of ESRGAN's first release. KAIR's does not wrap the last conv."""

    def __init__(self, channels: int = 3, feat: int = 4, blocks: int = 11, grow: int = 2, steps: int = 2) -> None:
        super().__init__()

        def conv(width: int = feat, out: int = feat) -> nn.Conv2d:
            return nn.Conv2d(width, out, 3, padding=1)

        body = [ThreeDenseBlocks(feat, grow, last_wrapped=n % 2 == 0) for n in range(blocks)]
        self.model = nn.Sequential(conv(channels), Shortcut(*body, conv()))
        for _ in range(steps):
            self.model.extend([nn.Upsample(scale_factor=2), conv(), nn.LeakyReLU(0.2)])
        self.model.extend([conv(), nn.LeakyReLU(0.2), conv(out=3)])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@torch.no_grad()
@pytest.mark.parametrize(("scale", "channels"), [(4, 3), (2, 12), (1, 48)])
def test_reads_the_first_esrgan_files(tmp_path: Path, scale: int, channels: int) -> None:
    source = FirstESRGAN(channels).half()  # as some public files are
    entries = list(source.state_dict().items())
    random.Random(0).shuffle(entries)
    torch.save(dict(entries), tmp_path / "w.pth")
    target = rrdbnet_from(tmp_path / "w.pth")
    assert (target.scale, target.multiple, len(target.body)) == (scale, 4 // scale, 11)
    lr = torch.rand(1, 3, 8, 8)
    wanted = source.float()(nn.functional.pixel_unshuffle(lr, 4 // scale))
    assert wanted.shape == (1, 3, 8 * scale, 8 * scale)
    torch.testing.assert_close(target(lr), wanted)
    loaded = network(num_block=11, scale=scale)
    load_weights(loaded, tmp_path / "w.pth")
    assert same(loaded, target.state_dict())


def test_reads_kairs_files(tmp_path: Path) -> None:
    source, target = network(num_block=11), network(num_block=11)
    names = {
        "conv_first": "conv_first",
        "trunk_conv": "conv_body",
        "upconv1": "conv_up1",
        "upconv2": "conv_up2",
        "HRconv": "conv_hr",
        "conv_last": "conv_last",
    }
    for n in range(11):
        for m in (1, 2, 3):
            names |= {f"RRDB_trunk.{n}.RDB{m}.conv{k}": f"body.{n}.rdb{m}.conv{k}" for k in (1, 2, 3, 4, 5)}
    state = source.state_dict()
    kair = {f"{old}.{kind}": state[f"{new}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    assert len(kair) == len(state)
    torch.save(kair, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert same(target, state)


def test_other_networks_keep_their_names(tmp_path: Path) -> None:
    source = nn.Module()
    source.model = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(11)))
    source.upconv1 = nn.Conv2d(1, 1, 1)
    save_weights(source, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == source.state_dict().keys()


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_builds_the_network_that_a_file_describes(tmp_path: Path, scale: int, channels: int) -> None:
    source = RRDBNet(channels, channels, scale, num_feat=5, num_block=2, num_grow_ch=3)
    save_weights(source, tmp_path / "w.pth")
    target = rrdbnet_from(tmp_path / "w.pth")
    assert target.scale == scale
    assert same(target, source.state_dict())
    lr = torch.rand(1, channels, 4, 8)
    assert torch.equal(target(lr), source(lr))


def test_builds_no_other_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    save_weights(SwinIR(embed_dim=6, depths=[1], num_heads=[1], window_size=2, upsampler="nearest+conv"), path)
    with pytest.raises(ValueError, match=r"w\.pth.* body\.0\.rdb1\.conv1\.weight"):
        rrdbnet_from(path)
    save_weights(RRDBNet(num_in_ch=5, num_feat=2, num_block=1, num_grow_ch=1), path)
    with pytest.raises(ValueError, match=r"conv_first\.weight.*3, 12, 48.*5"):
        rrdbnet_from(path)
    state = network().state_dict()
    for kind in ("weight", "bias"):
        del state[f"conv_up2.{kind}"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"2 missing in the file: conv_up2\.weight"):
        rrdbnet_from(path)
    torch.save(state | {"conv_first.weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"conv_first\.weight"):
        rrdbnet_from(path)
    for steps in (0, 1, 3):
        torch.save(FirstESRGAN(blocks=1, steps=steps).state_dict(), path)
        with pytest.raises(ValueError, match="holds no RRDBNet"):
            rrdbnet_from(path)


def test_saves_as_basicsr_does(tmp_path: Path) -> None:
    source = network().to(memory_format=torch.channels_last)
    save_weights(source, tmp_path / "w.pth")
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["params"]
    assert list(content["params"]) == list(source.state_dict())
    assert all(value.is_contiguous() for value in content["params"].values())


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {"other.x": torch.ones(1)}}, {"epoch": 3}, {"params": {}}, {0: torch.ones(1)}, torch.ones(1)],
)
def test_refuses_files_without_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds no weights of a generator"):
        read_weights(tmp_path / "w.pth")


def test_refuses_damaged_files(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for content in (b"", b"<html>404</html>", whole[: len(whole) // 2], whole[:-10], b"PK\3\4" + bytes(100)):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.pth is damaged"):
            read_weights(tmp_path / "w.pth")
    torch.save({"params": network()}, tmp_path / "w.pth")  # a pickled module could run code
    with pytest.raises(ValueError, match=r"w\.pth is damaged"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        read_weights(tmp_path / "missing.pth")


def test_says_what_differs_in_few_words(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth do not fit the generator: ") as caught:
        load_weights(network(num_feat=6), tmp_path / "w.pth")
    shapes = "conv_first.weight (4, 3, 3, 3) for (6, 3, 3, 3), conv_first.bias (4,) for (6,), body.0.rdb1.conv1.weight"
    assert f"generator: 29 of another shape: {shapes} (2, 4, 3, 3) for (2, 6, 3, 3)" in str(caught.value)
    with pytest.raises(ValueError, match=r"w\.pth do not fit") as caught:
        load_weights(UNetDiscriminator(num_feat=1), tmp_path / "w.pth")
    for part in ("28 missing in the file: conv0.weight, ", "42 not in the network: conv_first.weight, ", " 37 more"):
        assert part in str(caught.value)
