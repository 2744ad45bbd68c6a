"""``dec-kernels doctor``: what does DECLoss do on these images, what does it cost here, and is this build right?

The data flows one way: `read` finds pairs of images, `crops` makes a batch of them, `facts` examines it (`examine`,
`positives`, `backends`) and puts it in words (`advice`), and `report`, `plot` and JSON show the facts.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path
from typing import Any

import torch

from dec_kernels.doctor import arguments as command_line
from dec_kernels.jsontext import to_json

EXTRA = ("cv2", "matplotlib", "numpy", "PIL", "rich")


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand ``doctor``."""
    help = "what the loss does on your images, what it costs here, and whether this build is right"
    status = "The exit status is 1 if a backend is wrong, and 2 if the input cannot be used."
    parser = subparsers.add_parser("doctor", help=help, description=f"Says {help}. {status}")
    parser.set_defaults(run=run)
    command_line.add(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examines the images, writes the plot, and prints or writes the facts.

    Returns:
        1 if a backend is wrong, otherwise 0.

    Raises:
        ImportError: a package of the extra is missing.
        OSError, TypeError, ValueError: the images or an argument cannot be used; the message says why.
    """
    _require_extra()
    from dec_kernels.doctor import backends, crops, facts, plot, read, report

    spec = command_line.spec(arguments)
    _require_folder(arguments.plot)
    if arguments.json not in (None, "-"):
        _require_folder(Path(arguments.json))
    device = arguments.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = read.find(arguments.sr, arguments.hr, spec.max_val)
    batch = crops.cut(source, arguments.crop, arguments.crops, arguments.seed, spec).to(device)
    backends.require(batch.sr, spec)
    found = facts.gather(batch, spec, share=arguments.share, l1_weight=arguments.l1_weight, seed=arguments.seed)
    plot.draw(found, arguments.plot)
    _write_json(found | {"plot": str(arguments.plot)}, arguments.json)
    if arguments.json != "-":
        report.show(found, arguments.plot)
    return 0 if all(check["right"] for check in found["checks"]) else 1


def _write_json(content: dict[str, Any], to: str | None) -> None:
    text = to_json(content)
    if to == "-":
        print(text, end="")
    elif to:
        Path(to).write_text(text, encoding="utf-8")


def _require_folder(path: Path) -> None:
    """Before the work, not after it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {path.parent} to write {path.name} into cannot be written to")


def _require_extra() -> None:
    for name in EXTRA:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f'{name} is missing ({error}): pip install "dec-kernels[doctor]"') from error
