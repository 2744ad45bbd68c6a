"""The center-oriented optimization (COO) problem of section 3 of the paper, measured: `dec-kernels coo`.

The data flows one way. `linear` splits an image into what a degradation keeps and what it loses. `neighbours` finds the
patches whose LR patches are alike; `groups` measures each group, with the entropies of `gaussian`. `problem` does so
for images, and scores a network's outputs. For the command, `photographs` reads the images, `facts` sums up, and
`tables`, `plot` and the JSON show the facts.

`examine` and `over_smoothing` are the same for a program. They need nothing but PyTorch.
"""

from __future__ import annotations

import argparse
from typing import Any

from dec_kernels.coo import options
from dec_kernels.coo.problem import CenterProblem, OverSmoothing, Settings, examine, over_smoothing
from dec_kernels.extra import require_extra
from dec_kernels.jsontext import to_json

__all__ = ["CenterProblem", "OverSmoothing", "Settings", "add_parser", "examine", "over_smoothing", "run"]


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand `coo`."""
    help = "report how much your images make a model over-smooth, and how far the outputs of one are over-smoothed"
    status = "The exit status is 2 if the input cannot be used."
    parser = subparsers.add_parser("coo", help=help, description=f"{help.capitalize()}. {status}")
    parser.set_defaults(run=run)
    options.add(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examines the images, writes facts and pictures into a folder, and prints the facts.

    Returns:
        0.

    Raises:
        ImportError: a package of the extra `doctor` is missing.
        OSError, TypeError, ValueError: the images or an argument cannot be used; the message says why.
    """
    require_extra("coo")
    from dec_kernels.coo import facts, photographs, plot, tables

    settings = options.settings(arguments)
    photos, notes = photographs.read(arguments.hr, arguments.sr, settings.scale, settings.patch)
    arguments.out.mkdir(parents=True, exist_ok=True)  # before the work: it may fail
    problem = examine([photo.hr for photo in photos], **vars(settings))
    score = None if arguments.sr is None else problem.score([photo.sr for photo in photos if photo.sr is not None])
    found = facts.gather(problem, score, [photo.name for photo in photos], notes)
    (arguments.out / "coo.json").write_text(to_json(found), encoding="utf-8")
    plot.draw(found, problem, score, photos, arguments.out)
    tables.show(found, arguments.out)
    return 0
