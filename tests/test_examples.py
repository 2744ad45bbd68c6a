"""The scripts in examples/, each as a user runs it, but on a CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
ON_A_CPU = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
ONE_PROCESS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]


def epochs(example: str, *launcher: str) -> list[tuple[float, float]]:
    """L1 and DECLoss of each epoch, as the script prints them."""
    command = [sys.executable, *launcher, str(EXAMPLES / example)]
    done = subprocess.run(command, env=ON_A_CPU, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^epoch \d: L1 (\S+), DECLoss (\S+)$", done.stdout, re.MULTILINE)
    assert len(found) == 5
    return [(float(pixel), float(contrast)) for pixel, contrast in found]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize("example", ["plain.py", "lightning_module.py", "accelerate_loop.py"])
def test_both_losses_fall(example: str) -> None:
    first, *_, last = epochs(example)
    assert last[0] < first[0]
    assert last[1] < first[1]


def test_two_processes_train_as_one_with_the_whole_batch() -> None:
    two, one = epochs("ddp_gathered.py"), epochs("ddp_gathered.py", *ONE_PROCESS)
    assert two[-1] != two[0]
    for figures, expected in zip(two, one, strict=True):
        assert figures == pytest.approx(expected, abs=2e-4)


def test_larger_networks_tell_more_apart(tmp_path: Path) -> None:
    pictures, printed = [tmp_path / "first.png", tmp_path / "second.png"], []
    for picture in pictures:
        command = [sys.executable, str(EXAMPLES / "model_size.py"), str(picture)]
        printed.append(subprocess.run(command, env=ON_A_CPU, capture_output=True, text=True, check=True).stdout)
    assert printed[0] == printed[1]
    found = re.findall(r"^(\d+) parameters: accuracy (\S+)$", printed[0], re.MULTILINE)
    assert [int(parameters) for parameters, _ in found] == [5, 9, 33]
    small, middle, large = (float(accuracy) for _, accuracy in found)
    assert 0.5 < small < middle - 0.03
    assert middle < large - 0.03
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(b"\x89PNG")
