import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn

from dec_kernels.trainer.data import SRDataModule
from dec_kernels.trainer.lpips import LPIPS
from dec_kernels.trainer.models import RRDBNet, SwinIR
from dec_kernels.trainer.module import SuperResolution
from dec_kernels.trainer.sizes import check_crop


def network(scale: int) -> RRDBNet:
    return RRDBNet(scale=scale, num_feat=4, num_block=1, num_grow_ch=2)


def test_crops_that_the_generator_refuses() -> None:
    check_crop(network(4), 36, 4)
    check_crop(network(2), 36, 2)
    check_crop(SwinIR(scale=4, embed_dim=4, depths=[1], num_heads=[1], window_size=8), 48, 4)  # 12 is padded
    with pytest.raises(ValueError, match=r"17 x 17 .* data\.crop_size 34 .* data\.scale 2: .* multiples of 2"):
        check_crop(network(2), 34, 2)
    with pytest.raises(ValueError, match=r"4 x 4 .* data\.crop_size 16 .*at least 5"):
        check_crop(SwinIR(scale=4, embed_dim=4, depths=[1], num_heads=[1], window_size=8), 16, 4)


def test_crops_of_another_size_than_the_generator_makes() -> None:
    with pytest.raises(ValueError, match=re.escape("(1, 3, 8, 8)")):
        check_crop(nn.Identity(), 32, 4)
    with pytest.raises(ValueError, match=re.escape("makes (1, 3, 64, 64)")):
        check_crop(network(4), 32, 2)


def test_the_trial_leaves_nothing_behind() -> None:
    generator = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.BatchNorm2d(48), nn.Dropout(), nn.PixelShuffle(4))
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    random = torch.get_rng_state()
    check_crop(generator, 32, 4)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in generator.modules())
    generator[1].eval()
    check_crop(generator, 32, 4)
    assert [module.training for module in generator] == [True, False, True, True]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_a_generator_that_cannot_be_copied() -> None:
    """As WDSR, of which PyTorch makes no deep copy."""
    generator = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 48, 3, padding=1)), nn.PixelShuffle(4))
    generator[0].eval()
    generator.double()(torch.zeros(1, 3, 8, 8, dtype=torch.double))  # from here on its weight is no leaf
    check_crop(generator, 32, 4)
    assert [module.training for module in generator] == [False, True]


def test_the_set_up_tries_crops_and_looks_for_images_too_small_for_lpips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("large", 64), ("small", 30)):
        Image.fromarray(np.zeros((side, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(LPIPS, "__init__", lambda self: nn.Module.__init__(self))  # without its weights

    def set_up(stage: str, crop_size: int = 32, lpips: bool = False) -> None:
        data = SRDataModule(
            [str(tmp_path / "large.png")], [str(tmp_path)], [str(tmp_path)], scale=2, crop_size=crop_size
        )
        module = SuperResolution(network(2), lpips=LPIPS() if lpips else None)  # type: ignore[call-arg]
        module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        module.trainer.datamodule = data  # type: ignore[attr-defined]
        data.setup(stage)
        module.setup(stage)

    for stage in ("fit", "validate", "test"):
        set_up(stage)
        with pytest.raises(ValueError, match=r"small\.png has 30 x 64 pixels, and model\.lpips needs 31 x 31"):
            set_up(stage, lpips=True)
    with pytest.raises(ValueError, match=r"model\.generator cannot be trained on 17 x 17 pixels"):
        set_up("fit", crop_size=34)
    set_up("test", crop_size=34)
