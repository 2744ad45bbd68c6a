"""LPIPS, with `models/pretrained.py` as it uses that."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchmetrics.functional.image.lpips as published
from torch import Tensor, nn

from dec_kernels.trainer.lpips import LPIPS


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    """torchvision's `alexnet().features` with random weights, scaled such that the signal keeps its size."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layers


@pytest.fixture(scope="module")
def weights(features: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(1)}, path)
    return path


@pytest.fixture(scope="module")
def lpips(weights: Path) -> LPIPS:
    return LPIPS(weights)


def images(height: int = 48, width: int = 32) -> tuple[Tensor, Tensor]:
    return torch.rand(3, 3, height, width), torch.rand(3, 3, height, width)


def test_agrees_with_torchmetrics(lpips: LPIPS, features: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchmetrics takes AlexNet from torchvision, which need not be here: it is given the same random one."""
    monkeypatch.setattr(published, "_get_tv_model_features", lambda *_: features)
    network = published._LPIPS(net="alex")  # noqa: SLF001
    sr, hr = images()
    hr[1] = sr[1] + 0.01 * torch.randn_like(sr[1])
    distance = lpips(sr, hr)
    assert distance.shape == (3,)
    assert 0 < distance[1] < 0.1 * distance[0]
    torch.testing.assert_close(distance, network(sr, hr, normalize=True).flatten(), rtol=0, atol=1e-6)


def test_equal_images(lpips: LPIPS) -> None:
    image, _ = images()
    assert lpips(image, image).tolist() == [0, 0, 0]
    assert torch.equal(lpips(image, 1 - image), lpips(1 - image, image))


def test_pixels_without_features_are_no_distance(weights: Path, tmp_path: Path) -> None:
    """Where no channel fires there is no direction: 0, not 0 / 0."""
    state = {key: -value.abs() for key, value in torch.load(weights).items()}
    torch.save(state, tmp_path / "dead.pth")
    bright = torch.ones(1, 3, 32, 32)
    assert LPIPS(tmp_path / "dead.pth")(bright, 0.9 * bright).tolist() == [0]


def test_is_a_measure_in_float32(lpips: LPIPS) -> None:
    sr, hr = images()
    wanted = lpips(sr, hr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(lpips(sr, hr), wanted)
    assert not lpips(sr.requires_grad_(), hr).requires_grad
    assert lpips(sr.bfloat16(), hr.double()).dtype == torch.float32


def test_the_networks_are_hidden_but_move_along(weights: Path) -> None:
    lpips = LPIPS(weights).train()
    assert not [*lpips.parameters(), *lpips.buffers(), *lpips.state_dict()]
    lpips.to("meta")
    state = lpips.network._network[0].state_dict()  # noqa: SLF001
    assert len(state) == 5 * 2 + 5 + 2  # convolutions, LPIPS's weights, normalisation
    assert all(tensor.is_meta for tensor in state.values())


def test_not_finite_pixels_are_not_hidden(lpips: LPIPS) -> None:
    for value in (float("nan"), float("inf")):
        sr, hr = images()
        sr[1, 0, 20, 20] = value
        assert lpips(sr, hr).isfinite().tolist() == [True, False, True]


def test_refuses_images_that_it_cannot_compare(lpips: LPIPS) -> None:
    assert lpips(*images(31, 31)).isfinite().all()
    with pytest.raises(ValueError, match=r"31 x 31.*40 x 30"):
        lpips(*images(40, 30))
    with pytest.raises(TypeError, match=r"sr.*torch\.uint8"):
        lpips(images()[0].byte(), images()[1])


def test_without_file_and_internet_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, *args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError) as caught:
        LPIPS()
    for part in (
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        str(tmp_path),
        "model.lpips.init_args.weights",
    ):
        assert part in str(caught.value)


def test_refuses_another_networks_file(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth.*alexnet-owt-7be5be79"):
        LPIPS(tmp_path / "vgg.pth")
