"""Adapters that put DECLoss into other people's trainers.

Each module here imports the framework that it is for; `import dec_kernels` imports none of them.
"""

import functools
import warnings
from typing import Any


def missing(framework: str, install: str, error: ImportError) -> ImportError:
    """What an adapter raises where importing its `framework` ended in `error`; `install` says how."""
    return ImportError(
        f"this adapter needs {framework}, and importing that failed: {error}. {install} "
        "dec_kernels itself does not need it."
    )


def register(registry: Any, *losses: type) -> None:
    """Enter the `losses` under their class names. A name that is taken stays its owner's, with a warning."""
    for loss in losses:
        if loss.__name__ in registry:
            warnings.warn(f"{loss.__name__} is registered already, by another package; it is left so", stacklevel=2)
        else:
            registry.register(loss)


def warn_where_ignored(base: Any, registry: Any) -> None:
    """Let every model that derives from `base` and has no slot for `dec_opt` warn of one in its config.

    Args:
        base: the class that all models of the framework derive from; it is made with the config. Models with the slot
            have the attribute `takes_dec_opt`.
        registry: the framework's models, from which the warning takes the names of those with the slot.
    """
    # The frameworks ignore options that they do not know: the training would run to its end without the loss.
    init = base.__init__

    @functools.wraps(init)
    def checked(self: Any, opt: dict[str, Any]) -> None:
        if (opt.get("train") or {}).get("dec_opt") and not hasattr(self, "takes_dec_opt"):
            names = [name for name, model in registry if hasattr(model, "takes_dec_opt")]
            warnings.warn(
                f"dec_opt has no effect: the model {type(self).__name__} ignores it and trains without DECLoss. Models "
                f"that take it, as model_type: {', '.join(names)}",
                stacklevel=2,
            )
        init(self, opt)

    base.__init__ = checked
