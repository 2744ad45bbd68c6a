"""`dec-kernels`: the package's command line. Each subcommand is a module with `add_parser(subparsers)`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dec_kernels import __version__, coo, doctor, environment
from dec_kernels.console import command_line
from dec_kernels.integrations import shim

COMMANDS = (doctor, coo, environment, shim)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Args:
        argv: the arguments; None means `sys.argv[1:]`.

    Returns:
        The exit status: 2, with one message on stderr, if the input cannot be used; otherwise that of the subcommand.
    """
    parser = argparse.ArgumentParser("dec-kernels", description="Examine DECLoss on your images and on your machine.")
    parser.add_argument("--version", action="version", version=f"dec-kernels {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except BrokenPipeError:
        raise
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"dec-kernels {arguments.command}: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
