import pytest
from torch import nn

from dec_kernels.trainer.models import RRDBNet, SwinIR, check_generator
from dec_kernels.trainer.module import SuperResolution


class Named(nn.Module):
    def __init__(self, **attributes: object) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_takes_what_says_enough() -> None:
    check_generator(RRDBNet(scale=2, num_feat=1, num_block=1, num_grow_ch=1))
    check_generator(SwinIR(embed_dim=6, depths=[1], num_heads=[1], window_size=2, upsampler="nearest+conv"))
    check_generator(Named(scale=3, multiple=1))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Identity(), "the attribute scale, a whole number of at least 1 .*, and Identity has none"),
        (Named(scale=4), "the attribute multiple, .*, and Named has none"),
        (Named(scale=2.0, multiple=1), r"the attribute scale, .*, and Named has 2\.0"),
        (Named(scale=2, multiple=0), "the attribute multiple, .*, and Named has 0"),
        (RRDBNet(1, 3, num_feat=1, num_block=1, num_grow_ch=1), "must make RGB of RGB, .* this RRDBNet makes 3 of 1"),
        (RRDBNet(3, 4, num_feat=1, num_block=1, num_grow_ch=1), "must make RGB of RGB, .* this RRDBNet makes 4 of 3"),
    ],
)
def test_refuses_others(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_generator(network)
    with pytest.raises(ValueError, match=message):
        SuperResolution(network)
