"""``dec-kernels install-shim``: the one file that a trainer needs which looks for losses in its own folder only."""

import argparse
from pathlib import Path

# For each trainer: the folder in its checkout where it imports every file that ends in _loss.py, and the adapter.
SHIMS = {
    "traiNNer-redux": ("traiNNer/losses", "dec_kernels.integrations.trainner_redux"),
    "neosr": ("neosr/losses", "dec_kernels.integrations.neosr"),
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `install-shim`, whose `run` is the function below."""
    parser = subparsers.add_parser(
        "install-shim",
        help="make DECLoss known to a checkout of traiNNer-redux or neosr",
        description="Writes one file of two lines, dec_loss.py, into the folder where the trainer looks for losses, "
        "and shows it. Nothing else is changed; to undo it, delete the file.",
    )
    parser.add_argument("trainer", choices=SHIMS, help="whose checkout it is")
    parser.add_argument("path", type=Path, metavar="PATH", help="the top folder of the checkout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the shim of `arguments.trainer` into the checkout at `arguments.path`.

    Returns:
        0, the exit status.

    Raises:
        ValueError: there is no checkout of that trainer.
        FileExistsError: a different file has the shim's name; it is left as it is.
    """
    folder, adapter = SHIMS[arguments.trainer]
    if not (arguments.path / folder / "__init__.py").is_file():
        raise ValueError(f"{arguments.path} is not a checkout of {arguments.trainer}: it has no {folder}/__init__.py")
    shim = arguments.path / folder / "dec_loss.py"
    content = (
        f"# Written by `dec-kernels install-shim {arguments.trainer}`. To undo it, delete this file.\n"
        f"import {adapter}  # noqa: F401\n"
    )
    if shim.exists():
        if shim.read_text() != content:
            raise FileExistsError(f"{shim} exists and is not this shim; it is left as it is")
        print(f"{shim} is there already")
        return 0
    print(f"{shim}:\n\n{content}")
    shim.write_text(content)
    print(f"Written. {arguments.trainer} needs dec-kernels in the Python environment that it runs in.")
    return 0
