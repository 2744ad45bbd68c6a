"""From the checkout to an installation: the sdist, the wheels built from it, and what they say of themselves."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import torch
import yaml

import dec_kernels

ROOT = Path(__file__).parent.parent
VERSION = dec_kernels.__version__
CXX = shutil.which("c++")


def call(hook: str, sources: Path, to: Path, environment: dict[str, str]) -> tuple[Path, str]:
    """What the build backend makes of these sources, as a frontend asks for it, and what it prints to stderr."""
    program = f"import sys; from setuptools.build_meta import {hook}; print({hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(to)],
        cwd=sources, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return to / done.stdout.splitlines()[-1], done.stderr


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which there is no PyTorch, as where builds are isolated."""
    folder = tmp_path_factory.mktemp("isolated")
    (folder / "torch.py").write_text("raise ImportError('not in this build environment')")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory, isolated: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    made_here = shutil.ignore_patterns(".*", "build", "runs", "site", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(ROOT, folder / "checkout", ignore=made_here)
    return call("build_sdist", folder / "checkout", folder, isolated)[0]


@pytest.fixture
def sources(sdist: Path, tmp_path: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"dec_kernels-{VERSION}"


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".so" and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_the_sources_and_no_tests(sources: Path) -> None:
    for folder in ("csrc", "dec_kernels"):
        assert files(sources / folder) == files(ROOT / folder)
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "setup.py", "pyproject.toml"} <= files(sources)
    assert not (sources / "tests").exists()


def contents(wheel: Path) -> tuple[list[str], Message]:
    """The names of the files, and the fields of WHEEL and METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        parts = [archive.read(f"dec_kernels-{VERSION}.dist-info/{name}").decode() for name in ("WHEEL", "METADATA")]
        return archive.namelist(), Parser().parsestr(f"{parts[0].rstrip()}\n{parts[1]}")


def install(wheel: Path, folder: Path) -> Path:
    """The scripts of a new environment that holds this wheel, beside the PyTorch of the tests."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip(python, "install", "--no-index", "--no-deps", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    return python.parent


def pip(python: Path, *arguments: str) -> None:
    """Runs the pip of the tests on another environment."""
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--python", str(python), *arguments], check=True)


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


# Where it was imported from, the loss of "auto" and the equations', and what "auto" is.
PROGRAM = """
import dec_kernels, torch
from dec_kernels.backends import resolve
sr, hr = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
print(dec_kernels.__file__)
print(float(dec_kernels.dec_loss(sr, hr)), float(dec_kernels.dec_loss(sr, hr, backend="reference")))
print(resolve("auto", "auto", sr.device, sr.dtype, 192, 32).backend)
"""


def backend_of(scripts: Path) -> str:
    """What "auto" resolves to in an environment of `install`, where it computes the loss of the equations."""
    file, losses, backend = output(scripts / "python", "-I", "-c", PROGRAM).splitlines()
    assert Path(file).is_relative_to(scripts.parent)
    loss, expected = map(float, losses.split())
    assert loss == pytest.approx(expected, rel=1e-6)
    return backend


@pytest.mark.skipif(CXX is None, reason="there is no C++ compiler")
@pytest.mark.timeout(900)  # compilers take as long as other work on the machine makes them
def test_a_wheel_with_the_extension(sources: Path, tmp_path: Path) -> None:
    wheel, _ = call("build_wheel", sources, tmp_path, {})
    names, fields = contents(wheel)
    assert len([name for name in names if re.fullmatch(r"dec_kernels/_C\..*\.so", name)]) == 1
    assert fields["Root-Is-Purelib"] == "false"
    interpreter = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert fields["Tag"].startswith(f"{interpreter}-{interpreter}-")
    scripts = install(wheel, tmp_path / "environment")
    assert backend_of(scripts) == "cpp"
    assert "cpp: ready" in output(scripts / "dec-kernels", "env")


def test_a_wheel_without_a_compiler(sources: Path, tmp_path: Path) -> None:
    wheel, printed = call("build_wheel", sources, tmp_path, {"CXX": "/nowhere/c++"})
    assert "there is no C++ compiler '/nowhere/c++'" in left_out(printed)
    assert holds_python_alone(wheel)
    scripts = install(wheel, tmp_path / "environment")
    assert backend_of(scripts) == "torch"
    assert "cpp: the extension dec_kernels._C cannot be loaded" in output(scripts / "dec-kernels", "env")
    # What errors name as the remedy for a missing extra takes the installed package, from no index.
    pip(scripts / "python", "install", "--no-index", "--no-deps", "dec-kernels[doctor]")


def test_a_wheel_with_a_compiler_that_fails(sources: Path, tmp_path: Path) -> None:
    wheel, printed = call("build_wheel", sources, tmp_path, {"CXX": "false", "CC": "false"})
    assert "the compiler failed" in left_out(printed)
    assert holds_python_alone(wheel)


def test_a_wheel_of_an_isolated_build(sources: Path, tmp_path: Path, isolated: dict[str, str]) -> None:
    wheel, printed = call("build_wheel", sources, tmp_path, isolated)
    assert "PyTorch is not there while building" in left_out(printed)
    assert holds_python_alone(wheel)
    assert contents(wheel)[1]["Version"] == VERSION


def left_out(printed: str) -> str:
    """The one line which says that there is no extension, and why."""
    (line,) = [line for line in printed.splitlines() if line.startswith("dec-kernels: the C++ extension is left out")]
    return line


def holds_python_alone(wheel: Path) -> bool:
    """Whether a wheel holds the package without the extension, and says that it is for every platform."""
    names, fields = contents(wheel)
    package = {f"dec_kernels/{name}" for name in files(ROOT / "dec_kernels")} | {"dec_train.py"}
    assert {name for name in names if not name.startswith(f"dec_kernels-{VERSION}.dist-info/")} == package
    return (fields["Tag"], fields["Root-Is-Purelib"]) == ("py3-none-any", "true")


def test_all_that_names_the_version_names_the_same_one() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION
    headings = re.findall(r"^## \[(.*)\] - (unreleased|\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0][0] == VERSION


def test_a_tag_names_the_version() -> None:
    command = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "--list", "v*"]
    tags = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{VERSION}"}
