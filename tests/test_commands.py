"""Every command line of the package, run once, in places that are hard on it.

Consoles lack letters, pipes are closed, there is no home directory, and folders are not writable. These tests cut
across all command lines.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from dec_kernels.console import CLOSED_PIPE

pytest.importorskip("lightning", reason="the trainer's dependencies are not installed")

ROOT = Path(__file__).parents[1]
HOMES = ("MPLCONFIGDIR", "TORCH_HOME", "TRITON_CACHE_DIR", "TRITON_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


class Done(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


class Place(NamedTuple):
    """A folder to work with, what it holds for the commands, the process that runs them, and what each came to."""

    folder: Path
    photos: Path
    encoding: str
    runner: "subprocess.Popen[str]"
    done: dict[str, Done]


def obey_permissions() -> None:
    """For root, too."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


CONSOLES = {
    "cp1252": ("Käthes Fotos → 雪", {"PYTHONIOENCODING": "cp1252"}),
    "ascii": ("Kate's photos", {"PYTHONUTF8": "0", "LC_ALL": "C"}),  # names of files are bytes there
}


@pytest.fixture(scope="module", params=CONSOLES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    name, environment = CONSOLES[request.param]
    folder = tmp_path_factory.mktemp("console") / name
    photos = folder / "the pictures [1]"
    photos.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for path, height, width in (("äpfel 雪.png", 48, 64), ("b [2].png", 48, 48), ("c.png", 64, 48)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(photos / path)
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    kept = {name: value for name, value in os.environ.items() if name not in (*HOMES, "PYTHONUNBUFFERED", "LANG")}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")]), "HOME": str(locked / "missing")}
    write_configs(folder, photos)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forked_commands"],
        env=kept | paths | {"OMP_NUM_THREADS": "1"} | environment,
        cwd=locked,
        preexec_fn=obey_permissions,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # not a file: Python takes its streams for what they were at the start
        encoding="ascii",
    ) as runner:
        place = Place(folder, photos, request.param, runner, {})
        place.done.update(run(place, commands(folder, photos)))
        yield place


def write_configs(folder: Path, photos: Path) -> None:
    checkout = folder / "a checkout" / "traiNNer" / "losses"
    checkout.mkdir(parents=True)
    (checkout / "__init__.py").touch()
    (folder / "config.yaml").write_text(
        f"""
seed_everything: 0
trainer: {{accelerator: cpu, max_epochs: 1, log_every_n_steps: 1}}
model:
  generator:
    class_path: dec_kernels.trainer.models.RRDBNet
    init_args: {{num_feat: 4, num_block: 1, num_grow_ch: 2}}
  dec: {{class_path: dec_kernels.DECLoss, init_args: {{patch_size: 8}}}}
data: {{train: ["{photos}"], val: ["{photos}"], test: ["{photos}"], crop_size: 32, batch_size: 2, batches_per_epoch: 1}}
""",
        encoding="utf-8",
    )
    (folder / "sweep.yaml").write_text(
        f"""
title: weight → 雪
base: "{folder / "config.yaml"}"
figure: {{kind: line, x: {{label: "weight → 雪"}}}}
runs:
  "ä → 0.1": {{model.dec_weight: 0.1}}
""",
        encoding="utf-8",
    )


def commands(folder: Path, photos: Path, to: Path | None = None) -> dict[str, tuple[str, list[str]]]:
    """Each command with its arguments; it writes its results to `folder`, or to `to` if that is given."""
    to = to or folder
    fit = ["--config", f"{folder}/config.yaml"]
    evaluated = ["--config", f"{folder}/run/config.yaml", "--ckpt_path", f"{folder}/run/checkpoints/last.ckpt"]
    out = ["--out", f"{to}/run"]
    doctor = ["doctor", str(photos), str(photos), "--crop", "32", "--crops", "2", "--plot", f"{to}/plot.png"]
    return {
        "env": ("dec-kernels", ["env"]),
        "version": ("dec-kernels", ["--version"]),
        "doctor": ("dec-kernels", [*doctor, "--json", f"{to}/facts.json"]),
        "install-shim": ("dec-kernels", ["install-shim", "traiNNer-redux", f"{folder}/a checkout"]),
        "fit": ("dec-train", ["fit", *fit, *out]),
        "validate": ("dec-train", ["validate", *evaluated, *out]),
        "test": ("dec-train", ["test", *evaluated, *out]),
        "predict": (
            "dec-train",
            ["predict", *("--weights", evaluated[-1], "--input", str(photos), "--output", f"{to}/upscaled")],
        ),
        "sweep": ("dec-train", ["sweep", "--config", f"{folder}/sweep.yaml", "--out", f"{to}/sweep"]),
        "demo": ("demo", ["--help"]),
    }


NAMES = tuple(commands(Path(), Path()))


def run(place: Place, jobs: dict[str, tuple[str, list[str]]], closed: tuple[str, ...] = ()) -> dict[str, Done]:
    """Runs commands in a folder that cannot be written to; streams named in `closed` are pipes that nobody reads."""
    outputs = place.folder / f"printed {len(list(place.folder.iterdir()))}"
    outputs.mkdir()
    asked = [
        {"command": command, "arguments": arguments, "output": str(outputs / name), "closed": closed}
        for name, (command, arguments) in jobs.items()
    ]
    stdin, stdout, stderr = place.runner.stdin, place.runner.stdout, place.runner.stderr
    assert stdin
    assert stdout
    assert stderr
    print(json.dumps(asked), file=stdin, flush=True)
    answer = stdout.readline()
    assert answer, stderr.read()
    statuses = json.loads(answer)
    texts = [
        [
            "" if stream in closed else (outputs / f"{name}.{stream}").read_text(encoding=place.encoding)
            for stream in ("out", "err")
        ]
        for name in jobs
    ]
    return {name: Done(status, *text) for name, status, text in zip(jobs, statuses, texts, strict=True)}


def is_clean(done: Done) -> bool:
    return not any(word in done.out + done.err for word in ("Traceback", "Exception ignored", "Error:"))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_works(place: Place, name: str) -> None:
    done = place.done[name]
    assert done.status == 0, done
    assert is_clean(done), done


def test_what_a_console_lacks_is_escaped(place: Place) -> None:
    for name in ("test", "validate", "sweep"):
        text = place.done[name].out
        assert "\\u96ea" in text, text
    assert "äpfel" in place.done["test"].out or place.encoding == "ascii"
    assert {path.name for path in (place.folder / "upscaled").iterdir()} == {"äpfel 雪.png", "b [2].png", "c.png"}


@pytest.mark.parametrize("place", ["cp1252"], indirect=True)
def test_a_closed_pipe_ends_every_command_quietly(place: Place) -> None:
    elsewhere = place.folder / "closed"
    elsewhere.mkdir()
    jobs = commands(place.folder, place.photos, elsewhere)
    for name, done in run(place, jobs, closed=("out",)).items():
        assert done.status == CLOSED_PIPE, (name, done)
        assert is_clean(done), (name, done)
    assert not [*elsewhere.rglob("*.part")]
    # The errors go into the pipe as well; and a table as JSON.
    jobs["doctor"][1][-1] = "-"
    both = run(place, {name: jobs[name] for name in ("doctor", "test", "predict")}, closed=("out", "err"))
    assert {name: done.status for name, done in both.items()} == dict.fromkeys(both, CLOSED_PIPE)


@pytest.mark.parametrize("place", ["cp1252"], indirect=True)
def test_a_folder_that_cannot_be_written_to_is_named(place: Place) -> None:
    jobs = commands(place.folder, place.photos, Path("here"))
    jobs["doctor"] = ("dec-kernels", ["doctor", str(place.photos), str(place.photos)])  # its plot goes to this folder
    jobs["demo"] = ("demo", ["--quick"])
    jobs["cache"] = (
        "dec-train",
        [*jobs["fit"][1][:-1], str(place.folder / "cached"), "--data.cache", "disk"],  # which lies in the home
    )
    named = {
        "doctor": (2, "dec_doctor.png"),
        "fit": (1, "the folder . "),
        "validate": (1, "the folder . "),
        "test": (1, "the folder . "),
        "predict": (2, "--output here/upscaled: the folder . "),
        "sweep": (2, "--out here/sweep: the folder . "),
        "demo": (2, "'runs'"),
        "cache": (1, "data.cache_dir"),
    }
    for name, done in run(place, {name: jobs[name] for name in named}).items():
        status, message = named[name]
        assert done.status == status, (name, done)
        assert message in done.err, (name, done)
        assert is_clean(done), (name, done)


@pytest.mark.parametrize("place", ["ascii"], indirect=True)
def test_letters_that_python_does_not_take_for_utf8(place: Place) -> None:
    """Where its encoding of files and names is another one."""
    config = place.folder / "with a letter.yaml"
    config.write_text((place.folder / "config.yaml").read_text() + f"out: {place.folder}/ä\n", encoding="utf-8")
    jobs = {
        "content": ("dec-train", ["fit", "--config", str(config)]),
        "name": ("dec-train", ["fit", "--config", f"{place.folder}/config.yaml", "--data.train", "[ä]"]),
    }
    reasons = {"content": (1, "0xc3"), "name": (2, "surrogates")}
    for name, done in run(place, jobs).items():
        status, reason = reasons[name]
        assert done.status == status, done
        assert reason in done.err, done
        assert "PYTHONUTF8=1" in done.err, done
        assert is_clean(done), done
