"""KAIR's call convention: `optimize_parameters` of its models multiplies by G_lossfn_weight what `define_loss` made.
The models are those of stand_ins/models.py, which says what they were read from.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dec_kernels import dec_loss

DEC = {"loss_weight": 0.3, "patch_size": 4}


@pytest.fixture
def make(adapter: Callable[[str], ModuleType], images: tuple[Tensor, Tensor]) -> Callable[..., Any]:
    """Builds one of KAIR's models from a train section, with the same weights each time, and feeds it the images."""
    adapter("kair")

    def make(name: str, **train: Any) -> Any:
        torch.manual_seed(0)
        netG, netD = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Conv2d(3, 1, 3)
        train = {"G_lossfn_type": "l1", "G_lossfn_weight": 2.0, "D_lossfn_weight": 0.1, "G_optimizer_lr": 1e-3, **train}
        module = {"ModelPlain": "models.model_plain", "ModelGAN": "models.model_gan"}[name]
        model = getattr(importlib.import_module(module), name)({"train": train, "netG": netG, "netD": netD})
        model.init_train()
        model.feed_data({"L": images[0].detach(), "H": images[1]})
        return model

    return make


@pytest.mark.parametrize("name", ["ModelPlain", "ModelGAN"])
def test_dec_has_its_own_weight_and_not_that_of_the_pixel_loss(make: Callable[..., Any], name: str) -> None:
    without, model = make(name), make(name, dec_opt=DEC)
    loss = 0.3 * dec_loss(without.netG(model.L), model.H, patch_size=4)
    own = torch.autograd.grad(loss, list(without.netG.parameters()))
    assert all(gradient.abs().max() > 1e-6 for gradient in own), "or this test could not fail"
    for each in (without, model):
        each.optimize_parameters(1)
    pairs = zip(without.netG.parameters(), model.netG.parameters(), own, strict=True)
    for plain, parameter, gradient in pairs:
        torch.testing.assert_close(parameter.grad, plain.grad + gradient)

    log, log_without = model.current_log(), without.current_log()
    assert f"{log['DEC_loss']:.3e}" == f"{loss:.3e}", "as KAIR's log formats it"
    assert log["G_loss"] == pytest.approx(log_without["G_loss"] + loss.item())
    assert "DEC_loss" not in log_without


@pytest.mark.parametrize("name", ["ModelPlain", "ModelGAN"])
def test_without_a_pixel_loss_there_is_nothing_to_add_to(make: Callable[..., Any], name: str) -> None:
    with pytest.raises(ValueError, match=r"dec_opt.*G_lossfn_weight.* 0$"):
        make(name, dec_opt=DEC, G_lossfn_weight=0)


def test_a_wrong_option_is_DECLoss_error(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"distance.*'l1'"):
        make("ModelPlain", dec_opt={"distance": "l1"})


def test_the_entry_point_runs_a_script_with_its_arguments(
    adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "main_train.py"
    script.write_text("import sys\nassert __name__ == '__main__'\nopen(sys.argv[2], 'w').write(' '.join(sys.argv))\n")
    arguments = [str(script), "--opt", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["kair.py", *arguments])
    adapter("kair").main()
    assert (tmp_path / "out").read_text() == " ".join(arguments)


def test_without_a_script_the_entry_point_says_what_it_takes(
    adapter: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["kair.py"])
    with pytest.raises(SystemExit, match=r"integrations\.kair main_train_psnr\.py"):
        adapter("kair").main()
