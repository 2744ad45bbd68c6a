"""The whole command: `__init__.py`, `options.py`, `photographs.py`, `facts.py`, `tables.py` and `plot.py` of coo."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from torch import Tensor

from dec_kernels.cli import main
from dec_kernels.coo import examine
from dec_kernels.extra import PACKAGES


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


def save(path: str, image: Tensor) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def photograph(name: str, height: int = 120, width: int = 160) -> Tensor:
    return torch.from_numpy(getattr(data, name)()[-height:, -width:].copy()).permute(2, 0, 1)


def smoothed(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image[None].double(), (1, 1, 1, 1), mode="reflect"), 3, stride=1)[0].round().byte()


@pytest.fixture
def folders() -> dict[str, Tensor]:
    """HR by name, in the folder hr; SR of them in the folder sr."""
    images = {"a [x]": photograph("coffee"), "deep/b": photograph("rocket", 122, 96)}
    for name, image in images.items():
        save(f"hr/{name}.png", image)
        save(f"sr/{name}.png", smoothed(image)[:, : image.shape[1] // 4 * 4])
    return images


def test_tables_json_and_pictures_show_the_same_facts(
    folders: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["coo", "hr", "--sr", "sr", "--scale", "4", "--theta", "20", "--threshold", "30", "--out", "new/out"]) == 0
    )
    shown = capsys.readouterr().out
    facts = json.loads(Path("new/out/coo.json").read_text())
    problem = examine(list(folders.values()), 4, theta=20, threshold=30)
    wanted = problem.score([smoothed(image) for image in folders.values()])
    assert facts["score"] == pytest.approx(wanted.score)
    assert [image["name"] for image in facts["images"]] == ["a [x]", "deep/b"]
    assert [image["size"] for image in facts["images"]] == ["120 x 160", "120 x 96"]
    assert [image["score"] for image in facts["images"]] == pytest.approx(wanted.image_scores.tolist())
    assert [image["nearer_center"] for image in facts["images"]] == pytest.approx(wanted.nearer_center.tolist())
    assert facts["settings"] == {
        "scale": 4, "patch_size": 8, "threshold": 30, "theta": 20, "max_patches": 100_000, "seed": 0
    }  # fmt: skip
    assert facts["patches"] == facts["measured"] == 15 * 20 + 15 * 12
    assert sum(one["groups"] for one in facts["by_size"]) == facts["measured"]
    sizes = problem.groups.size
    assert facts["by_size"][0]["groups"] == (sizes == 1).sum() == facts["alone"] * facts["measured"]
    assert facts["by_size"][0]["entropy"] == 0
    assert facts["by_size"][2]["sizes"] == "3-4"
    three = (sizes == 3) | (sizes == 4)
    assert facts["by_size"][2]["length_square"] == pytest.approx(problem.groups.length[three].square().mean().item())
    assert sum(one["groups"] for one in facts["by_spread"]) == (sizes > 1).sum()
    spreads = [one["spread"] for one in facts["by_spread"]]
    assert spreads == sorted(spreads)
    assert facts["gaussians"] == min(128, (sizes >= 20).sum())
    assert 0 < facts["singular"] <= facts["gaussians"]
    for one in facts["images"]:
        assert f"{one['name']} " in shown
        assert f" {one['score']:.3f} " in shown
    assert f" {facts['by_size'][-1]['entropy']:.4g} " in shown
    assert f" {255 * (facts['by_size'][2]['length_square'] / 192) ** 0.5:.2f} " in shown
    assert "hr/deep/b.png" in shown  # its rows that are left over
    assert "new/out" in shown
    with Image.open("new/out/coo.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        assert (abs(pixels - colour).sum(-1) < 20).sum() > 200
    assert sorted(path.name for path in Path("new/out/maps").iterdir()) == ["000_a [x].png", "001_b.png"]


def test_without_sr_it_says_what_the_images_do(folders: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coo", "hr/deep", "hr/a [x].png", "--max-patches", "200"]) == 0
    shown = capsys.readouterr().out
    facts = json.loads(Path("dec_coo/coo.json").read_text())
    assert facts["score"] is None
    assert [image["name"] for image in facts["images"]] == ["b", "a [x]"]
    assert facts["images"][0]["score"] is None
    assert facts["by_size"][0]["square_error"] is None
    assert (facts["measured"], facts["patches"]) == (200, 480)
    assert "200 of 480" in shown
    assert "score" not in shown
    assert Path("dec_coo/coo.png").exists()
    assert len(list(Path("dec_coo/maps").iterdir())) == 2


@pytest.mark.parametrize("sr", [[], ["--sr", "out"]])
def test_what_is_dropped_from_images_is_said(sr: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    image = photograph("coffee", 41, 40)
    save("in/a.png", image)
    save("out/a.png", image)
    save("out/b.png", image)
    Image.open("in/a.png").convert("RGBA").save("in/a.png")
    Image.open("in/a.png").convert("RGB").save("in/b.png", icc_profile=b"of nothing")
    Path("in/c.gif").write_bytes(b"")
    assert main(["coo", "in", *sr]) == 0
    notes = json.loads(Path("dec_coo/coo.json").read_text())["notes"]
    for words in (("c.gif",), ("in/a.png", "alpha"), ("in/b.png", "ICC profile is not sRGB"), ("2 files", "cropped")):
        assert sum(all(word in note for word in words) for note in notes) == 1, (words, notes)
    assert sum("ICC profile differs" in note for note in notes) == bool(sr)
    assert "alpha channel" in capsys.readouterr().out


def test_photographs_of_scikit_image_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    save("c.png", smoothed(torch.from_numpy(data.chelsea()).permute(2, 0, 1)))
    assert main(["coo", "skimage:chelsea", "--sr", "c.png", "--max-patches", "100"]) == 0
    assert "chelsea" in capsys.readouterr().out


@pytest.mark.parametrize("image", [torch.full((3, 40, 40), 90, dtype=torch.uint8), photograph("coffee", 8, 8)])
def test_images_that_say_nothing_are_shown_without_figures(image: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    save("x.png", image)
    assert main(["coo", "x.png", "--sr", "x.png", "--theta", "20"]) == 0
    assert main(["coo", "x.png", "--theta", "20"]) == 0
    facts = json.loads(Path("dec_coo/coo.json").read_text())
    assert facts["score"] is None
    assert "nan" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["nowhere.png"], ["nowhere.png"]),
        (["empty"], ["'empty'", ".png"]),
        (["text.png"], ["text.png"]),
        (["skimage:nobody"], ["nobody"]),
        (["small.png"], ["small.png", "8 x 8", "6 x 20"]),
        (["a.png", "--sr", "a.png", "a.png"], ["--sr", "2 for 1"]),
        (["a.png", "--sr", "one"], ["a.png", "one"]),
        (["one", "--sr", "a.png"], ["one", "a.png"]),
        (["one", "--sr", "other"], ["one/x.png", "other/y.png"]),
        (["a.png", "--sr", "small.png"], ["a.png", "24 x 28", "small.png", "6 x 20"]),
        (["a.png", "--scale", "1"], ["scale", "1"]),
        (["a.png", "--patch-size", "6"], ["patch_size", "6"]),
        (["a.png", "--threshold", "-3"], ["threshold", "-3"]),
        (["a.png", "--theta", "1"], ["theta", "1"]),
        (["a.png", "--max-patches", "0"], ["max_patches", "0"]),
        (["a.png", "--seed", "99999999999999999999999"], ["seed", "99999999999999999999999"]),
        (["a.png", "--out", "text.png"], ["text.png"]),
    ],
)
def test_unusable_input_is_named_with_status_2(
    given: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    image = photograph("coffee", 24, 28)
    for path in ("a.png", "one/x.png", "other/y.png"):
        save(path, image)
    save("small.png", image[:, :6, :20])
    Path("empty").mkdir()
    Path("text.png").write_text("no image")
    assert main(["coo", *given]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("dec-kernels coo: error: ")
    for each in wanted:
        assert each in err


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_missing_package_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PACKAGES:
        importlib.import_module(name)  # one that fails within another's import would stay half imported
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["coo", "a.png"]) == 2
    err = capsys.readouterr().err
    assert missing in err
    assert 'pip install "dec-kernels[doctor]"' in err


def test_a_program_needs_nothing_but_torch() -> None:
    command = f"import sys; sys.modules |= dict.fromkeys({PACKAGES}); import torch; "
    command += "from dec_kernels.coo import over_smoothing; x = torch.rand(1, 3, 16, 16); "
    command += "print(over_smoothing(x, x, 4, threshold=0).score)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0.0\n"), done.stderr
