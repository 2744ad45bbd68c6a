"""`dec-kernels install-shim`: makes DECLoss known to frameworks that import losses only from their own folders."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple


class Framework(NamedTuple):
    """What a framework needs.

    Attributes:
        shims: for each file in its checkout, the adapter that the file imports. traiNNer-redux and neosr import every
            file in their folder of losses whose name ends in _loss.py, and neosr every file in its folder of models.
        install: a sentence that says how to install dec-kernels in the framework's Python environment.
    """

    shims: dict[str, str]
    install: str


FRAMEWORKS = {
    "traiNNer-redux": Framework(
        {"traiNNer/losses/dec_loss.py": "trainner_redux"},
        "Install it in the environment that traiNNer-redux runs in: pip install path/to/dec-kernels",
    ),
    "neosr": Framework(
        {"neosr/losses/dec_loss.py": "neosr", "neosr/models/dec_image.py": "neosr_models"},
        "`uv run --isolated` uses only the packages in neosr's lock file. Add it in neosr's folder: "
        "uv add path/to/dec-kernels",
    ),
}

# Shims of all versions begin with this, so that a later version recognizes them.
MARK = "# Written by `dec-kernels install-shim "

# This file must never end a training that does not use the loss. With an old PyTorch, importing dec_kernels can raise
# errors of many types, so the shim catches all of them.
SHIM = (
    MARK
    + """{name}`. To undo it, delete this file.
import warnings

try:
    import dec_kernels.integrations.{adapter}  # noqa: F401
except Exception as error:
    warnings.warn(
        "DECLoss is not available in this training, because importing dec_kernels failed: "
        f"{{type(error).__name__}}: {{error}}. "
        "{install}"
    )
"""
)


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand `install-shim`."""
    parser = subparsers.add_parser(
        "install-shim",
        help="make DECLoss known to a checkout of traiNNer-redux or neosr",
        description="Writes one short file into each folder where the framework looks for losses and models, and "
        "prints it. Nothing else is changed. To undo it, delete the files.",
    )
    parser.add_argument("framework", choices=FRAMEWORKS, help="the framework")
    parser.add_argument("path", type=Path, metavar="PATH", help="the top folder of its checkout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the shims of `arguments.framework` into the checkout at `arguments.path`, and replaces older versions.

    Returns:
        0, the exit status.

    Raises:
        ValueError: the path is not a checkout of the framework.
        FileExistsError: another file has the name of a shim. Then nothing is written.
    """
    name, framework = arguments.framework, FRAMEWORKS[arguments.framework]
    shims = {
        arguments.path / file: SHIM.format(name=name, adapter=adapter, install=framework.install).encode()
        for file, adapter in framework.shims.items()
    }
    for shim in shims:
        if not (shim.parent / "__init__.py").is_file():
            folder = shim.parent.relative_to(arguments.path).as_posix()
            raise ValueError(f"{arguments.path} is not a checkout of {name}: it has no {folder}/__init__.py")
        if shim.exists() and not shim.read_bytes().startswith(MARK.encode()):
            raise FileExistsError(f"{shim} exists and is not a shim of dec-kernels, so nothing is written")
    for shim, content in shims.items():
        if shim.exists() and shim.read_bytes() == content:
            print(f"{shim} is up to date\n")
            continue
        print(f"{shim}, {'updated' if shim.exists() else 'new'}:\n\n{content.decode()}")
        shim.write_bytes(content)
    print(f"{name} needs dec-kernels in its Python environment. {framework.install}")
    return 0
