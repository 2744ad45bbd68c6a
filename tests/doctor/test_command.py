"""The whole command: `__init__.py`, `options.py`, `facts.py`, `advice.py`, `tables.py` and `plot.py` of the doctor.

Triton's interpreter is off, as it is for users.
"""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dec_kernels.backends import torch as torch_backend
from dec_kernels.cli import main
from dec_kernels.doctor import crops, options, pairs
from dec_kernels.extra import PACKAGES
from dec_kernels.spec import Spec
from tests.doctor.files import png_of_16_bit_colours, save
from tests.oracle import truth


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.chdir(tmp_path)


def test_tables_json_and_plot_show_the_same_facts(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["doctor", *map(str, folders), "--patch-size", "4", "--distance", "rmse", "--json", "facts.json"]
    assert main(given) == 0
    shown = capsys.readouterr().out
    facts = json.loads(Path("facts.json").read_text())
    found = pairs.find(*folders, max_val=1.0).pairs
    sr, hr = (torch.stack(side) for side in zip(*(pair.load() for pair in found), strict=True))
    assert facts["terms"]["loss"] == pytest.approx(
        truth(sr, hr, Spec(patch_size=4, distance="rmse")).loss.item(), rel=1e-5
    )
    assert facts["input"]["crop"] == [24, 28]
    assert f"{facts['terms']['loss']:.6g}" in shown
    assert f"{facts['weight']['weight']:.4g}" in shown
    assert all(cost["backend"] in shown for cost in facts["backends"])
    assert [one["landmarks"] for one in facts["landmarks"]["tried"]] == [32]
    for one in (facts["landmarks"]["configured"], *facts["landmarks"]["tried"]):
        assert f"{one['gradient_error']:.1e} ({one['gradient_interval'][0]:.1e} to" in shown
    assert f"{facts['landmarks']['bf16_error']:.1e}" in shown
    assert f"{facts['positives']['alone']['rmse']:.1%} of the rows" in facts["advice"][0]
    assert "24 x 28 instead of 128 x 128" in " ".join(shown.split())
    assert "dec_doctor.png" in shown
    with Image.open("dec_doctor.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):  # a line of each distance in each of the four panels
        coloured = (abs(pixels - colour).sum(-1) < 20).reshape(2, pixels.shape[0] // 2, 2, -1).sum((1, 3))
        assert (coloured > 500).all()


def test_json_to_stdout_is_json_alone(photo: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(photo, "batch.pt")
    given = ["doctor", "batch.pt", "--patch-size", "12", "--landmarks", "9", "--norm-floor", "0.2", "--center"]
    assert main([*given, "--json", "-", "--plot", "p.png"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["plot"] == "p.png"
    assert facts["input"]["patches"] == 8
    assert facts["settings"]["landmarks"] == facts["landmarks"]["configured"]["landmarks"] == 9
    assert (facts["settings"]["norm_floor"], facts["settings"]["center"]) == (0.2, True)
    assert facts["landmarks"]["configured"]["qneg_error"] > 1e-6  # which the exact loss does not have


def test_a_wrong_backend_is_the_exit_status(
    photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(photo, "batch.pt")
    right = torch_backend.BACKEND.backward
    monkeypatch.setattr(torch_backend.BACKEND, "backward", lambda *inputs: 1.01 * right(*inputs))
    assert main(["doctor", "batch.pt", "--patch-size", "12"]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["nowhere.png", "a.png"], ["nowhere.png"]),
        (["a.png"], ["HR", "a.png"]),
        (["a.png", "empty"], ["SR", "HR", "a.png", "empty"]),
        (["empty", "one"], ["'empty'", ".png"]),
        (["one", "other"], ["one/x.png", "other/y.png"]),
        (["a.png", "small.png"], ["SR", "a.png", "24 x 28", "HR", "small.png", "4 x 4"]),
        (["text.png", "a.png"], ["text.png"]),
        (["float.tiff", "float.tiff"], ["float.tiff"]),
        (["huge.png", "huge.png"], ["huge.png", "14000 x 14000", "DEC_KERNELS_MAX_PIXELS=196000000"]),
        (["small.png", "small.png"], ["patch_size=8", "0"]),
        (["small.png", "small.png", "--patch-size", "4"], ["patch_size=4", "1", "4 x 4"]),
        (["a.png", "a.png", "--max-val", "1e16"], ["max_val", "1e+15", "got 1e+16"]),
        (["a.png", "a.png", "--t-pos", "0"], ["t_pos must be greater than 0, got 0.0"]),
        (["a.png", "a.png", "--plot", "no/such.png"], ["no/such.png"]),
        (["a.png", "a.png", "--json", "no/such.json"], ["no/such.json"]),
        (["text.pt"], ["text.pt"]),
        (["void.pt"], ["void.pt"]),
        (["halved.pt"], ["halved.pt"]),
        (["one.pt"], ["one.pt", "Tensor"]),
        (["keys.pt"], ["keys.pt", "'sr'", "'hr'", "'lq'"]),
        (["bytes.pt"], ["SR", "uint8"]),
        (["float8.pt"], ["SR", "float8_e5m2"]),
        (["sparse.pt"], ["HR", "sparse_coo"]),
        (["meta.pt"], ["SR", "meta"]),
        (["nan.pt"], ["HR", "NaN"]),
        (["large.pt"], ["HR", "1e+200", "1e+15"]),
        (["shapes.pt"], ["(1, 3, 8, 8)", "(1, 3, 8, 9)"]),
    ],
)
def test_unusable_input_is_named_with_status_2(
    given: list[str], wanted: list[str], photo: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    write_bad_input(photo[1][0])
    assert main(["doctor", *given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dec-kernels doctor: error: ")
    assert all(part in err for part in wanted), err


def test_an_environment_that_names_a_backend_which_cannot_run(
    photo: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(photo, "batch.pt")
    monkeypatch.setenv("DEC_KERNELS_BACKEND", "triton")
    assert main(["doctor", "batch.pt", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert "DEC_KERNELS_BACKEND" in err
    assert "'triton'" in err


def write_bad_input(image: Tensor) -> None:
    for folder in ("empty", "one", "other"):
        Path(folder).mkdir()
    for path in ("a.png", "one/x.png", "other/y.png"):
        save(Path(path), image)
    save(Path("small.png"), image[:, :4, :4])
    Path("text.png").write_text("no image")
    Path("text.pt").write_text("no tensor")
    Image.new("F", (8, 8)).save("float.tiff")
    Path("huge.png").write_bytes(png_of_16_bit_colours(1, 1, 0, announced=14_000))
    x = torch.zeros(1, 3, 8, 8)
    torch.save(x, "one.pt")
    torch.save(torch.zeros(30_000), "halved.pt")
    Path("halved.pt").write_bytes(Path("halved.pt").read_bytes()[:60_000])  # where PyTorch has an OSError
    Path("void.pt").touch()
    torch.save({"lq": x, "hr": x}, "keys.pt")
    torch.save((x.byte(), x.byte()), "bytes.pt")
    torch.save((x.to(torch.float8_e5m2), x), "float8.pt")
    torch.save((x, x.to_sparse()), "sparse.pt")
    torch.save((x.to("meta"), x), "meta.pt")
    torch.save((x, x * math.nan), "nan.pt")
    torch.save((x, x.double() + 1e200), "large.pt")
    torch.save((x, torch.zeros(1, 3, 8, 9)), "shapes.pt")


@pytest.mark.parametrize(
    "option", ["--crop=0", "--crop=3x", "--crops=0", "--share=-1", "--l1-weight=inf", "--device=abacus"]
)
def test_an_option_out_of_range_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "a.png", "b.png", option])
    name, _, value = option.partition("=")
    error_line = capsys.readouterr().err.splitlines()[-1]
    assert name in error_line
    assert repr(value) in error_line


def test_whole_images_must_have_one_size(folders: tuple[Path, Path], photo: tuple[Tensor, Tensor]) -> None:
    for folder in folders:
        save(next(folder.glob("a.*")), photo[0][0, :, :20])
    with pytest.raises(ValueError, match=r"20 x 28.*24 x 28"):
        crops.cut(pairs.find(*folders, max_val=1.0), options.WHOLE, None, 0, Spec())


@pytest.mark.parametrize("missing", ["cv2", "matplotlib", "numpy", "PIL", "rich"])
def test_a_missing_extra_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PACKAGES:
        importlib.import_module(name)  # one that fails within another's import would stay half imported
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["doctor", "a.png", "a.png"]) == 2
    err = capsys.readouterr().err
    assert missing in err
    assert 'pip install "dec-kernels[doctor]"' in err


def test_nothing_of_the_extra_is_imported_to_say_that_it_is_missing() -> None:
    command = f"import sys; sys.modules |= dict.fromkeys({PACKAGES}); from dec_kernels.cli import main; "
    command += "sys.exit(main(['doctor', 'a.png', 'a.png']))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "dec-kernels[doctor]" in done.stderr
