"""The backends, what keeps each of them from running, and the choice among them.

A backend is a module with

- ``reasons(device, dtype, dim) -> list[str]``: what keeps it from running rows of `dim` values here; empty if nothing
  does;
- ``prepare(batch, patch_size, per_image, constants, dtype) -> rows``: what its kernels read of a
  `dec_kernels.patches.Batch`. `rows.order`, (G, r), says which patch of its group a row is, and `rows.kept`, (bytes,)
  uint8, is what the backward can have them from; empty where it has to `prepare` them again;
- ``kept_bytes(own, columns, patch_size, per_image, constants)``: how many that are, for images `own` among so many
  columns in all, without a look at values;
- ``restore(kept, own, columns, patch_size, per_image, constants) -> rows``: those rows, if it keeps any;
- ``forward(rows, constants) -> (Qpos, Qneg)``, (2, G * r) in image order;
- ``backward(rows, constants, weights) -> gradients`` of the rows, for `to_images`, where weights = (alpha, beta) =
  (dL/dQpos, dL/dQneg) of all columns, (2, G * m) in image order;
- ``to_images(gradients, order, own, patch_size)``: dL/down, in the shape, dtype and memory format of `own`.

Between `prepare` and `to_images` it sees rows alone. It knows nothing of reduction or autograd.
"""

import os
from types import ModuleType
from typing import NamedTuple

from torch import device as Device
from torch import dtype as Dtype

# Here `torch` and `triton` are the backends beside this file; PyTorch's own names come by themselves.
from dec_kernels.backends import cpp, reference, torch, triton
from dec_kernels.backends.precision import constant_in_graphs
from dec_kernels.spec import CHOICES

ENVIRONMENT = "DEC_KERNELS_BACKEND"
BACKENDS: dict[str, ModuleType] = {"triton": triton, "cpp": cpp, "torch": torch, "reference": reference}


class Task(NamedTuple):
    """What is asked of a backend: rows of `dim` values, `rows` columns in a group, at a preset of `precision`."""

    device: Device
    dtype: Dtype
    dim: int
    rows: int
    precision: str


@constant_in_graphs
def asked_for(name: str) -> str:
    """The backend that is asked for: `name`, or for "auto" what the environment variable ``DEC_KERNELS_BACKEND`` says.

    Raises:
        ValueError: the environment variable names no backend.
    """
    if name != "auto":
        return name
    name = os.environ.get(ENVIRONMENT) or "auto"
    if name not in CHOICES["backend"]:
        raise ValueError(f"{ENVIRONMENT} must be one of {', '.join(map(repr, CHOICES['backend']))}, got {name!r}")
    return name


def choose(name: str, task: Task) -> str:
    """The backend that runs: `name` itself, or for "auto" the fastest that can; the same at any time in a process.

    Raises:
        RuntimeError: the one asked for by name cannot run here; with the reasons of every backend.
    """
    for candidate in _fastest_first(task) if name == "auto" else (name,):
        if not BACKENDS[candidate].reasons(task.device, task.dtype, task.dim):
            return candidate
    raise RuntimeError(
        f"backend={name!r} cannot run rows of {task.dim} values, {task.dtype}, on {task.device}.\n"
        + explain(task.device, task.dtype, task.dim)
    )


def _fastest_first(task: Task) -> tuple[str, ...]:
    """Without the reference, which is dense: it is never chosen, only asked for."""
    if task.device.type == "cpu":
        return "cpp", "torch"  # Triton's interpreter is for tests
    if task.device.type == "cuda" and triton.loses_to_cpp(task.device, task.dim, task.rows, task.precision):
        return "cpp", "triton", "torch"
    return "triton", "cpp", "torch"


def explain(device: Device, dtype: Dtype, dim: int) -> str:
    """A line for each backend: ready, or the reasons why not."""
    lines = []
    for name, backend in BACKENDS.items():
        lines.append(f"  {name}: {'; '.join(backend.reasons(device, dtype, dim)) or 'ready'}")
    return "\n".join(lines)
