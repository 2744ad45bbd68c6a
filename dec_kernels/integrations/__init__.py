"""Adapters that put DECLoss into other people's trainers.

Each module here imports the framework that it is for; `import dec_kernels` imports none of them.
"""

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
