"""With a stand-in for spandrel, which needs torchvision: its public names, and networks of the kinds that there are."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from dec_kernels.trainer.cli import main
from dec_kernels.trainer.models import SpandrelNetwork, UnknownNetworkError, check_generator, load_weights, save_weights
from dec_kernels.trainer.sizes import check_crop


class Net(nn.Module):
    """Takes multiples of 4 pixels, at least 8, and changes its input in place, as some public networks do."""

    def __init__(self, scale: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.upsample = nn.Sequential(nn.Conv2d(channels, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        assert min(x.shape[-2:]) >= 8
        assert not x.shape[-2] % 4 + x.shape[-1] % 4
        x *= 1
        return self.upsample(x.mul_(0.5))


class Pair(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return super().forward(x), None


class Signed(Net):
    """Its images are in [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) - 1


class UnsupportedModelError(Exception):
    pass


class SizeRequirements:
    minimum, multiple_of = 8, 4

    def get_padding(self, width: int, height: int) -> tuple[int, int]:
        wanted = [-(-max(side, self.minimum) // self.multiple_of) * self.multiple_of for side in (width, height)]
        return wanted[0] - width, wanted[1] - height


class ImageModelDescriptor:
    def __init__(
        self, model: nn.Module, channels: int, scale: int, purpose: str = "SR", tiling: str = "SUPPORTED"
    ) -> None:
        self.model, self.scale, self.purpose = model, scale, purpose
        self.input_channels = self.output_channels = channels
        self.size_requirements = SizeRequirements()
        self.tiling = SimpleNamespace(name=tiling)
        self.architecture = SimpleNamespace(name=type(model).__name__)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        result = self.model.eval()(image)
        if isinstance(self.model, Pair):
            return result[0].clamp(0, 1)
        return (result / 2 + 0.5 if isinstance(self.model, Signed) else result).clamp(0, 1)


class MaskedImageModelDescriptor:
    purpose = "Inpainting"
    architecture = SimpleNamespace(name="Painter")


class ModelLoader:
    """Which kind of network a state dict is for, the key `kind` says, if there is one."""

    def load_from_state_dict(self, state: dict[str, Tensor]) -> object:
        kind = int(state.pop("kind", torch.tensor(0)))
        if kind == 1:
            return MaskedImageModelDescriptor()
        if "upsample.0.weight" not in state:
            raise UnsupportedModelError
        out, channels = state["upsample.0.weight"].shape[:2]
        scale = round((out / channels) ** 0.5)
        model = {3: Pair, 4: Signed}.get(kind, Net)(scale, channels)
        model.load_state_dict(state)
        return ImageModelDescriptor(
            model, channels, scale, "Restoration" if kind == 2 else "SR", "INTERNAL" if kind == 5 else "SUPPORTED"
        )


@pytest.fixture(autouse=True)
def _spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("spandrel")
    for name in (ImageModelDescriptor, ModelLoader, UnsupportedModelError):
        setattr(module, name.__name__, name)
    monkeypatch.setitem(sys.modules, "spandrel", module)


def saved(path: Path, network: nn.Module, kind: int = 0) -> Path:
    """A public weight file."""
    state = network.state_dict()
    torch.save({"params": state | {"kind": torch.tensor(kind)} if kind else state}, path)
    return path


def test_is_a_generator_of_the_files_network(tmp_path: Path) -> None:
    source = Net(scale=2)
    network = SpandrelNetwork(saved(tmp_path / "w.pth", source), scale=2)
    check_generator(network)
    check_crop(network, 32, 2)
    assert (network.scale, network.multiple, network.takes_tiles) == (2, 4, True)
    lr = torch.rand(2, 3, 8, 12)
    before = lr.clone()
    assert torch.equal(network(lr), source(before.clone()))
    assert torch.equal(lr, before)
    network(lr).mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_images_of_any_size(tmp_path: Path) -> None:
    network = SpandrelNetwork(saved(tmp_path / "w.pth", Net()))
    lr = torch.rand(1, 3, 5, 9)
    padded = nn.functional.pad(lr, (0, 3, 0, 3), mode="replicate")
    assert torch.equal(network(lr), network(padded)[..., :20, :36])


def test_a_checkpoint_takes_the_files_place(tmp_path: Path) -> None:
    network = SpandrelNetwork(saved(tmp_path / "w.pth", Net()))
    nn.init.ones_(network.spandrel.upsample[0].bias)
    state = {f"generator.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    save_weights(network, tmp_path / "public.pth")
    public = torch.load(tmp_path / "public.pth")["params"]
    assert public.keys() == Net().state_dict().keys()
    for name in ("last.ckpt", "public.pth"):
        again, other = SpandrelNetwork(tmp_path / name), SpandrelNetwork(tmp_path / "w.pth")
        load_weights(other, tmp_path / name)
        for found in (again, other):
            assert torch.equal(found.spandrel.upsample[0].bias, torch.ones(48))


def test_another_scale_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"w\.pth is for scale 4, and scale 2 is wanted"):
        SpandrelNetwork(saved(tmp_path / "w.pth", Net()), scale=2)


@pytest.mark.parametrize(
    ("kind", "problem"), [(1, "Painter.*Inpainting"), (2, "Net.*Restoration"), (3, "Pair"), (4, "Signed")]
)
def test_networks_for_other_ends_are_named(tmp_path: Path, kind: int, problem: str) -> None:
    with pytest.raises(UnknownNetworkError, match=rf"w\.pth.* {problem}"):
        SpandrelNetwork(saved(tmp_path / "w.pth", {3: Pair, 4: Signed}.get(kind, Net)(), kind))


def test_networks_that_spandrel_does_not_know_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNetworkError, match=r"w\.pth"):
        SpandrelNetwork(saved(tmp_path / "w.pth", nn.Linear(1, 1)))


def test_without_spandrel_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r"pip install .*dec-kernels\[spandrel\]"):
        SpandrelNetwork(saved(tmp_path / "w.pth", Net()))


def test_trains_and_predicts(
    tiny_config: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = saved(tmp_path / "w.pth", Net(), kind=5)
    network = f"{SpandrelNetwork.__module__}.SpandrelNetwork"
    text = tiny_config.read_text().replace("class_path: dec_kernels.trainer.models.RRDBNet", f"class_path: {network}")
    (tmp_path / "c.yaml").write_text(
        text.replace("{num_feat: 4, num_block: 1, num_grow_ch: 2}", f"{{weights: {weights}}}")
    )
    assert main(["fit", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]) == 0
    results = []
    for name, options in (
        ("run/checkpoints/last.ckpt", []),
        ("run/checkpoints/last.ckpt", ["--config", str(tmp_path / "run" / "config.yaml")]),
        ("w.pth", []),
    ):
        paths = [
            "--weights",
            str(tmp_path / name),
            "--input",
            f"{photographs}/a.png",
            "--output",
            str(tmp_path / "out"),
        ]
        assert main(["predict", "--overwrite", *paths, *options]) == 0
        results.append((tmp_path / "out" / "a.png").read_bytes())
    assert results[0] == results[1] != results[2]
    assert "--tile 0" in capsys.readouterr().err  # the file says that the network looks at whole images
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert main(["predict", "--overwrite", *paths]) == 2
    assert "dec-kernels[spandrel]" in capsys.readouterr().err
