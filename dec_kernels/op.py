"""The registered operators: `row_losses` (Eqs. 37-42, but the mean) and its gradient, with fake kernels and autograd.

    L_i     = -log(Qpos_i / Qneg_i)
    alpha_i = dL/dQpos_i = -g_i / Qpos_i        beta_i = dL/dQneg_i = g_i / Qneg_i        g_i = dL/dL_i

The patches of `own` are the rows, those of `sr` and `hr` the columns: the same patches in one process by itself, with a
process group those of every rank. A column's alpha and beta are all that the gradient of the rows needs to know of the
rank that owns it, since that says how every loss depends on that column's sums.

What is kept for the backward is the backend's choice: rows as the forward prepared them, or images to prepare them from
again. To prepare rows again would be two launches and a sort, beside the four launches of the backward itself. Kept
from forward to backward, in MiB at n = 8192 patches of a process and D = 192, without `own`:

                                      alone                      4 ranks
                               bf16     other presets     bf16     other presets
    prepared rows              12.25       18.25          57.75        84.75
    images instead              6.00        6.00          48.00        48.00

The Triton backend keeps rows, since the host's share of its steps counts. With ranks they take the place of the
gathered images. The others keep images: on a CPU, preparing is a small part of a step, and rows would double the memory
that a step takes. With few patches it is no small part: there the C++ backend keeps rows and products on a CPU, beside
the images. With landmarks all keep the features of the columns as well, which are most of what a forward
computes. A change of `hr` before the backward is an error with backends that keep images, and does not matter with
Triton; one of `sr` is an error with all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor

from dec_kernels import distributed
from dec_kernels.agreement import Call
from dec_kernels.backends import BACKENDS
from dec_kernels.patches import MAX_PIXEL, Batch, largest
from dec_kernels.private_torch import BelowAutograd, not_compiled
from dec_kernels.spec import Constants

_LIBRARY = torch.library.Library("dec_kernels", "FRAGMENT")


def _operator(function: Callable[..., Any]) -> Any:
    """Registers a function `_name` as the operator `dec_kernels::name`, for every device.

    What `torch.library.custom_op` puts around each call takes as long again as the rest of PyTorch does. Within the
    function autograd is off, as in any operator. So is torch.compile, which would otherwise compile it piece by piece
    where the operator is called by a function that could not become a graph.
    """
    name = function.__name__.removeprefix("_")
    schema = torch.library.infer_schema(function, mutates_args=())
    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, not_compiled(function), "CompositeExplicitAutograd")
    return getattr(torch.ops.dec_kernels, name).default


def _row_losses(
    own: Tensor,
    sr: Tensor,
    hr: Tensor,
    process_group: str,
    patch_size: int,
    per_image: bool,
    radius: float,
    t_pos: float,
    t_neg: float,
    inside: bool,
    precision: str,
    landmarks: int,
    floor: float,
    center: bool,
    backend: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """-log(Qpos / Qneg) of every patch of `own`, (n,), and Qpos and Qneg, (2, n), in image order; and for the backward.

    Both are float64 for float64 images, otherwise float32. A row without positives or without negatives has the loss 0.

    Args:
        own: SR images whose patches are rows, (B, C, H, W); the gradient goes here.
        sr, hr: images whose patches are columns, (size * B, C, H, W) each, of every rank in turn.
        process_group: the name of the group; `distributed.ALONE` for a process by itself, whose `sr` is `own`.
        patch_size: P, pixels.
        per_image: whether each image is compared with itself alone.
        radius, t_pos, t_neg, inside, precision, landmarks, floor, center: as in `dec_kernels.spec.Constants`.
        backend, dtype: as `dec_kernels.backends.resolve` found them: never "auto", and the backward takes the same.
    """
    constants = Constants(radius, t_pos, t_neg, inside, precision, landmarks, floor, center)
    with _without_autocast(sr):
        _check_range(sr, hr)
        batch = Batch(own, sr, hr, distributed.rank_in(process_group) * own.shape[0])
        rows = BACKENDS[backend].prepare(batch, patch_size, per_image, constants, dtype)
        sums = BACKENDS[backend].forward(rows, constants).to(_result_dtype(sr))
        # Not the logarithm of a ratio: with temperatures far apart, float32 has no room for that. The logarithm of 0 is
        # infinite. A NaN must show even in a row without negatives.
        log_qpos, log_qneg = sums.log().unbind()
        losses = (log_qneg - log_qpos).nan_to_num_(nan=math.nan, posinf=0.0, neginf=0.0)
        return losses, sums, rows.kept


row_losses = _operator(_row_losses)


def _row_losses_backward(
    weights: Tensor,
    own: Tensor,
    kept: Tensor,
    sr: Tensor | None,
    hr: Tensor | None,
    process_group: str,
    patch_size: int,
    per_image: bool,
    radius: float,
    t_pos: float,
    t_neg: float,
    inside: bool,
    precision: str,
    landmarks: int,
    floor: float,
    center: bool,
    backend: str,
    dtype: torch.dtype,
) -> Tensor:
    """dL/down, in the shape, dtype and memory format of `own`, L being the sum over all ranks' losses.

    Args:
        weights: alpha and beta of every column, (2, N), in image order.
        kept: the last result of the forward.
        sr, hr: those of the forward; None where the backend keeps the rows.
        process_group, patch_size, per_image, radius, t_pos, t_neg, inside, landmarks, floor, center: those of the
            forward.
        precision, backend, dtype: what the forward used.
    """
    constants = Constants(radius, t_pos, t_neg, inside, precision, landmarks, floor, center)
    with _without_autocast(own):
        chosen = BACKENDS[backend]
        batch = None
        if sr is not None and hr is not None:
            batch = Batch(own, sr, hr, distributed.rank_in(process_group) * own.shape[0])
        rows = chosen.restore(kept, batch, own, weights.shape[1], patch_size, per_image, constants, dtype)
        gradients, order = chosen.backward(rows, constants, weights.to(dtype).contiguous()), rows.order
        del rows  # the images of the gradient take its place
        return chosen.to_images(gradients, order, own, patch_size, constants)


row_losses_backward = _operator(_row_losses_backward)


def _gather_images(
    sr: Tensor, hr: Tensor, process_group: str, settings: str, numbers: Sequence[float]
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """SR and HR images of every rank of a group, (size * B, C, H, W) each, once all ranks are found to agree.

    Args:
        sr, hr: this rank's, (B, C, H, W).
        process_group: the name of the group.
        settings, numbers: the rest of the call, for comparison, as `dec_kernels.agreement.Call.of` takes them.

    Raises:
        ValueError: the ranks differ in shapes, dtypes or arguments, or another rank has failed.
    """
    distributed.compare(Call.of(sr, settings, numbers), process_group)
    return distributed.gather(sr, process_group), distributed.gather(hr, process_group)


gather_images = _operator(_gather_images)


def _gather_weights(weights: Tensor, process_group: str) -> Tensor:
    """alpha and beta of every rank of a group: (2, n) -> (2, size * n)."""
    everything = distributed.gather(weights, process_group)
    return everything.view(-1, *weights.shape).transpose(0, 1).reshape(2, -1)


gather_weights = _operator(_gather_weights)


def _without_autocast(images: Tensor) -> AbstractContextManager[object]:
    device = images.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


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


def _fake_row_losses(
    own: Tensor, sr: Tensor, hr: Tensor, process_group: str, patch_size: int, per_image: bool, *numbers_and_backend: Any
) -> tuple[Tensor, Tensor, Tensor]:
    *numbers, backend, dtype = numbers_and_backend
    constants = Constants(*numbers)
    patches = (own.shape[2] // patch_size) * (own.shape[3] // patch_size)
    kept = BACKENDS[backend].kept_bytes(own, sr.shape[0] * patches, patch_size, per_image, constants, dtype)
    losses = own.new_empty(own.shape[0] * patches, dtype=_result_dtype(own))
    return losses, losses.new_empty((2, *losses.shape)), own.new_empty(kept, dtype=torch.uint8)


def _fake_row_losses_backward(weights: Tensor, own: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(own)


def _fake_gather_images(sr: Tensor, hr: Tensor, process_group: str, *call: Any) -> tuple[Tensor, ...]:
    size = distributed.size_of(process_group)
    return tuple(x.new_empty((size * x.shape[0], *x.shape[1:])) for x in (sr, hr))


def _fake_gather_weights(weights: Tensor, process_group: str) -> Tensor:
    return weights.new_empty((2, distributed.size_of(process_group) * weights.shape[1]))


for _name, _fake in (
    ("row_losses", _fake_row_losses),
    ("row_losses_backward", _fake_row_losses_backward),
    ("gather_images", _fake_gather_images),
    ("gather_weights", _fake_gather_weights),
):
    torch.library.register_fake(f"dec_kernels::{_name}", _fake, lib=_LIBRARY)


class _RowLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, own: Tensor, sr: Tensor, hr: Tensor, process_group: str, *constants: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        with BelowAutograd():
            losses, sums, kept = row_losses(own, sr, hr, process_group, *constants)
        ctx.process_group, ctx.constants = process_group, constants
        keeps_rows = BACKENDS[constants[-2]].keeps_rows
        ctx.save_for_backward(own, sums, kept, *((None, None) if keeps_rows else (sr, hr)))
        ctx.mark_non_differentiable(sums, kept)
        ctx.set_materialize_grads(False)  # zeros as many as there are bytes kept
        return losses, sums, kept

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *nothing: None) -> tuple[Tensor | None, ...]:
        own, sums, *columns = ctx.saved_tensors
        # Not left out: with ranks the others wait for these weights.
        weights = _weights(torch.zeros_like(sums[0]) if g is None else g, sums)
        if ctx.process_group != distributed.ALONE:
            weights = gather_weights(weights, ctx.process_group)
        gradient = row_losses_backward(weights, own, *columns, ctx.process_group, *ctx.constants)
        return gradient, *[None] * (3 + len(ctx.constants))


class _NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        with BelowAutograd():
            return row_losses_backward(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> NoReturn:
        raise NotImplementedError(
            "DECLoss has no second derivative: its gradient cannot be differentiated again. "
            "Gradient penalties and other uses of create_graph=True have to leave this loss out."
        )


def _recorded_by(function: type[torch.autograd.Function], operator: Any) -> Callable[..., Any]:
    """What the operator is above autograd: `function` where there may be a backward, and otherwise itself."""

    @not_compiled
    def call(*arguments: Any) -> Any:
        if torch.is_grad_enabled():
            return function.apply(*arguments)
        with BelowAutograd():
            return operator(*arguments)

    return call


_LIBRARY.impl("row_losses", _recorded_by(_RowLosses, row_losses), "Autograd")
_LIBRARY.impl("row_losses_backward", _recorded_by(_NoSecondDerivative, row_losses_backward), "Autograd")


def _weights(g: Tensor, sums: Tensor) -> Tensor:
    """alpha and beta, (2, n); 0 in a row without positives or without negatives."""
    weights = g / sums
    weights[0].neg_()
    return torch.where(sums.all(0), weights, 0)


def _refuse_vmap(info: object, in_dims: object, *inputs: object) -> NoReturn:
    raise NotImplementedError(
        "DECLoss is no function of one sample that torch.vmap could batch: it compares all patches with each other. "
        "scope='image' takes each image of a batch by itself."
    )


torch.library.register_vmap("dec_kernels::row_losses", _refuse_vmap, lib=_LIBRARY)
