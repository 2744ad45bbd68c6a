import pytest
import torch

from dec_kernels.trainer.models import RRDBNet


def test_size_and_names_of_esrgan() -> None:
    with torch.device("meta"):
        network = RRDBNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_697_987
    names = {key.rsplit(".", 1)[0] for key in network.state_dict()}
    outer = {"conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"}
    inner = {f"body.{n}.rdb{m}.conv{k}" for n in range(23) for m in (1, 2, 3) for k in (1, 2, 3, 4, 5)}
    assert names == outer | inner


@pytest.mark.parametrize(("scale", "folded"), [(4, 3), (2, 12), (1, 48)])
def test_scales(scale: int, folded: int) -> None:
    network = RRDBNet(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)
    assert network.conv_first.in_channels == folded
    assert network.multiple == 4 // scale
    assert network(torch.rand(2, 3, 8, 12)).shape == (2, 3, 8 * scale, 12 * scale)


def test_dense_blocks_start_close_to_the_identity() -> None:
    network = RRDBNet(num_feat=16, num_block=2, num_grow_ch=8)
    x = torch.randn(1, 16, 12, 12)
    block = network.body[0].rdb1
    with torch.no_grad():
        change = (block(x) - x).norm() / x.norm()
    assert 0 < change < 0.05
    weight = block.conv5.weight
    assert weight.std().item() == pytest.approx(0.1 * (2 / (9 * (16 + 4 * 8))) ** 0.5, rel=0.1)


def test_computes_the_published_function() -> None:
    """One dense block and the skips around it, written out without the network's own forward."""
    network = RRDBNet(num_feat=4, num_block=1, num_grow_ch=2).double()
    block = network.body[0]
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)

    def dense(rdb: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for k in (1, 2, 3, 4):
            y = getattr(rdb, f"conv{k}")(torch.cat(outputs, 1))
            outputs.append(torch.where(y > 0, y, 0.2 * y))
        return x + 0.2 * rdb.conv5(torch.cat(outputs, 1))

    wanted = x + 0.2 * dense(block.rdb3, dense(block.rdb2, dense(block.rdb1, x)))
    torch.testing.assert_close(block(x), wanted)


def test_refuses_bad_sizes() -> None:
    with pytest.raises(ValueError, match="scale must be 1, 2 or 4, got 3"):
        RRDBNet(scale=3)
    with pytest.raises(ValueError, match="num_block must be at least 1, got 0"):
        RRDBNet(num_block=0)
    network = RRDBNet(scale=2, num_feat=4, num_block=1, num_grow_ch=2)
    with pytest.raises(ValueError, match=r"2.*7 x 8"):
        network(torch.rand(1, 3, 7, 8))
    with pytest.raises(ValueError, match=r"lr.*\(1, 1, 8, 8\)"):
        network(torch.rand(1, 1, 8, 8))
