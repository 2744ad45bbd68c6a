"""`dec-train`: Lightning's command line for this trainer.

    dec-train fit --config paper_stage1            a config that ships with the package, by its name
    dec-train fit --config my.yaml --data.seed 3   a file of your own; single values may be replaced
    dec-train fit --config my.yaml --resume auto   goes on from the last checkpoint in the run's folder, if it has one
    dec-train test --config runs/x/config.yaml     measures its best checkpoint, or --ckpt_path, or --model.weights
    dec-train predict --weights W --input IN --output OUT
    dec-train sweep --config thresholds --out runs/thresholds
    dec-train compare --hr DIR NAME=DIR NAME=DIR --out comparison
    dec-train study --key study.key.json ANSWERS... --out study
    dec-train degrade --input IN --output SHEET.png
    dec-train fit --help                           all there is

Unknown keys, in files and on the command line, are errors.
"""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import as_file
from pathlib import Path
from traceback import walk_tb
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dec_kernels.console import INTERRUPTED, USE_UTF8, command_line
from dec_kernels.trainer import degrade, predict, sweep
from dec_kernels.trainer.checkpoints import (
    BEST,
    LAST,
    AtomicCheckpointIO,
    BestCheckpoint,
    CheckpointError,
    LastCheckpoint,
    require_checkpoint,
)
from dec_kernels.trainer.compare import run, study
from dec_kernels.trainer.data import SRDataModule, UnreadableImageError
from dec_kernels.trainer.data.cache import CacheError
from dec_kernels.trainer.errors import is_out_of_memory
from dec_kernels.trainer.evaluation import EvaluationReport
from dec_kernels.trainer.files import require_folder
from dec_kernels.trainer.loggers import LastingCSVLogger
from dec_kernels.trainer.module import NonFiniteError, SuperResolution
from dec_kernels.trainer.parser import TrainingParser, shortened
from dec_kernels.trainer.progress import TrainingBar
from dec_kernels.trainer.ranges import PositiveInt
from dec_kernels.trainer.shipped import TRAININGS, find_config
from dec_kernels.trainer.wording import did_you_mean

# What Lightning warns of though it is meant to be so: a resumed run finds its own files (and keeps its log, see
# loggers.py), and sweeps and tests call the command line from within Python.
_EXPECTED_WARNINGS = (
    "Experiment logs directory",
    "Checkpoint directory",
    "Precision bf16-mixed is not supported by the model summary",
    "LightningCLI's args parameter",
    r"`isinstance\(treespec, Leaf",
)

SETTINGS = "config.yaml"
# Those that are not Lightning's, each with a parser of its own.
_OTHERS: dict[str, Callable[[list[str]], int]] = {
    "predict": predict.main,
    "sweep": lambda args: sweep.main(args, main),
    "compare": run.main,
    "study": study.main,
    "degrade": degrade.main,
}
COMMANDS = ("fit", "validate", "test", *_OTHERS)


