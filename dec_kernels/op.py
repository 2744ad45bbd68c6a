"""The registered operators: `similarity_sums` (Eqs. 37-41) and its gradient, with fake kernels and autograd.

The sums are the outputs and their gradients alpha = dL/dQpos and beta = dL/dQneg are the inputs of the backward, so any
function of Qpos and Qneg can follow. For the backward only the images and alpha and beta are kept: the rows are made
again, at a cost of n * D beside the n * n * D of the walk.

The patches of `own` are the rows, those of `sr` and `hr` the columns: the same patches in one process by itself, with a
process group those of every rank. A column's alpha and beta are all that the gradient of the rows needs to know of the
rank that owns it, since that says how every loss depends on that column's sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from dec_kernels import distributed
from dec_kernels.backends import BACKENDS, Task, choose
from dec_kernels.patches import MAX_PIXEL, Batch, largest
from dec_kernels.spec import NUMBERS, Constants


@torch.library.custom_op("dec_kernels::similarity_sums", mutates_args=())
def similarity_sums(
    own: Tensor,
    sr: Tensor,
    hr: Tensor,
    group: str,
    patch_size: int,
    per_image: bool,
    radius: float,
    t_pos: float,
    t_neg: float,
    inside: bool,
    precision: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Qpos and Qneg of every patch of `own`, in image order; float64 for float64 images, otherwise float32.

    Args:
        own: SR images whose patches are rows, (B, C, H, W); the gradient goes here.
        sr, hr: images whose patches are columns, (size * B, C, H, W) each, of every rank of the group in turn.
        group: its name; "" for a process by itself, whose `sr` is `own`.
        precision: a preset. What "auto" is has to be found out before: the backward takes the same.
    """
    constants = Constants(radius, t_pos, t_neg, inside, precision)
    with torch.no_grad(), torch.autocast(sr.device.type, enabled=False):
        _check_range(sr, hr)
        chosen, dtype = backend_for(backend, sr, patch_size, per_image, constants.precision)
        batch = Batch(own, sr, hr, distributed.rank_in(group) * own.shape[0])
        rows = chosen.prepare(batch, patch_size, per_image, constants, dtype)
        qpos, qneg = chosen.forward(rows, constants)
        return rows.unsort(qpos).to(_result_dtype(sr)), rows.unsort(qneg).to(_result_dtype(sr))


@torch.library.custom_op("dec_kernels::similarity_sums_backward", mutates_args=())
def similarity_sums_backward(
    alpha: Tensor,
    beta: Tensor,
    own: Tensor,
    sr: Tensor,
    hr: Tensor,
    group: str,
    patch_size: int,
    per_image: bool,
    radius: float,
    t_pos: float,
    t_neg: float,
    inside: bool,
    precision: str,
    backend: str,
) -> Tensor:
    """dL/down, in the shape, dtype and memory format of `own`, L being the sum over all ranks' losses.

    alpha = dL/dQpos and beta = dL/dQneg are those of every patch of `sr`, in image order.
    """
    constants = Constants(radius, t_pos, t_neg, inside, precision)
    with torch.no_grad(), torch.autocast(sr.device.type, enabled=False):
        chosen, dtype = backend_for(backend, sr, patch_size, per_image, constants.precision)
        batch = Batch(own, sr, hr, distributed.rank_in(group) * own.shape[0])
        rows = chosen.prepare(batch, patch_size, per_image, constants, dtype)
        dz = chosen.backward(rows, constants, rows.sort(alpha.to(dtype)), rows.sort(beta.to(dtype)))
        dq, order = rows.project_(dz), rows.order
        del rows  # the images of the gradient take its place
        return chosen.to_images(dq, order, own, patch_size)


