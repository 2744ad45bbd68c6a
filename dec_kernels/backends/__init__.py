"""The backends, and the one place that decides what a call of the loss runs on."""

import os
from typing import Any, NamedTuple

from torch import device as Device
from torch import dtype as Dtype
from torch import float32, float64

# Here `torch` and `triton` are the backends beside this file; PyTorch's own names come by themselves.
from dec_kernels.backends import cpp, reference, torch, triton
from dec_kernels.backends.precision import computed_as, preset_of
from dec_kernels.backends.protocol import Backend
from dec_kernels.private_torch import constant_in_graphs
from dec_kernels.spec import CHOICES

ENVIRONMENT = "DEC_KERNELS_BACKEND"
BACKENDS: dict[str, Backend[Any]] = {
    "triton": triton.BACKEND,
    "cpp": cpp.BACKEND,
    "torch": torch.BACKEND,
    "reference": reference.BACKEND,
}
# The reference is dense: it is never chosen, only asked for. Triton's interpreter on a CPU is for tests.
_FASTEST_FIRST = {"cpu": ("cpp", "torch")}
_FASTEST_FIRST_ELSEWHERE = ("triton", "cpp", "torch")


class Resolved(NamedTuple):
    """What a call of the loss runs on, forward and backward.

    Attributes:
        backend: the name of the backend that runs.
        precision: the preset of its matrix products: it rounds no more than what was asked for.
        dtype: what it computes in.
    """

    backend: str
    precision: str
    dtype: Dtype


def resolve(
    backend: str, precision: str, device: Device, dtype: Dtype, dim: int, columns: int, landmarks: int = 0
) -> Resolved:
    """Decides once for a call what it runs on; its backward takes the same.

    torch.compile traces this function, and sizes may be symbolic then: the graph is compiled again where another size
    would lead to another backend.

    Args:
        backend: its name, or "auto": the one that the environment variable `DEC_KERNELS_BACKEND` names, or else the
            fastest that can run.
        precision: a preset, or "auto", as `dec_kernels.backends.precision.preset_of` resolves it.
        device: of the images.
        dtype: of the images.
        dim: values of a patch, C * P * P.
        columns: patches that a row is compared with.
        landmarks: as in `dec_kernels.spec.Constants`.

    Raises:
        ValueError: the environment variable names no backend.
        RuntimeError: no backend can run, or not the one that was asked for; with the reasons of each.
    """
    preset = preset_of(precision, device)
    dtype = float64 if dtype == float64 else float32
    name = _asked_for(backend)
    width = _padded(dim)
    ready = _ready(name, device, dtype, width, landmarks)
    if not ready:
        lines = [f"backend={name!r} cannot run rows of {dim} values, {dtype}, on {device}."]
        lines += [
            f"  {each}: {'; '.join(why) or 'ready'}"
            for each, why in reasons_of_each(device, dtype, dim, landmarks).items()
        ]
        raise RuntimeError("\n".join(lines))
    taken = ready[0]
    if taken == "triton" and "cpp" in ready:
        crossover = _crossover(device, width, preset)
        if crossover is not None and columns >= crossover:
            taken = "cpp"
    if taken in ("cpp", "torch"):
        preset = computed_as(preset, device)
    return Resolved(taken, preset, float64 if taken == "reference" else dtype)


def reasons_of_each(device: Device, dtype: Dtype, dim: int, landmarks: int = 0) -> dict[str, list[str]]:
    """For each backend what keeps it from running rows of `dim` values: nothing where it is ready."""
    return {name: backend.reasons(device, dtype, dim, landmarks) for name, backend in BACKENDS.items()}


@constant_in_graphs
def _asked_for(name: str) -> str:
    if name != "auto":
        return name
    name = os.environ.get(ENVIRONMENT) or "auto"
    if name not in CHOICES["backend"]:
        raise ValueError(f"{ENVIRONMENT} must be one of {', '.join(map(repr, CHOICES['backend']))}, got {name!r}")
    return name


def _padded(dim: int) -> int:
    """The largest number of values that every backend treats as it does `dim`; a plain number for a symbolic one."""
    for width in triton.WIDTHS:
        if dim <= width:
            return width
    return triton.WIDTHS[-1] + 1


@constant_in_graphs
def _ready(name: str, device: Device, dtype: Dtype, dim: int, landmarks: int) -> tuple[str, ...]:
    """The backends that can run, the fastest first; `name` alone where one is asked for."""
    candidates = _FASTEST_FIRST.get(device.type, _FASTEST_FIRST_ELSEWHERE) if name == "auto" else (name,)
    return tuple(each for each in candidates if not BACKENDS[each].reasons(device, dtype, dim, landmarks))


_crossover = constant_in_graphs(triton.crossover)