class Trainer(pl.Trainer):
    """Lightning's Trainer, whose `fit` can resume a run."""

    def fit(  # type: ignore[override]
        self, model: SuperResolution, datamodule: SRDataModule, resume: str = "never"
    ) -> None:
        """Train.

        Args:
            resume: "never"; "auto", to go on from the last checkpoint of the run's folder if it has one; or the file of
                a checkpoint to go on from.
        """
        out = Path(self.default_root_dir)
        last = out / LAST
        if resume == "never":
            if any((out / name).exists() for name in (SETTINGS, LAST, BEST)):
                raise ValueError(
                    f"{out} holds a training already: go on with it by --resume auto, or name another folder by --out"
                )
            checkpoint = None
        elif resume == "auto":
            checkpoint = str(last) if last.exists() else None
        elif Path(resume).is_file():
            checkpoint = resume
        else:
            raise FileNotFoundError(f"resume must be 'never', 'auto' or the file of a checkpoint, got {resume!r}")
        if checkpoint is not None:
            require_checkpoint(Path(checkpoint), out)
            model.weights = None  # the checkpoint has what has become of them
        super().fit(model, datamodule=datamodule, ckpt_path=checkpoint)


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` when a training really begins, without what belongs to one call only: so every subcommand
    takes it, and settings that do not fit a checkpoint do not replace those that do."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        pass

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.config = self.config.clone()
            self.config.pop("resume", None)
            super().setup(trainer, pl_module, "fit")


class TrainerCLI(LightningCLI):
    """LightningCLI for `SuperResolution` and `SRDataModule`, with shipped configs found by name."""

    def __init__(self, args: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(
            SuperResolution,
            SRDataModule,
            trainer_class=Trainer,
            # The sampler shares samples out by itself, such that any number of processes sees the same ones.
            trainer_defaults={"use_distributed_sampler": False, "num_sanity_val_steps": 0},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True, "config_filename": SETTINGS},
            parser_kwargs={"description": f"Commands: {', '.join(COMMANDS)}; each has its own --help."},
            parser_class=TrainingParser,
            args=None if args is None else list(args),
            **kwargs,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        evaluation = {"model", "dataloaders", "datamodule", "weights_only", "verbose"}
        return {"fit": {"model", "datamodule"}, "validate": evaluation, "test": evaluation}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--out", type=str, help="The run's folder: checkpoints, logs, config, figures, pictures.")
        parser.add_argument(
            "--checkpoint_every", type=PositiveInt, default=1000, help="Optimizer steps between checkpoints."
        )
        # The low-resolution images must have the size that the network expects: one place to set it.
        parser.link_arguments("data.scale", "model.generator.init_args.scale", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        given = sys.argv[1:] if args is None else args
        assert isinstance(given, list)
        self.names_weights = any(arg.partition("=")[0] == "--model.weights" for arg in given)
        self.config = parser.parse_args(_with_shipped_configs(given))

    def _parse_ckpt_path(self) -> None:
        # Lightning would look for settings in the checkpoint, where this trainer keeps none, and end in a traceback if
        # it is damaged.
        pass

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        chosen = self._get(self.config_init, "trainer")
        if self._get(self.config, "out") is None:
            raise ValueError("out is missing: the run's folder, for example --out runs/first")
        out = Path(self._get(self.config, "out"))
        every = self._get(self.config, "checkpoint_every")
        require_folder(out, "--out")
        kwargs["default_root_dir"] = out
        kwargs["plugins"] = [*_as_list(chosen["plugins"]), AtomicCheckpointIO()]
        if self.subcommand not in (None, "fit"):
            kwargs["logger"] = False  # the run's log is that of its training
        elif chosen["logger"] is None:
            kwargs["logger"] = [TensorBoardLogger(out, name="", version=""), LastingCSVLogger(out)]
        callbacks: list[Callback] = []
        if chosen["enable_progress_bar"] is not False:
            callbacks.append(TrainingBar())  # first, so that it is closed when the others print
        callbacks.append(EvaluationReport())
        if chosen["enable_checkpointing"] is not False:
            callbacks += [BestCheckpoint(out), LastCheckpoint(out, every)]
        kwargs["callbacks"] = [*_as_list(chosen["callbacks"]), *callbacks]
        return super().instantiate_trainer(**kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand == "fit":
            return arguments
        arguments["verbose"] = False  # EvaluationReport prints a better table
        if arguments["ckpt_path"] is None and not self.names_weights:
            best = Path(self.trainer.default_root_dir) / BEST
            if not best.exists():
                raise ValueError(
                    f"no weights to {subcommand}: {best} does not exist; name --ckpt_path or --model.weights"
                )
            arguments["ckpt_path"] = str(best)
        if arguments["ckpt_path"] is not None:
            self.model.weights = None  # what the training started from
        return arguments


def _with_shipped_configs(args: Sequence[str]) -> list[str]:
    """`args` with the names of shipped configs after `--config` and `-c` replaced by the files' paths."""
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
    if Path(name).suffix:
        if Path(name).is_file():  # if it is not there, the parser says so
            _require_mapping(Path(name))
        return name
    with as_file(find_config(name, TRAININGS, "config")) as path:
        return str(path)


def _require_mapping(config: Path) -> None:
    """Raises ValueError where `config` is not a mapping: the parser would not name the file, or end in a traceback."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"the config {config} is not text in UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"the config {config} is not YAML: {error}") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"the config {config} must hold keys and their values, and it holds {kind}")


def explain(error: BaseException) -> str | None:
    """A sentence for an error that the user can do something about; None for one that needs its traceback."""
    if is_out_of_memory(error):
        return (
            "out of memory. In training, lower data.batch_size (trainer.accumulate_grad_batches makes up for it), "
            "data.crop_size or the network's size, or set trainer.precision to bf16-mixed; in validation and test, set "
            "model.tile, for example to 256, or lower it, and leave out the largest images, whose figures take 0.3 GB "
            f"a megapixel. ({(str(error) or type(error).__name__).splitlines()[0]})"
        )
    if isinstance(error, CheckpointError):
        return f"{error}. When there is space again, --resume auto goes on from there"
    if isinstance(error, UnreadableImageError):
        # Behind a worker's traceback and the error's name, if it comes from there.
        return str(error).rpartition(f"{UnreadableImageError.__name__}: ")[2].strip()
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error}. Checkpoints are intact: when there is space again, --resume auto goes on from the last one"
    if "Error(s) in loading state_dict" in str(error):
        return f"the checkpoint is that of another model: {' '.join(str(error).split())[:500]}"
    if (words := shortened(str(error))) != str(error):  # a constructor's own words, inside of the parser's
        return words
    if isinstance(error, (MisconfigurationException, FileNotFoundError, CacheError, NonFiniteError)):
        return str(error)
    if isinstance(error, UnicodeError):
        return f"{error}. {USE_UTF8}"
    if isinstance(error, OSError) and error.filename is not None:
        return str(error)
    return str(error) if isinstance(error, (ImportError, ValueError)) and _raised_for_the_user(error) else None


def fail(program: str, error: Exception) -> int:
    """Says in a sentence on stderr what is wrong, and returns the exit status; raises what needs its traceback."""
    sentence = explain(error)
    if sentence is None:
        raise error
    print(f"{program}: {sentence}", file=sys.stderr)
    return 1


def _raised_for_the_user(error: BaseException) -> bool:
    """Whether `error` was raised by this package or Lightning, in words about the settings."""
    module: str = [frame for frame, _ in walk_tb(error.__traceback__)][-1].f_globals["__name__"]
    return module.startswith(("dec_kernels.", "lightning."))


def _as_list(setting: Any) -> list[Any]:
    return setting if isinstance(setting, list) else [] if setting is None else [setting]


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `dec-train`: runs it with `argv`, sys.argv's if None, and returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    try:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise SystemExit(
                f"dec-train: no command {args[0]!r}: known are {', '.join(COMMANDS)}.{did_you_mean(args[0], COMMANDS)}"
            )
        if args and args[0] in _OTHERS:
            return _OTHERS[args[0]](args[1:])
        TrainerCLI(args)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise
        if isinstance(end.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored
            return INTERRUPTED
        if isinstance(end, SIGTERMException):
            return 143
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        return fail("dec-train", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
