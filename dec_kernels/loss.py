"""The module and the function: images and arguments in, scalar out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from dec_kernels.backends import asked_for
from dec_kernels.backends.precision import preset_of
from dec_kernels.distributed import ALONE, WORLD, announcing, group_of, name_of
from dec_kernels.op import gather_images, row_losses
from dec_kernels.spec import Backend, Distance, Precision, Reduction, Remainder, Scope, Spec, Temperature


class _Argument:
    """An argument of `DECLoss` as its attribute: reads the module's `Spec`, and replaces it by one that is checked."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, module: DECLoss | None, owner: type) -> Any:
        return self if module is None else getattr(module.spec, self._name)

    def __set__(self, module: DECLoss, value: Any) -> None:
        if getattr(module, "spec", None) is None:
            raise AttributeError(f"{self._name} cannot be set before DECLoss.__init__() is called")
        spec = replace(module.spec, **{self._name: value})
        _check_scope(spec, module.process_group)
        module.spec = spec


class DECLoss(nn.Module):
    r"""Detail Enhanced Contrastive Loss (Xu et al., TPAMI 2024, Eqs. 37-42) between SR and HR images.

    Both images are cut into non-overlapping patches, the rows :math:`q_i` (SR) and :math:`p_i` (HR), with
    :math:`z_i = q_i/|q_i|` and :math:`h_i = p_i/|p_i|`. HR patches whose PSNR to each other is at least `threshold` are
    positives, all others negatives; j runs over all rows, i included:

    .. math::
        m_{ij} &= [-20 \log_{10}(\mathrm{dist}(p_i, p_j) / \mathrm{max\_val}) \ge \mathrm{threshold}] \\
        Q^+_i &= \sum_j m_{ij} (\exp z_i \cdot z_j + 2 \exp h_i \cdot z_j) / t_{pos} \\
        Q^-_i &= \sum_j (1 - m_{ij}) (\exp z_i \cdot z_j + 2 \exp h_i \cdot z_j) / t_{neg} \\
        L &= -\frac{1}{n} \sum_i \log (Q^+_i / Q^-_i)

    The cost is O(n^2) in time and O(n) in memory, n = B * floor(H / P) * floor(W / P).

    Args:
        patch_size: P, pixels; patches are P x P.
        threshold: PSNR in dB from which two HR patches are positives of each other (Eq. 37).
        t_pos, t_neg: temperatures of the positive and of the negative sum (Eqs. 40, 41).
        max_val: the upper bound of the colour space, MAX in Eq. 37: 1.0 for images in [0, 1].
        distance: "l2", the norm as printed in Eq. 37, or "rmse", l2 / sqrt(C * P * P), as in the usual PSNR.
        temperature: "outside" divides the sums as printed; t_pos and t_neg then only add the constant
            log(t_pos / t_neg) to the loss and never reach a gradient. "inside" is exp(x / t), with t >= 0.02.
        scope: "batch", every patch of the batch against every other, or "image", each image by itself.
        remainder: what becomes of rows and columns of pixels that P does not divide: "crop" leaves them out (and
            gives them a zero gradient), "error" refuses them.
        loss_weight: a factor on the result.
        reduction: "mean" over the n patches, "sum", or "none": n values, ordered by image, then patch row, then column.
        precision: how far the operands of the matrix products may be rounded; the mask is always exact, and sums, exp
            and log are always float32. "ieee" (float32), "tf32x3" (float32's error from three TF32 products), "tf32",
            "bf16". A device without TF32 computes both TF32 presets as "ieee". "auto" is bf16 or tf32 under autocast
            to bfloat16 or float16, otherwise what PyTorch's own float32 products on that device are set to, through any
            of its interfaces: "highest" (or "ieee") tf32x3, "high" (or "tf32") tf32, "medium" (or "bf16") bf16. The
            backward takes what the forward found; a graph of torch.compile, what was set when it was compiled.
            float64 images are computed in float64.
        backend: "auto" (the fastest that can run; the environment variable ``DEC_KERNELS_BACKEND`` replaces it),
            "reference", "torch", "cpp" or "triton". One that was asked for by name runs or raises.
        process_group: None, patches of this process alone; a `torch.distributed` group, columns j from every rank in it
            ("Many processes" below); or "world", every process, looked up at each call: where `torch.distributed` is
            not initialised then, this one alone. (Before it is, `torch.distributed.group.WORLD` is None.)

    Many processes:
        With a group, i runs over this rank's patches and j over those of all ranks. Each rank returns the mean over its
        own rows, so that the gradients that DDP and FSDP average are those of one process with the whole batch. SR and
        HR images are gathered in the forward and two numbers a patch in the backward; no gradient is. Memory grows
        with the patches of all ranks, time with n times that. Every rank of the group has to call the loss, and then
        `backward`, equally often, with images of one shape and dtype. Calls that differ, or fail on one rank, are an
        error on every rank; not so, under ``torch.compile(fullgraph=True)``, one that fails while it is compiled.

    Policies:
        - A patch of norm zero has similarity 0 with everything and a zero gradient.
        - A row with no negative or no positive contributes 0 to the loss and to the gradient; the mean stays over n.
        - i = j is always positive.
        - NaN or infinity in `sr` or `hr` makes the loss NaN. So do values too large for the norm of a patch, with torch
          and C++ on a GPU: there the host would have to wait to look at them first. On the CPU they are refused.
        - Results are the same bits from run to run, for a given number of threads.
        - `sr` and `hr` must not change in place before `backward`: PyTorch raises an error where that needs them. It
          does not need `hr` with Triton, or with a process group.
        - Second derivatives, forward-mode derivatives and `torch.vmap` are refused. `torch.func.grad` and the like
          raise PyTorch's own error.

    Every argument is an attribute too, that can be read and set, for example by a schedule of ``loss_weight``; what is
    set is checked as here.

    Raises:
        TypeError, ValueError: an argument is not of the kind or in the range above; a group with scope="image".

    Example:
        >>> criterion = DECLoss(loss_weight=1e-2)
        >>> sr = torch.rand(4, 3, 64, 64, requires_grad=True)
        >>> criterion(sr, torch.rand(4, 3, 64, 64)).backward()
    """

    patch_size = _Argument()
    threshold = _Argument()
    t_pos = _Argument()
    t_neg = _Argument()
    max_val = _Argument()
    distance = _Argument()
    temperature = _Argument()
    scope = _Argument()
    remainder = _Argument()
    loss_weight = _Argument()
    reduction = _Argument()
    precision = _Argument()
    backend = _Argument()

    def __init__(
        self,
        patch_size: int = 8,
        threshold: float = 34.0,
        t_pos: float = 0.5,
        t_neg: float = 1.5,
        *,
        max_val: float = 1.0,
        distance: Distance = "l2",
        temperature: Temperature = "outside",
        scope: Scope = "batch",
        remainder: Remainder = "crop",
        loss_weight: float = 1.0,
        reduction: Reduction = "mean",
        precision: Precision = "auto",
        backend: Backend = "auto",
        process_group: torch.distributed.ProcessGroup | str | None = None,
    ) -> None:
        super().__init__()
        self.spec = Spec(
            patch_size,
            threshold,
            t_pos,
            t_neg,
            max_val,
            distance,
            temperature,
            scope,
            remainder,
            loss_weight,
            reduction,
            precision,
            backend,
        )
        self.process_group = process_group

    @property
    def process_group(self) -> torch.distributed.ProcessGroup | str | None:
        """As the argument. Its name is what is kept: with the group the module could be neither copied nor saved."""
        if self.group is None:
            return WORLD
        return None if self.group == ALONE else group_of(self.group)

    @process_group.setter
    def process_group(self, process_group: torch.distributed.ProcessGroup | str | None) -> None:
        _check_scope(self.spec, process_group)
        self.group = None if process_group == WORLD else name_of(process_group)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss of `sr` against the target `hr`.

        Args:
            sr: (B, C, H, W), float16, bfloat16, float32 or float64, any strides.
            hr: same shape, dtype (under autocast: any float dtype) and device; must not require a gradient. It may have
                been made under `torch.inference_mode` (not so inside of a graph of torch.compile).

        Returns:
            A scalar, or n values with reduction="none"; float64 for float64 images, otherwise float32.

        Raises:
            TypeError: `sr` or `hr` is not a dense tensor of one of these dtypes with values (nested, sparse and meta
                tensors are not), or their dtypes differ.
            ValueError: shapes or devices differ, are not 4-D, hold no patch; `hr` requires a gradient; on the CPU, `hr`
                holds values beyond 1e34, or float64 images hold values beyond 1e150; or the ranks of the process group
                differ in shapes, dtypes or arguments.
            NotImplementedError: a forward-mode derivative, `torch.vmap` or a second derivative is asked for.
        """
        return _loss(sr, hr, self.spec, name_of(WORLD) if self.group is None else self.group)

    def extra_repr(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in vars(self.spec).items()
            if name == "patch_size" or value != getattr(Spec(), name)
        ]
        group = WORLD if self.group is None else self.group
        return ", ".join(shown if group == ALONE else [*shown, f"process_group={group!r}"])


def dec_loss(
    sr: Tensor,
    hr: Tensor,
    patch_size: int = 8,
    threshold: float = 34.0,
    t_pos: float = 0.5,
    t_neg: float = 1.5,
    *,
    max_val: float = 1.0,
    distance: Distance = "l2",
    temperature: Temperature = "outside",
    scope: Scope = "batch",
    remainder: Remainder = "crop",
    loss_weight: float = 1.0,
    reduction: Reduction = "mean",
    precision: Precision = "auto",
    backend: Backend = "auto",
    process_group: torch.distributed.ProcessGroup | str | None = None,
) -> Tensor:
    """`DECLoss` as a function; arguments, result and errors are documented there."""
    group = name_of(process_group)
    with announcing(group):
        spec = Spec(
            patch_size,
            threshold,
            t_pos,
            t_neg,
            max_val,
            distance,
            temperature,
            scope,
            remainder,
            loss_weight,
            reduction,
            precision,
            backend,
        )
        _check_scope(spec, process_group)
    return _loss(sr, hr, spec, group)


def _loss(sr: Tensor, hr: Tensor, spec: Spec, group: str) -> Tensor:
    with announcing(group):
        sr, hr = _checked(sr, hr, spec)
        constants = spec.constants(sr.shape[1] * spec.patch_size**2, preset_of(spec.precision, sr.device))
        backend = asked_for(spec.backend)
    if not torch.compiler.is_dynamo_compiling() and hr.is_inference() and sr.requires_grad:
        hr = hr.clone()  # as autograd can save it
    all_sr, all_hr = sr.detach(), hr
    if group != ALONE:
        # A rank without a backward would leave the others waiting in theirs.
        switches = f"{spec.switches()}; gradient={torch.is_grad_enabled() and sr.requires_grad}"
        all_sr, all_hr = gather_images(
            all_sr, hr, group, spec.patch_size, constants.precision, backend, switches, spec.numbers()
        )
    losses = row_losses(sr, all_sr, all_hr, group, spec.patch_size, spec.scope == "image", *constants, backend)[0]
    if spec.loss_weight != 1:
        losses = float(spec.loss_weight) * losses  # PyTorch has no integers beyond 2**64
    if spec.reduction == "none":
        return losses
    return losses.sum() if spec.reduction == "sum" else losses.mean()


def _checked(sr: Tensor, hr: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    for name, images in (("sr", sr), ("hr", hr)):
        if not isinstance(images, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(images).__name__}")
        _check_kind(name, images, spec)
        if images.dim() != 4:
            raise ValueError(f"{name} must be (B, C, H, W), got {images.dim()} dimensions: {tuple(images.shape)}")
    if sr.shape != hr.shape:
        raise ValueError(f"sr and hr must have the same shape, got sr {tuple(sr.shape)} and hr {tuple(hr.shape)}")
    if sr.device != hr.device:
        raise ValueError(f"sr and hr must be on the same device, got sr on {sr.device} and hr on {hr.device}")
    if sr.is_meta:
        raise TypeError("sr and hr must hold values, got tensors on the device meta")
    if hr.requires_grad:
        raise ValueError("hr is the target and gets no gradient, but it requires one: pass hr.detach()")
    if torch.is_autocast_enabled(sr.device.type):
        sr, hr = sr.float(), hr.float()
    if sr.dtype != hr.dtype:
        raise TypeError(f"sr and hr must have the same dtype, got sr {sr.dtype} and hr {hr.dtype}")

    batch, channels, height, width = sr.shape
    if batch == 0 or channels == 0:
        raise ValueError(f"sr and hr must hold at least one image with one channel, got the shape {tuple(sr.shape)}")
    if height < spec.patch_size or width < spec.patch_size:
        raise ValueError(f"patch_size={spec.patch_size} does not fit into images of {height} x {width} (H x W)")
    if spec.remainder == "error" and (height % spec.patch_size or width % spec.patch_size):
        raise ValueError(
            f"patch_size={spec.patch_size} does not divide images of {height} x {width} (H x W); "
            "remainder='crop' would leave the rest out"
        )
    return sr, hr


def _check_kind(name: str, images: Tensor, spec: Spec) -> None:
    if kind := foreign_kind(images):
        raise TypeError(f"{name} must be a dense tensor, got a tensor that is {kind}")
    if images.dtype not in DTYPES:
        wanted = ", ".join(map(str, DTYPES))
        raise TypeError(
            f"{name} must be a floating-point tensor, {wanted}, with values up to max_val={spec.max_val}, got "
            f"{images.dtype}; convert it first, for example integer images by {name}.float() / 255"
        )
    if not torch.compiler.is_dynamo_compiling() and forward_ad.unpack_dual(images).tangent is not None:
        raise NotImplementedError(
            f"DECLoss has no forward-mode derivative (jvp, jacfwd, dual tensors), and {name} carries a tangent: "
            "take the derivative by backward()"
        )


DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def foreign_kind(images: Tensor) -> str | None:
    """What a tensor is instead of dense; None if it is dense."""
    if images.is_nested:
        return "nested"
    if images.is_quantized:
        return "quantized"
    return None if images.layout == torch.strided else str(images.layout)


def _check_scope(spec: Spec, process_group: object) -> None:
    if process_group is not None and spec.scope == "image":
        raise ValueError(
            f"process_group must be None with scope='image', where no patch sees another image, got {process_group!r}"
        )
