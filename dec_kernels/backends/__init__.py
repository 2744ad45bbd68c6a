"""The backends, what keeps each of them from running, and the choice among them.

A backend is a module with

- ``reasons(device, dtype) -> list[str]``: what keeps it from running rows of that kind here; empty if nothing does;
- ``forward(patches, constants) -> (Qpos, Qneg)``, (G, m) each;
- ``backward(patches, constants, alpha, beta) -> dL/dz``, (G, m, D), where alpha = dL/dQpos and beta = dL/dQneg, (G, m)
  each.

It sees prepared rows and returns sums or row gradients. It knows nothing of images, reduction or autograd.
"""

import os
from types import ModuleType

from torch import device as Device
from torch import dtype as Dtype

# Here `torch` is the backend beside this file; PyTorch's own names come by themselves.
from dec_kernels.backends import cpp, reference, torch, triton
from dec_kernels.spec import BACKENDS as NAMES

ENVIRONMENT = "DEC_KERNELS_BACKEND"
BACKENDS: dict[str, ModuleType] = {"triton": triton, "cpp": cpp, "torch": torch, "reference": reference}
# The reference is dense: it is never chosen, only asked for.
AUTO = ("triton", "cpp", "torch")


def choose(name: str, device: Device, dtype: Dtype) -> str:
    """The backend that runs: `name` itself, or for "auto" the first of triton, cpp and torch that can.

    The environment variable ``DEC_KERNELS_BACKEND`` takes the place of "auto"; a name in the code wins over it.

    Raises:
        ValueError: the environment variable names no backend.
        RuntimeError: the one asked for by name cannot run here; with the reasons of every backend.
    """
    if name == "auto":
        name = os.environ.get(ENVIRONMENT) or "auto"
        if name not in NAMES:
            raise ValueError(f"{ENVIRONMENT} must be one of {', '.join(map(repr, NAMES))}, got {name!r}")
    for candidate in AUTO if name == "auto" else (name,):
        if not BACKENDS[candidate].reasons(device, dtype):
            return candidate
    raise RuntimeError(f"backend={name!r} cannot run {dtype} on {device}.\n{explain(device, dtype)}")


def explain(device: Device, dtype: Dtype) -> str:
    """A line for each backend: ready, or the reasons why not."""
    lines = []
    for name, backend in BACKENDS.items():
        lines.append(f"  {name}: {'; '.join(backend.reasons(device, dtype)) or 'ready'}")
    return "\n".join(lines)
