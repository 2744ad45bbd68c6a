import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dec_kernels.trainer.models import SwinIR, load_weights, save_weights

LIGHTWEIGHT = {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4, "upsampler": "pixelshuffledirect"}


def tiny(**settings: object) -> SwinIR:
    """Two groups, the second with two heads in place of three, and windows of 4 pixels."""
    return SwinIR(**{"embed_dim": 6, "depths": [2, 1], "num_heads": [3, 2], "window_size": 4, **settings})


def shaken(network: SwinIR) -> SwinIR:
    """`network` with random values in place of the zeros and ones that it starts from, in float64."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.double().eval()


@pytest.mark.parametrize(("settings", "count"), [({}, 11_900_199), ({"scale": 2, **LIGHTWEIGHT}, 910_152)])
def test_sizes_of_the_published_networks(settings: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        network = SwinIR(**settings)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


TAILS = {
    ("pixelshuffle", 2): ["conv_before_upsample.0", "upsample.0", "conv_last"],
    ("pixelshuffle", 3): ["conv_before_upsample.0", "upsample.0", "conv_last"],
    ("pixelshuffle", 4): ["conv_before_upsample.0", "upsample.0", "upsample.2", "conv_last"],
    ("pixelshuffle", 8): ["conv_before_upsample.0", "upsample.0", "upsample.2", "upsample.4", "conv_last"],
    ("pixelshuffledirect", 3): ["upsample.0"],
    ("nearest+conv", 4): ["conv_before_upsample.0", "conv_up1", "conv_up2", "conv_hr", "conv_last"],
}


@pytest.mark.parametrize(("upsampler", "scale"), TAILS)
def test_names_of_the_public_files(upsampler: str, scale: int) -> None:
    state = tiny(upsampler=upsampler, scale=scale).state_dict()
    blocks = [f"layers.{layer}.residual_group.blocks.{block}" for layer, block in ((0, 0), (0, 1), (1, 0))]
    names = {f"{block}.{name}" for block in blocks for name in ("norm1", "attn.qkv", "attn.proj", "norm2")}
    names |= {f"{block}.mlp.{name}" for block in blocks for name in ("fc1", "fc2")}
    names |= {"conv_first", "patch_embed.norm", "layers.0.conv", "layers.1.conv", "norm", "conv_after_body"}
    keys = {f"{name}.{kind}" for name in names | set(TAILS[upsampler, scale]) for kind in ("weight", "bias")}
    assert set(state) == keys | {f"{block}.attn.relative_position_bias_table" for block in blocks}


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def attend(x: Tensor, attention: nn.Module, heads: int, window: int, shift: int) -> Tensor:
    """(H, W, dim): each pixel attends to those that the lines of the shifted grid do not part it from."""
    height, width, dim = x.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    query, key, value = (x @ attention.qkv.weight.T + attention.qkv.bias).split(dim, dim=-1)
    out = torch.zeros_like(x)
    for row, column in pixels:
        cell = (row - shift) // window, (column - shift) // window
        seen = [(r, c) for r, c in pixels if ((r - shift) // window, (c - shift) // window) == cell]
        for head in range(heads):
            part = slice(head * dim // heads, (head + 1) * dim // heads)
            logits = []
            for r, c in seen:
                offset = (row - r + window - 1) * (2 * window - 1) + column - c + window - 1
                product = query[row, column, part] @ key[r, c, part] / math.sqrt(dim // heads)
                logits.append(product + attention.relative_position_bias_table[offset, head])
            shares = torch.stack(logits).softmax(0)
            out[row, column, part] = sum(share * value[r, c, part] for share, (r, c) in zip(shares, seen, strict=True))
    return out @ attention.proj.weight.T + attention.proj.bias


def convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """(H, W, channels), as the published source has it: zeros around the image."""
    return F.conv2d(x.permute(2, 0, 1)[None], layer.weight, layer.bias, padding=1)[0].permute(1, 2, 0)


def body(network: SwinIR, first: Tensor) -> Tensor:
    x = norm(first, network.patch_embed.norm)
    for layer, heads in zip(network.layers, (3, 2), strict=True):
        start = x
        for block, shift in zip(layer.residual_group.blocks, (0, 2), strict=False):
            x = x + attend(norm(x, block.norm1), block.attn, heads, 4, shift)
            hidden = norm(x, block.norm2) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            x = x + hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        x = start + convolve(x, layer.conv)
    return first + convolve(norm(x, network.norm), network.conv_after_body)


def shuffle(x: Tensor, factor: int) -> Tensor:
    """(H, W, channels * factor**2) to (factor * H, factor * W, channels)."""
    height, width, channels = x.shape
    x = x.reshape(height, width, channels // factor**2, factor, factor)
    return x.permute(0, 3, 1, 4, 2).reshape(height * factor, width * factor, -1)


def tail(network: SwinIR, upsampler: str, x: Tensor) -> Tensor:
    def leaky(x: Tensor, slope: float) -> Tensor:
        return torch.where(x > 0, x, slope * x)

    def double(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 0).repeat_interleave(2, 1)

    if upsampler == "pixelshuffledirect":
        return shuffle(convolve(x, network.upsample[0]), network.scale)
    x = leaky(convolve(x, network.conv_before_upsample[0]), 0.01)
    if upsampler == "pixelshuffle":
        for conv in [layer for layer in network.upsample if isinstance(layer, nn.Conv2d)]:
            x = shuffle(convolve(x, conv), 3 if network.scale == 3 else 2)
    else:
        x = leaky(convolve(double(x), network.conv_up1), 0.2)
        x = leaky(convolve(double(x), network.conv_up2), 0.2)
        x = leaky(convolve(x, network.conv_hr), 0.2)
    return convolve(x, network.conv_last)


MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).double()  # of DIV2K's colours; rounded to float32, as the network's is


@torch.no_grad()
def test_computes_the_published_function() -> None:
    """The whole network, written out pixel by pixel."""
    network = shaken(tiny(scale=3, upsampler="pixelshuffledirect"))
    lr = torch.rand(8, 12, 3, dtype=torch.float64)
    sr = tail(network, "pixelshuffledirect", body(network, convolve(lr - MEAN, network.conv_first))) + MEAN
    torch.testing.assert_close(network(lr.permute(2, 0, 1)[None])[0].permute(1, 2, 0), sr, rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize(("upsampler", "scale"), TAILS)
def test_upsamplers(upsampler: str, scale: int) -> None:
    network = shaken(tiny(scale=scale, upsampler=upsampler))
    features: list[Tensor] = []
    first = network.get_submodule(TAILS[upsampler, scale][0])
    first.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    sr = network(torch.rand(1, 3, 4, 8, dtype=torch.float64))
    assert sr.shape == (1, 3, 4 * scale, 8 * scale)
    wanted = tail(network, upsampler, features[0][0].permute(1, 2, 0)) + MEAN
    torch.testing.assert_close(sr[0].permute(1, 2, 0), wanted, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_pads_by_reflection_and_crops() -> None:
    network = tiny(scale=2).eval()
    assert network.multiple == 4
    lr = torch.rand(2, 3, 6, 7)
    padded = lr[:, :, [0, 1, 2, 3, 4, 5, 4, 3]][..., [0, 1, 2, 3, 4, 5, 6, 5]]
    torch.testing.assert_close(network(lr), network(padded)[:, :, :12, :14])
    assert network(torch.rand(1, 3, 3, 4)).shape == (1, 3, 6, 8)
    with pytest.raises(ValueError, match=r"3.*4.*8 x 2"):
        network(torch.rand(1, 3, 8, 2))


@torch.no_grad()
def test_drop_path_leaves_branches_out_at_random() -> None:
    network = tiny(depths=[2, 3], drop_path_rate=0.4)
    blocks = [block for layer in network.layers for block in layer.residual_group.blocks]
    assert [block.drop_path_rate for block in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    mask, x = torch.zeros(1, 16, 16), torch.randn(1, 4, 4, 6)
    for branch, silenced in (("attention", blocks[4].mlp.fc2), ("perceptron", blocks[4].attn.proj)):
        block = copy.deepcopy(blocks[4])
        for name, module in blocks[4].named_modules():
            if module is silenced:
                nn.init.zeros_(block.get_submodule(name).weight)
        change = block.eval()(x, mask) - x
        changes = block.train()(x.expand(1000, -1, -1, -1), mask) - x
        kept = changes.flatten(1).abs().sum(1) > 0
        assert kept.float().mean().item() == pytest.approx(0.6, abs=0.05), branch
        torch.testing.assert_close(changes[kept], (change / 0.6).expand(int(kept.sum()), -1, -1, -1))


def test_training_is_reproducible_from_pytorchs_seed() -> None:
    network, lr = tiny(drop_path_rate=0.5), torch.rand(8, 3, 8, 8)

    def output(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return network(lr)

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))
    network.eval()
    assert torch.equal(output(1), output(2))


def test_starts_as_the_published_networks_do() -> None:
    network = SwinIR(embed_dim=60, depths=[1], num_heads=[6])
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05), name
            assert not module.bias.any(), name
    (block,) = network.layers[0].residual_group.blocks
    assert block.attn.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_parameter_learns(precision: torch.dtype) -> None:
    network, lr = tiny(), torch.rand(2, 3, 8, 8)
    wanted = network(lr)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        sr = network(lr)
        sr.square().mean().backward()
    torch.testing.assert_close(sr.float(), wanted, rtol=0.02, atol=0.02)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("with_tables", [False, True])
def test_loads_public_files(tmp_path: Path, with_tables: bool) -> None:
    source = shaken(tiny()).float()
    state = dict(source.state_dict())
    if with_tables:  # as those files hold them: the masks where windows are shifted, for the size of the training crops
        for block in ("layers.0.residual_group.blocks.0", "layers.0.residual_group.blocks.1"):
            state[f"{block}.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
        state["layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(9, 16, 16)
    torch.save({"params": state}, tmp_path / "w.pth")
    target, lr = tiny().eval(), torch.rand(1, 3, 8, 8)
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(target(lr), source(lr))
    nested = nn.ModuleDict({"generator": tiny().eval()})
    nested.load_state_dict({f"generator.{key}": value for key, value in state.items()})
    assert torch.equal(nested["generator"](lr), source(lr))
    with pytest.raises(ValueError, match=r"missing in the file: upsample") as caught:
        load_weights(tiny(scale=8), tmp_path / "w.pth")
    assert "not in the network" not in str(caught.value)


def test_saved_weights_load_into_a_copy(tmp_path: Path) -> None:
    source = shaken(tiny()).float()
    save_weights(source, tmp_path / "w.pth")
    target = copy.deepcopy(tiny().eval())
    load_weights(target, tmp_path / "w.pth")
    lr = torch.rand(1, 3, 8, 8)
    assert torch.equal(target(lr), source(lr))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 1}, "scale must be 2, 3, 4 or 8, got 1"),
        ({"depths": [2]}, r"depths and num_heads must be as many counts of at least 1, got \[2\], \[3, 2\]"),
        ({"depths": [2, 0]}, "depths and num_heads must be"),
        ({"depths": [], "num_heads": []}, "depths and num_heads must be"),
        ({"num_heads": [0, 2]}, "depths and num_heads must be"),
        ({"num_heads": [3, 4]}, r"embed_dim must be a multiple of each of num_heads, \[3, 4\], got 6"),
        ({"window_size": 1}, "window_size must be at least 2, got 1"),
        ({"mlp_ratio": 0.1}, "mlp_ratio must give the perceptrons a hidden layer, got 0.1"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        ({"upsampler": "nearest"}, "upsampler must be pixelshuffle, pixelshuffledirect or nearest.conv, got 'nearest'"),
        ({"upsampler": "nearest+conv", "scale": 2}, "upsampler nearest.conv needs scale 4, got 2"),
    ],
)
def test_refuses_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**settings)
