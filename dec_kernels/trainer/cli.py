"""``dec-train``: Lightning's command line for this trainer.

    dec-train fit --config demo_stage1            a config that ships with the package, by its name
    dec-train fit --config my.yaml --data.seed 3  a file of your own; single values may be replaced
    dec-train validate --config demo_stage1 --ckpt_path last.ckpt
    dec-train fit --help                          all there is

Unknown keys, in files and on the command line, are errors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from dec_kernels.trainer.data import SRDataModule
from dec_kernels.trainer.module import SuperResolution

_CONFIGS = files("dec_kernels.trainer") / "configs"


class TrainerCLI(LightningCLI):
    """LightningCLI for :class:`SuperResolution` and :class:`SRDataModule`, with shipped configs found by name."""

    def __init__(self, args: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(
            SuperResolution,
            SRDataModule,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            args=None if args is None else list(args),
            **kwargs,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        skipped = LightningCLI.subcommands()
        return {name: skipped[name] for name in ("fit", "validate", "test")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # The low-resolution images must have the size that the network expects: one place to set it.
        parser.link_arguments("data.scale", "model.generator.init_args.scale")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        given = sys.argv[1:] if args is None else args
        assert isinstance(given, list)
        self.config = parser.parse_args(_with_shipped_configs(given))


def shipped_configs() -> list[str]:
    """The names that ``--config`` knows."""
    return sorted(Path(entry.name).stem for entry in _CONFIGS.iterdir() if entry.name.endswith(".yaml"))


def _with_shipped_configs(args: Sequence[str]) -> list[str]:
    """``args`` with the names of shipped configs after ``--config`` and ``-c`` replaced by the files' paths."""
    resolved: list[str] = []
    previous = ""
    for arg in args:
        option, equals, value = arg.rpartition("=")
        if option == "--config" or (previous in ("--config", "-c") and not equals):
            arg = option + equals + _config_path(value)
        resolved.append(arg)
        previous = arg
    return resolved


def _config_path(name: str) -> str:
    if Path(name).exists():
        return name
    if name in shipped_configs():
        with as_file(_CONFIGS / f"{name}.yaml") as path:
            return str(path)
    if Path(name).suffix:
        return name  # a file's name: the parser says that it is not there
    raise SystemExit(f"dec-train: no config {name!r}: neither a file nor one of {', '.join(shipped_configs())}")


def main() -> None:
    """Entry point of ``dec-train``."""
    TrainerCLI()


if __name__ == "__main__":
    main()
