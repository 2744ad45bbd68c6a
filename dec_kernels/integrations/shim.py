"""``dec-kernels install-shim``: what a trainer needs that looks for losses and models in its own folders only."""

import argparse
from pathlib import Path
from typing import NamedTuple


class Trainer(NamedTuple):
    """What a trainer needs.

    Attributes:
        shims: for each file in a checkout, the adapter that it imports. The trainer imports every file that ends in
            _loss.py in its folder of losses, and neosr every file in its folder of models.
        install: how dec-kernels gets into the Python environment that the trainer runs in.
    """

    shims: dict[str, str]
    install: str


TRAINERS = {
    "traiNNer-redux": Trainer(
        {"traiNNer/losses/dec_loss.py": "trainner_redux"},
        "Install it in the environment that traiNNer-redux runs in: pip install path/to/dec-kernels",
    ),
    "neosr": Trainer(
        {"neosr/losses/dec_loss.py": "neosr", "neosr/models/dec_image.py": "neosr_models"},
        "`uv run --isolated` sees nothing but neosr's lock file. Add it there, in neosr's folder: "
        "uv add path/to/dec-kernels",
    ),
}

# How all versions of a shim begin, which is how a later version knows them.
MARK = "# Written by `dec-kernels install-shim "

# A training that does not use the loss must never end because of this file. An old PyTorch makes the import of
# dec_kernels end in errors of many kinds, so all of them are caught.
SHIM = (
    MARK
    + """{name}`. To undo it, delete this file.
import warnings

try:
    import dec_kernels.integrations.{adapter}  # noqa: F401
except Exception as error:
    warnings.warn(
        "DECLoss is not available in this training, since importing dec_kernels failed: "
        f"{{type(error).__name__}}: {{error}}. "
        "{install}"
    )
"""
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `install-shim`, whose `run` is the function below."""
    parser = subparsers.add_parser(
        "install-shim",
        help="make DECLoss known to a checkout of traiNNer-redux or neosr",
        description="Writes one short file into each folder where the trainer looks for losses and models, and shows "
        "it. Nothing else is changed; to undo it, delete the files.",
    )
    parser.add_argument("trainer", choices=TRAINERS, help="whose checkout it is")
    parser.add_argument("path", type=Path, metavar="PATH", help="the top folder of the checkout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the shims of `arguments.trainer` into the checkout at `arguments.path`, over those of older versions.

    Returns:
        0, the exit status.

    Raises:
        ValueError: there is no checkout of that trainer.
        FileExistsError: a file that is no shim has a shim's name; nothing is written.
    """
    name, trainer = arguments.trainer, TRAINERS[arguments.trainer]
    shims = {
        arguments.path / file: SHIM.format(name=name, adapter=adapter, install=trainer.install).encode()
        for file, adapter in trainer.shims.items()
    }
    for shim in shims:
        if not (shim.parent / "__init__.py").is_file():
            folder = shim.parent.relative_to(arguments.path).as_posix()
            raise ValueError(f"{arguments.path} is not a checkout of {name}: it has no {folder}/__init__.py")
        if shim.exists() and not shim.read_bytes().startswith(MARK.encode()):
            raise FileExistsError(f"{shim} exists and is not this shim; it is left as it is, and nothing is written")
    for shim, content in shims.items():
        if shim.exists() and shim.read_bytes() == content:
            print(f"{shim} is there already\n")
            continue
        print(f"{shim}, {'updated' if shim.exists() else 'new'}:\n\n{content.decode()}")
        shim.write_bytes(content)
    print(f"{name} needs dec-kernels in the Python environment that it runs in. {trainer.install}")
    return 0
