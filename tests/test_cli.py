import subprocess
import sys

import pytest

from dec_kernels import __version__, environment
from dec_kernels.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"dec-kernels {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["cure"]])
def test_a_missing_or_unknown_command_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: dec-kernels" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(f"\n    {command}" in listed for command in ("doctor", "coo", "env", "install-shim"))


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "dec_kernels.cli", "env"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"dec_kernels: {__version__}" in done.stdout


@pytest.mark.parametrize("error", [ValueError, TypeError, OSError, ImportError])
def test_an_expected_error_is_one_message_and_status_2(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise error("the cable is loose")

    monkeypatch.setattr(environment, "report", fail)
    assert main(["env"]) == 2
    assert capsys.readouterr() == ("", "dec-kernels env: error: the cable is loose\n")


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "report", lambda: {}["missing"])
    with pytest.raises(KeyError):
        main(["env"])
