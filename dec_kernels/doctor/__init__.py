"""`dec-kernels doctor`: what DECLoss does on given images, what it costs here, and whether this build is correct.

The data flows one way. `pairs` finds pairs of images, and `crops` cuts one batch from them. `facts` examines the batch
(`positives`, `examine`, `costs`, `checks`, `landmarks`) and describes the results in sentences (`advice`). `tables`,
`plot` and the JSON show the facts.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from dec_kernels.doctor import options
from dec_kernels.extra import require_extra
from dec_kernels.jsontext import to_json


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand `doctor`."""
    help = "report what the loss does on your images, what it costs here, and whether this build is correct"
    status = "The exit status is 1 if a backend gives wrong results, and 2 if the input cannot be used."
    parser = subparsers.add_parser("doctor", help=help, description=f"{help.capitalize()}. {status}")
    parser.set_defaults(run=run)
    options.add(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examines the images, writes the plot, and prints or writes the facts.

    Returns:
        1 if a backend gives wrong results, otherwise 0.

    Raises:
        ImportError: a package of the extra `doctor` is missing.
        OSError, TypeError, ValueError: the images or an argument cannot be used; the message says why.
    """
    require_extra("the doctor")
    from dec_kernels.doctor import checks, crops, facts, pairs, plot, tables

    spec = options.spec(arguments)
    _require_folder(arguments.plot)
    if arguments.json not in (None, "-"):
        _require_folder(Path(arguments.json))
    device = arguments.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = pairs.find(arguments.sr, arguments.hr, spec.max_val)
    batch = crops.cut(source, arguments.crop, arguments.crops, arguments.seed, spec).to(device)
    checks.require_backend(batch.sr, spec)
    found = facts.gather(batch, spec, share=arguments.share, l1_weight=arguments.l1_weight, seed=arguments.seed)
    plot.draw(found, arguments.plot)
    _write_json({**found, "plot": str(arguments.plot)}, arguments.json)
    if arguments.json != "-":
        tables.show(found, arguments.plot)
    return 0 if all(check["right"] for check in found["checks"]) else 1


def _write_json(content: dict[str, Any], to: str | None) -> None:
    text = to_json(content)
    if to == "-":
        print(text, end="")
    elif to:
        Path(to).write_text(text, encoding="utf-8")


def _require_folder(path: Path) -> None:
    """Raises before the work rather than after it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write {path}: the folder {path.parent} is not writable")