@torch.library.custom_op("dec_kernels::gather_images", mutates_args=())
def gather_images(
    sr: Tensor,
    hr: Tensor,
    group: str,
    patch_size: int,
    precision: str,
    backend: str,
    switches: str,
    numbers: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """SR and HR images of every rank of a group, (size * B, C, H, W) each, once all ranks are found to agree.

    Args:
        sr, hr: this rank's, (B, C, H, W).
        group: its name.
        switches, numbers: the rest of the call, for comparison: "name=value; name=value", and as `spec.NUMBERS`.

    Raises:
        ValueError: the ranks differ in shapes, dtypes or arguments, or another rank has failed.
        RuntimeError: no backend can run here.
    """
    with distributed.announcing(group):
        backend_for(backend, sr, patch_size, False, precision)
    values = "; ".join(
        f"{name}={float(value)!r}".removesuffix(".0") for name, value in zip(NUMBERS, numbers, strict=True)
    )
    distributed.compare(
        f"shape={tuple(sr.shape)}; dtype={sr.dtype}; device={sr.device.type}; {values}; "
        f"precision={precision}; {switches}",
        group,
    )
    return distributed.gather(sr, group), distributed.gather(hr, group)


@torch.library.custom_op("dec_kernels::gather_gradients", mutates_args=())
def gather_gradients(gradients: Tensor, group: str) -> Tensor:
    """alpha and beta of every rank of a group: (n, 2) -> (size * n, 2)."""
    return distributed.gather(gradients, group)


def backend_for(
    backend: str, sr: Tensor, patch_size: int, per_image: bool, precision: str
) -> tuple[ModuleType, torch.dtype]:
    """The backend that runs, and the dtype that it computes in."""
    batch, channels, height, width = sr.shape
    columns = (1 if per_image else batch) * (height // patch_size) * (width // patch_size)
    dtype = _result_dtype(sr)
    name = choose(backend, Task(sr.device, dtype, channels * patch_size**2, columns, precision))
    return BACKENDS[name], torch.float64 if name == "reference" else dtype


def _check_range(sr: Tensor, hr: Tensor) -> None:
    """On the CPU only: elsewhere the host would have to wait for the device, and such patches make the loss NaN."""
    if hr.device.type != "cpu":
        return
    dtype = _result_dtype(hr)
    limit = MAX_PIXEL[dtype]
    # Norms are taken in float64, where those of any float32 have room: SR needs no more.
    for name, images in (("sr", sr), ("hr", hr)) if dtype == torch.float64 else (("hr", hr),):
        most = largest(images).item()
        if limit < most < math.inf:
            remedy = "scale the images down" + (", or pass them as float64" if dtype == torch.float32 else "")
            raise ValueError(
                f"{name} holds values up to {most:g}; beyond {limit:g} the norm of a patch does not fit into {dtype}: "
                + remedy
            )


def _result_dtype(sr: Tensor) -> torch.dtype:
    return torch.float64 if sr.dtype == torch.float64 else torch.float32


@similarity_sums.register_fake
def _(own, sr, hr, group, patch_size, *constants):
    batch, _, height, width = own.shape
    n = batch * (height // patch_size) * (width // patch_size)
    return own.new_empty(n, dtype=_result_dtype(own)), own.new_empty(n, dtype=_result_dtype(own))


@similarity_sums_backward.register_fake
def _(alpha, beta, own, *constants):
    return torch.empty_like(own)


@gather_images.register_fake
def _(sr, hr, group, *call):
    size = distributed.size_of(group)
    return tuple(x.new_empty((size * x.shape[0], *x.shape[1:])) for x in (sr, hr))


@gather_gradients.register_fake
def _(gradients, group):
    return gradients.new_empty((distributed.size_of(group) * gradients.shape[0], 2))


def _setup_context(ctx, inputs, output):
    own, sr, hr, ctx.group, *ctx.constants = inputs
    ctx.save_for_backward(own, sr, hr)


def _backward(ctx, alpha, beta):
    if ctx.group != distributed.ALONE:
        alpha, beta = gather_gradients(torch.stack([alpha, beta], 1), ctx.group).unbind(1)
    gradient = similarity_sums_backward(alpha, beta, *ctx.saved_tensors, ctx.group, *ctx.constants)
    return gradient, *[None] * (3 + len(ctx.constants))


def _refuse_context(ctx, inputs, output):
    pass


def _refuse(ctx, grad):
    raise NotImplementedError(
        "DECLoss has no second derivative: its gradient cannot be differentiated again. "
        "Gradient penalties and other uses of create_graph=True have to leave this loss out."
    )


def _refuse_vmap(info, in_dims, *inputs):
    raise NotImplementedError(
        "DECLoss is no function of one sample that torch.vmap could batch: it compares all patches with each other. "
        "scope='image' takes each image of a batch by itself."
    )


similarity_sums.register_vmap(_refuse_vmap)
similarity_sums.register_autograd(_backward, setup_context=_setup_context)
similarity_sums_backward.register_autograd(_refuse, setup_context=_refuse_context)
