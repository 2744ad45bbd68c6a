"""The configs that ship with the package, found by their names."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from dec_kernels.trainer.wording import did_you_mean

TRAININGS = files("dec_kernels.trainer") / "configs"
SWEEPS = TRAININGS / "sweeps"


def names_in(folder: Traversable) -> list[str]:
    """The names of the configs in `folder`, one of the above."""
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_config(name: str, folder: Traversable, kind: str) -> Traversable:
    """The file `name`, or else the config of that name in `folder`.

    Raises:
        FileNotFoundError: there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    names = names_in(folder)
    if name in names:
        return folder / f"{name}.yaml"
    raise FileNotFoundError(
        f"no {kind} {name!r}: neither a file nor one of {', '.join(names)}.{did_you_mean(name, names)}"
    )
