"""Adapters that make DECLoss available in other training frameworks.

Each adapter imports its framework, so `import dec_kernels` does not import the adapters.
"""

import functools
import warnings
from typing import Any


def missing(framework: str, install: str, error: ImportError) -> ImportError:
    """The error that an adapter raises if its framework cannot be imported.

    Args:
        framework: its name.
        install: a sentence that says how to install it.
        error: the exception that the import raised.
    """
    return ImportError(f"this adapter needs {framework}, but importing it failed: {error}. {install}")


def register(registry: Any, *losses: type) -> None:
    """Registers losses under their class names; warns of a name that is taken, and leaves that entry as it is."""
    for loss in losses:
        if loss.__name__ in registry:
            warnings.warn(
                f"the name {loss.__name__} is registered already, so dec_kernels does not register it", stacklevel=2
            )
        else:
            registry.register(loss)


def warn_where_ignored(base: Any, registry: Any) -> None:
    """Makes every model warn if its config has `dec_opt` and the model does not use it.

    Args:
        base: the base class of all models of the framework, whose first argument is the config. Models that use
            `dec_opt` have the attribute `takes_dec_opt`.
        registry: the registry of the framework's models; the warning lists those that use `dec_opt`.
    """
    # The frameworks ignore options that they do not know, so the training would run to its end without the loss.
    init = base.__init__

    @functools.wraps(init)
    def checked(self: Any, opt: dict[str, Any]) -> None:
        if (opt.get("train") or {}).get("dec_opt") and not hasattr(self, "takes_dec_opt"):
            names = [name for name, model in registry if hasattr(model, "takes_dec_opt")]
            warnings.warn(
                f"dec_opt has no effect: {type(self).__name__} ignores it and trains without DECLoss. Set model_type "
                f"to a model that uses it: {', '.join(names)}",
                stacklevel=2,
            )
        init(self, opt)

    base.__init__ = checked
