import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from benchmarks.memory import MALLOC
from dec_kernels.trainer import predict as module
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.models import HINet, RRDBNet, save_weights
from dec_kernels.trainer.pixels import to_float, to_uint8
from dec_kernels.trainer.predict import main

RRDBNET = "dec_kernels.trainer.models.RRDBNet"
SIZES: dict[str, Any] = {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}


@pytest.fixture(scope="module")
def network() -> RRDBNet:
    """Bright enough for its 8-bit results to be neither all black nor all white."""
    torch.manual_seed(0)
    network = RRDBNet(scale=2, **SIZES).eval()
    with torch.no_grad():
        network.conv_last.bias.fill_(0.5)  # type: ignore[union-attr]
    return network


@pytest.fixture(scope="module")
def weights(network: RRDBNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "network.pth"
    save_weights(network, path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Colour, gray, 16-bit and transparent images at several depths."""
    folder = tmp_path / "images"
    (folder / "deep" / "deeper").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (13, 18, 3), dtype=np.uint8)).save(folder / "colour.png")
    Image.fromarray(rng.integers(0, 256, (12, 10), dtype=np.uint8)).save(folder / "deep" / "gray.bmp")
    cv2.imwrite(str(folder / "deep" / "deeper" / "fine.png"), rng.integers(0, 65536, (10, 11, 3), dtype=np.uint16))
    Image.fromarray(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)).save(folder / "glass.png")
    return folder


def results(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


def test_restores_at_scale_1(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = HINet(wf=4, depth=3).eval()
    save_weights(network, tmp_path / "w.pth")
    command = ("--weights", tmp_path / "w.pth", "--input", images, "--output")
    assert run(*command, tmp_path / "whole", "--tile", 0) == 0
    assert "tiles" not in capsys.readouterr().err
    for name, source in (("colour.png", "colour.png"), ("deep/gray.png", "deep/gray.bmp")):
        with Image.open(images / source) as image:
            rgb = np.array(image.convert("RGB"))
        rows, columns = ((0, -side % 4) for side in rgb.shape[:2])
        padded = torch.from_numpy(np.pad(rgb, [rows, columns, (0, 0)], mode="reflect")).permute(2, 0, 1)
        with torch.no_grad():
            wanted = to_uint8(network(to_float(padded)[None])[0]).permute(1, 2, 0).numpy()
        with Image.open(tmp_path / "whole" / name) as image:
            found = np.array(image).astype(int)
        assert found.shape == rgb.shape
        assert abs(found - wanted[: rgb.shape[0], : rgb.shape[1]]).max() <= 1
    assert run(*command, tmp_path / "tiled", "--tile", 8, "--overlap", 4) == 0
    assert "tiles may show: --tile 0" in capsys.readouterr().err


def test_upscales_a_folder(
    images: Path, network: RRDBNet, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--weights", weights, "--input", images, "--output", out, "--tile", 8, "--overlap", 8) == 0
    assert results(out) == {"colour.png", "deep/gray.png", "deep/deeper/fine.png", "glass.png"}
    for name, source in (("colour.png", "colour.png"), ("deep/gray.png", "deep/gray.bmp"), ("glass.png", "glass.png")):
        with Image.open(images / source) as image:
            rgb = np.array(image.convert("RGB"))
        with Image.open(out / name) as image:
            assert image.mode == "RGB"
            sr = np.array(image)
        padded = np.pad(rgb, [(0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)], mode="reflect")
        with torch.no_grad():
            wanted = to_uint8(network(to_float(torch.from_numpy(padded)).permute(2, 0, 1)[None])[0]).permute(1, 2, 0)
        assert sr.shape == (2 * rgb.shape[0], 2 * rgb.shape[1], 3)
        assert sr.std() > 5
        difference = np.abs(sr.astype(int) - wanted.numpy()[: sr.shape[0], : sr.shape[1]].astype(int))
        assert difference.max() <= 1  # tiles may round otherwise
    printed = capsys.readouterr()
    assert "4/4" in printed.out
    assert "it/s" in printed.out
    (note,) = printed.err.strip().splitlines()
    assert "alpha" in note
    assert str(images / "glass.png") in note


def test_16_bits_stay_16_bits(images: Path, network: RRDBNet, weights: Path, tmp_path: Path) -> None:
    source = images / "deep" / "deeper" / "fine.png"
    assert run("--weights", weights, "--input", source, "--output", tmp_path / "out", "--tile", 0) == 0
    assert results(tmp_path / "out") == {"fine.png"}
    bgr = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
    lr = torch.from_numpy(np.pad(bgr, [(0, 0), (0, 1), (0, 0)], mode="reflect")[..., ::-1] / 65535).float()
    with torch.no_grad():
        wanted = network(lr.permute(2, 0, 1)[None])[0, :, :20, :22].clamp(0, 1).permute(1, 2, 0).numpy()
    sr = cv2.imread(str(tmp_path / "out" / "fine.png"), cv2.IMREAD_UNCHANGED)
    assert sr.dtype == np.uint16
    assert np.abs(sr[..., ::-1] - 65535.0 * wanted).max() < 1


def test_unreadable_files_are_named_and_the_others_upscaled(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_bytes((images / "colour.png").read_bytes()[:200])
    (images / "text.jpg").write_text("no image")
    assert run("--weights", weights, "--input", images, "--output", tmp_path / "out") == 1
    assert results(tmp_path / "out") == {"colour.png", "deep/gray.png", "deep/deeper/fine.png", "glass.png"}
    errors = capsys.readouterr().err
    assert f"cannot read {images / 'broken.png'} as an image" in errors
    assert f"cannot read {images / 'text.jpg'} as an image" in errors


def test_what_is_passed_over_is_counted_and_links_are_followed_once(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "other.gif").write_bytes(b"")
    (images / "deep" / "up").symlink_to(images)
    (images / "broken.tif").symlink_to(tmp_path / "nowhere")
    assert run("--weights", weights, "--input", images, "--output", tmp_path / "out") == 1
    assert results(tmp_path / "out") == {"colour.png", "deep/gray.png", "deep/deeper/fine.png", "glass.png"}
    errors = capsys.readouterr().err
    assert f"passed over 1 file, {images / 'other.gif'}: only .bmp, " in errors
    assert f"cannot read {images / 'broken.tif'} as an image" in errors


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ä" * 125 + ".png", id="long"),
        pytest.param("x" * 251 + ".jpg", id="longer"),
        "a [b] %s.png",
        "null: {1e3.png",
        pytest.param(os.fsdecode(b"caf\xe9.png"), id="bytes"),
    ],
)
def test_names_that_are_unusual(images: Path, weights: Path, tmp_path: Path, name: str) -> None:
    (images / "colour.png").rename(images / name)
    assert run("--weights", weights, "--input", images / name, "--output", tmp_path / "out") == 0
    assert results(tmp_path / "out") == {name.replace(".jpg", ".png")}


def test_results_are_only_replaced_on_request(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "gray.png").write_text("mine")
    args = ("--weights", weights, "--input", images, "--output", out)
    assert run(*args) == 2
    assert f"--output has these already: {out / 'deep' / 'gray.png'}. --overwrite" in capsys.readouterr().err
    assert results(out) == {"deep/gray.png"}
    assert (out / "deep" / "gray.png").read_text() == "mine"
    assert run(*args, "--overwrite") == 0
    with Image.open(out / "deep" / "gray.png") as image:
        assert image.size == (20, 24)


def test_a_result_never_takes_the_place_of_an_image(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (images / "colour.png").read_bytes()
    for source, output in ((images, images), (images, images / "up"), (images / "colour.png", images)):
        assert run("--weights", weights, "--input", source, "--output", output, "--overwrite") == 2
    assert capsys.readouterr().err.count("its results") == 2
    assert (images / "colour.png").read_bytes() == before
    (images / "colour.jpg").write_bytes(before)
    assert run("--weights", weights, "--input", images, "--output", tmp_path / "out") == 2
    assert "would both become" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_network_of_a_config(network: RRDBNet, weights: Path, images: Path, tmp_path: Path) -> None:
    """The saved config of a training leaves the scale to the data's."""
    config = tmp_path / "config.yaml"
    config.write_text(f"""
model:
  generator: {{class_path: {RRDBNET}, init_args: {SIZES}}}
  learning_rate: 0.1
data: {{scale: 2, train: [somewhere]}}
""")
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": {f"generator.{key}": value for key, value in network.state_dict().items()}}, checkpoint)
    source = images / "colour.png"
    assert run("--weights", weights, "--input", source, "--output", tmp_path / "a") == 0
    assert run("--weights", checkpoint, "--input", source, "--output", tmp_path / "b", "--config", config) == 0
    assert (tmp_path / "a" / "colour.png").read_bytes() == (tmp_path / "b" / "colour.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("model: 3", "is no config.yaml of a training"),
        ("[", "is no config.yaml of a training"),
        ("", "is no config.yaml of a training"),
        (bytes(range(256)), "is no config.yaml of a training"),
        ("model: {generator: {class_path: torch.nn.Identity}}\ndata: {scale: 2}", "Option 'scale' is not accepted"),
        ("model: {generator: {class_path: no.such.Network}}\ndata: {scale: 2}", "No module named 'no'"),
        (f"model: {{generator: {{class_path: {RRDBNET}}}}}\ndata: {{scale: 3}}", "scale must be 1, 2 or 4, got 3"),
        (
            f"model: {{generator: {{class_path: {RRDBNET}, init_args: {{depth: 1}}}}}}\ndata: {{scale: 2}}",
            "'depth' is not",
        ),
    ],
)
def test_bad_configs(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, problem: str
) -> None:
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    args = ("--weights", weights, "--input", images, "--output", tmp_path / "out", "--config", tmp_path / "config.yaml")
    assert run(*args) == 2
    assert problem in capsys.readouterr().err


def test_other_mistakes(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.save({"params": {"layer.weight": torch.ones(1)}}, tmp_path / "other.pth")
    good = {"--weights": weights, "--input": images, "--output": tmp_path / "out", "--tile": 8, "--overlap": 8}
    mistakes: list[tuple[str, object, str]] = [
        ("--weights", tmp_path / "none.pth", "none.pth"),
        ("--weights", tmp_path / "other.pth", "other.pth holds no RRDBNet.*--config"),
        ("--input", tmp_path / "none", "no file or folder"),
        ("--output", weights, r"--output .*\.pth must be a folder, and .* is a file"),
        ("--tile", 7, "tile must be a positive multiple of the network's 2, got 7"),
        ("--overlap", -2, r"overlap(.|\n)*-2"),
        ("--precision", "bf61", "Did you mean 'bf16'?"),
        ("--overlp", 8, "Did you mean 'overlap'?"),
        ("--device", "cuda", "PyTorch sees no CUDA device"),
    ]
    for option, value, problem in mistakes:
        arguments = [str(part) for item in {**good, option: value}.items() for part in item]
        assert dec_train(["predict", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("dec-train predict: ")
        assert re.search(problem, error), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate"), MemoryError()]
)
@pytest.mark.parametrize(
    ("tile", "overlap", "advice"),
    [
        (256, 32, "lower --tile, which is 256"),
        (0, 32, "set --tile, for example to 256"),
        (8, 32, "lower --overlap, which is 32 at each side of a tile of 8"),
    ],
)
def test_out_of_memory(
    images: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    tile: int,
    overlap: int,
    advice: str,
) -> None:
    monkeypatch.setattr(module, "upscale_bands", raising(error))
    args = ("--weights", weights, "--input", images / "colour.png", "--output", tmp_path / "out")
    assert run(*args, "--tile", tile, "--overlap", overlap) == 2
    assert f"out of memory at {images / 'colour.png'}: {advice}\n" in capsys.readouterr().err
    assert not results(tmp_path / "out")


def raising(error: Exception) -> Callable[..., Iterator[torch.Tensor]]:
    def upscale_bands(*args: object) -> Iterator[torch.Tensor]:
        yield torch.zeros(1, 3, 16, 36, dtype=torch.uint8)
        raise error

    return upscale_bands


def test_other_errors_keep_their_traceback(
    images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "upscale_bands", raising(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        run("--weights", weights, "--input", images / "colour.png", "--output", tmp_path / "out")
    assert not results(tmp_path / "out")


def test_a_full_disk_leaves_nothing_and_names_the_result(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    target = tmp_path / "out" / "colour.png"
    assert run("--weights", weights, "--input", images / "colour.png", "--output", target.parent) == 2
    assert f"No space left on device: '{target}'" in capsys.readouterr().err
    assert not results(target.parent)


IN_A_PROCESS_OF_ITS_OWN = """
import json, resource, sys
import torch
from dec_kernels.doctor.memory import peak_extra_bytes
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.predict import main
torch.set_num_threads(1)
def run(name, *options):
    return main(["--weights", "network.pth", "--input", name, "--output", "out", "--overwrite", *map(str, options)])
run("tile.png")
"""


def in_a_process_of_its_own(code: str, folder: Path) -> Any:
    """What `code` puts into `found`; freed memory goes back at once there."""
    source = f"{IN_A_PROCESS_OF_ITS_OWN}{code}\nprint(json.dumps(found))"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | MALLOC | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture
def photographs_of_sizes(tmp_path: Path) -> Path:
    """Of some tiles of 64, of 256 x 512, and of 512 x 512, with a network of scale 4."""
    save_weights(RRDBNet(num_feat=4, num_block=1, num_grow_ch=2), tmp_path / "network.pth")
    for name, size in (("tile", (192, 192)), ("small", (512, 256)), ("large", (512, 512))):
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / f"{name}.png")
    return tmp_path


def test_memory_is_that_of_a_tile(photographs_of_sizes: Path) -> None:
    """And no more than 0.4 of the result, with reading the image. Whole, the network would take 20 times that."""
    code = """
options = ("--tile", 64, "--overlap", 16)
found = [peak_extra_bytes(lambda: run(name, *options)) for name in ("tile.png", "small.png", "large.png")]
"""
    (tile, small, large), _ = in_a_process_of_its_own(code, photographs_of_sizes)
    result = 3 * 2048 * 2048
    assert small < tile + 0.4 * result / 2
    assert large < tile + 0.4 * result


def test_the_advice_on_memory_helps(photographs_of_sizes: Path) -> None:
    code = """
taken = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, (1024 * taken + 60 * 2**20,) * 2)
found = [run("large.png", "--tile", tile) for tile in (0, 256, 64)]
"""
    statuses, errors = in_a_process_of_its_own(code, photographs_of_sizes)
    assert "out of memory at large.png: set --tile, for example to 256" in errors
    assert "out of memory at large.png: lower --tile, which is 256" in errors
    assert statuses == [2, 2, 0]


@pytest.fixture
def overflowing(network: RRDBNet, tmp_path: Path) -> Path:
    """Weights whose features are beyond float16 wherever the image is not black; the result is an ordinary one."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for key in state:
        if key.endswith("bias") and key != "conv_last.bias":
            state[key].zero_()
    state["conv_first.weight"] *= 2.0**12
    state["conv_hr.weight"] *= 2.0**12
    state["conv_last.weight"] /= 2.0**24
    torch.save({"params": state}, tmp_path / "overflowing.pth")
    return tmp_path / "overflowing.pth"


def test_an_image_with_nan_is_not_written(
    images: Path, overflowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (9, 9)).save(images / "black.png")
    args = ("--weights", overflowing, "--input", images, "--overwrite", "--device", "cpu")
    for precision, written in (("32", 5), ("bf16", 5), ("fp16", 1)):
        out = tmp_path / precision
        (out / "deep").mkdir(parents=True)
        (out / "deep" / "gray.png").write_text("mine")
        assert run(*args, "--output", out, "--precision", precision) == (0 if written == 5 else 1)
        errors = capsys.readouterr().err
        if written == 5:
            assert len(results(out)) == 5
            assert "NaN" not in errors
            assert cv2.imread(str(out / "colour.png")).std() > 1
        else:
            assert results(out) == {"black.png", "deep/gray.png"}
            assert (out / "deep" / "gray.png").read_text() == "mine"
            for name in ("colour.png", "deep/gray.bmp", "deep/deeper/fine.png", "glass.png"):
                assert f"{images / name} is not upscaled" in errors
            assert errors.count("--precision fp16 has NaN or infinite pixels; --precision bf16 and 32 have") == 4


def test_weights_that_are_nan_are_named(
    images: Path, overflowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(overflowing)
    state["params"]["conv_last.bias"][1] = torch.nan
    torch.save(state, overflowing)
    source = images / "colour.png"
    assert run("--weights", overflowing, "--input", source, "--output", tmp_path / "out") == 1
    assert f"{source} is not upscaled: the weights in {overflowing} are NaN or infinite" in capsys.readouterr().err
    assert not results(tmp_path / "out")


def icc_profile(kind: bytes) -> bytes:
    """An sRGB profile that says it is for another kind of pixels."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:16] + kind + profile[20:]


def test_icc_profiles_are_carried_over_where_png_allows(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = icc_profile(b"RGB ")
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.jpg"):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(images / name, icc_profile=profile)
    Image.new("L", (8, 8), 77).save(images / "gray.png", icc_profile=icc_profile(b"GRAY"))
    Image.new("CMYK", (8, 8)).save(images / "print.jpg", icc_profile=icc_profile(b"CMYK"))
    assert run("--weights", weights, "--input", images, "--output", tmp_path / "out") == 0
    for path in (tmp_path / "out").rglob("*.png"):
        with Image.open(path) as image:
            assert image.info.get("icc_profile") == (profile if path.stem in ("one", "two") else None)
    errors = capsys.readouterr().err.splitlines()
    listed = {line.partition(": ")[2].partition(": ")[0]: line.rpartition(": ")[2] for line in errors}
    assert (
        listed["2 of the results have the ICC profile of their image"] == f"{images / 'one.png'}, {images / 'two.jpg'}"
    )
    assert (
        listed["upscaled without the ICC profile, which is not for RGB"]
        == f"{images / 'gray.png'}, {images / 'print.jpg'}"
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_for_other_images_than_rgb(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], channels: int
) -> None:
    save_weights(RRDBNet(channels, channels, num_feat=2, num_block=1, num_grow_ch=1), tmp_path / "w.pth")
    assert run("--weights", tmp_path / "w.pth", "--input", images, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"the network in {tmp_path / 'w.pth'}: " in error
    assert f"this RRDBNet makes {channels} of {channels}" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("precision", "largest"), [("bf16", 4), ("fp16", 1)])
def test_precision(images: Path, weights: Path, tmp_path: Path, precision: str, largest: int) -> None:
    args = ("--weights", weights, "--input", images / "colour.png")
    assert run(*args, "--output", tmp_path / "exact") == 0
    assert run(*args, "--output", tmp_path / "rough", "--precision", precision, "--device", "cpu") == 0
    exact, rough = (cv2.imread(str(tmp_path / out / "colour.png")).astype(int) for out in ("exact", "rough"))
    assert 0 < np.abs(exact - rough).max() <= largest
