"""The extra `doctor`: what those commands need that read images and draw."""

from __future__ import annotations

import importlib

PACKAGES = ("cv2", "matplotlib", "numpy", "PIL", "rich")


def require_extra(command: str) -> None:
    """Raises ImportError if a package of the extra is missing; the message says that `command` needs it."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f'{command} needs {name}: pip install "dec-kernels[doctor]" ({error})') from error
