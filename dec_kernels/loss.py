"""`DECLoss` and `dec_loss`: images and arguments in, the loss out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from dec_kernels.agreement import listed
from dec_kernels.backends import Resolved, resolve
from dec_kernels.distributed import ALONE, WORLD, announcing, found_now, name_of, size_of
from dec_kernels.op import gather_images, row_losses
from dec_kernels.private_torch import group_named
from dec_kernels.spec import (
    BackendName,
    Constants,
    Distance,
    Precision,
    Reduction,
    Remainder,
    Scope,
    Spec,
    Temperature,
)

if TYPE_CHECKING:
    from dec_kernels.audit import Audit


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
        _check_scope(spec, None if module.group == ALONE else module.group)
        module.spec = spec


class DECLoss(nn.Module):
    r"""Detail Enhanced Contrastive Loss between SR and HR images (Xu et al., TPAMI 2024, Eqs. 37 to 42).

    Both images are cut into non-overlapping patches: the rows $q_i$ (SR) and $p_i$ (HR), with $z_i = q_i / |q_i|$ and
    $h_i = p_i / |p_i|$. HR patches whose PSNR to each other is at least `threshold` are positives; all others are
    negatives. The index j runs over all rows, i included:

    $$
    \begin{aligned}
    m_{ij} &= [-20 \log_{10}(\mathrm{dist}(p_i, p_j) / \mathrm{max\_val}) \ge \mathrm{threshold}] \\
    Q^+_i &= \sum_j m_{ij} (\exp z_i \cdot z_j + 2 \exp h_i \cdot z_j) / t_{pos} \\
    Q^-_i &= \sum_j (1 - m_{ij}) (\exp z_i \cdot z_j + 2 \exp h_i \cdot z_j) / t_{neg} \\
    L &= -\frac{1}{n} \sum_i \log (Q^+_i / Q^-_i)
    \end{aligned}
    $$

    Time is O(n^2) and memory is O(n), where n = B * floor(H / P) * floor(W / P) is the number of patches. With
    `landmarks`, time is O(n) too, for a small error, but for a small part that finds the positives.

    Every argument is also an attribute that can be read and set, for example by a schedule of `loss_weight`. A new
    value is checked in the same way.

    Args:
        patch_size: P, in pixels: patches are P x P.
        threshold: the PSNR in dB from which two HR patches are positives of each other (Eq. 37).
        t_pos: the temperature of the positive sum (Eq. 40).
        t_neg: the temperature of the negative sum (Eq. 41).
        max_val: the upper bound of the colour space, MAX in Eq. 37: 1.0 for images in [0, 1].
        distance: "l2", the norm as printed in Eq. 37, or "rmse", l2 / sqrt(C * P * P), as in the usual PSNR.
        temperature: "outside" divides the sums, as printed. The temperatures then only add the constant
            log(t_pos / t_neg) to the loss and never reach a gradient. "inside" takes exp(x / t), with t >= 0.02.
        scope: "batch" compares every patch of the batch with every other. "image" treats each image by itself.
        remainder: what happens to rows and columns of pixels that P does not divide. "crop" leaves them out and gives
            them a zero gradient. "error" raises.
        loss_weight: a factor on the result.
        reduction: "mean" over the n patches, "sum", or "none": n values, ordered by image, patch row and patch column.
        precision: how far the operands of the matrix products may be rounded: "ieee" (float32), "tf32x3" (the error of
            float32 from three TF32 products), "tf32" or "bf16". The mask is always exact; sums, exp and log are always
            float32; float64 images are computed in float64. A device without TF32 computes both TF32 presets as "ieee",
            and a CPU without fast bfloat16 products all presets.
            "auto" is "bf16" or "tf32" under autocast to bfloat16 or float16. Elsewhere it follows PyTorch's own setting
            for float32 products on that device, through whichever interface it was made: "highest" (or "ieee") means
            "tf32x3", "high" (or "tf32") means "tf32", and "medium" (or "bf16") means "bf16".
        backend: "reference", "torch", "cpp" or "triton" runs or raises. "auto" takes the backend that the environment
            variable `DEC_KERNELS_BACKEND` names, or else the fastest that can run.
        landmarks: None computes every pair. An integer m from 1 to 2**16 takes the sums over negatives from features
            of m landmarks, in time O(n m D). Positives, the mask and Qpos stay exact. On photographs with m = 128 and
            the other defaults, the error of the gradient was 2e-5 to 4e-4 in the 2-norm, and that of the loss 1e-6.
            Twice the patches that a row is compared with, or more, mean exact. Small `t_neg` with temperature="inside"
            needs more landmarks. `audit` measures the errors on images of yours.
        norm_floor: patches are divided by their norm or by this times max_val * sqrt(C * P * P), whichever is larger,
            as with the `eps` of PyTorch's `cosine_similarity`. 0 is the paper's. It bounds the gradient of dark
            patches, which holds 1 / |q|. Similarities of patches below the floor grow with their norms.
        center: whether the mean of each channel is taken off the patches before they are compared, so that the gradient
            does not itself pull at colours. False is the paper's. The mask is that of the patches as they are.
        process_group: None compares patches of this process alone. A `torch.distributed` group adds the columns of
            every rank in it (see below). "world" means all processes, looked up at each call; it means this process
            alone where `torch.distributed` is not initialised. (Until then `torch.distributed.group.WORLD` is None.)

    Resolution:
        Precision and backend are resolved once a call, and the backward uses what the forward used. A graph of
        torch.compile keeps what was resolved when it was compiled.

    Many processes:
        With a group, i runs over the patches of this rank and j over those of all ranks. Each rank returns the mean
        over its own rows, so the gradients that DDP and FSDP average are those of one process with the whole batch.
        The forward gathers SR and HR images, the backward two numbers a patch. Gradients are not sent. Memory grows
        with the patches of all ranks; time grows with n times that number. Every rank of the group has to call the loss
        and then `backward` equally often, with images of one shape and dtype. If ranks disagree or one of them fails,
        every rank raises an error that says so. The exception is a rank that fails while
        `torch.compile(fullgraph=True)` compiles its call.

    Landmarks:
        The landmarks are the centres of clusters of z and h, and a row of zeros: without randomness, so the same in
        each call with the same images, and on every rank. Their matrix is computed in float64, and what is left of the
        products is rounded as `precision` allows, or less. The gradient approximates that of the exact loss by the
        same features. With NaN or infinity in the images, every row may be NaN.
        On the CPU, and with the backend "torch", negatives are approximated, whatever their distance. With "triton",
        those of similar mean brightness are exact.

    Policies:
        - A patch of norm zero has similarity 0 with everything, and a zero gradient unless there is a `norm_floor`.
        - A row without positives or without negatives contributes 0 to the loss and to the gradient. The mean is
          still taken over n.
        - A patch is always a positive of itself.
        - NaN or infinity in `sr` or `hr` makes the loss NaN. So do values so large that the norm of a patch overflows,
          with the backends "torch" and "cpp" on a GPU, where the host would have to wait for the device to look at
          them. On the CPU such values raise.
        - Results have the same bits from run to run, for a given number of threads.
        - `sr` and `hr` must not change in place before `backward`. PyTorch raises where the backward reads them: it
          does not read `hr` with Triton or with a process group.
        - Second derivatives, forward-mode derivatives and `torch.vmap` raise. `torch.func.grad` and its relatives
          raise PyTorch's own error.

    Raises:
        TypeError: an argument is not of the kind above.
        ValueError: an argument is out of the range above, or a group comes with scope="image".

    Examples:
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
    landmarks = _Argument()
    norm_floor = _Argument()
    center = _Argument()

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
        backend: BackendName = "auto",
        landmarks: int | None = None,
        norm_floor: float = 0.0,
        center: bool = False,
        process_group: torch.distributed.ProcessGroup | str | None = None,
    ) -> None:
        super().__init__()
        self.spec = Spec(
            patch_size=patch_size,
            threshold=threshold,
            t_pos=t_pos,
            t_neg=t_neg,
            max_val=max_val,
            distance=distance,
            temperature=temperature,
            scope=scope,
            remainder=remainder,
            loss_weight=loss_weight,
            reduction=reduction,
            precision=precision,
            backend=backend,
            landmarks=landmarks,
            norm_floor=norm_floor,
            center=center,
        )
        self.process_group = process_group

    @property
    def process_group(self) -> torch.distributed.ProcessGroup | str | None:
        """As the argument. Its name is what is kept: with the group the module could be neither copied nor saved."""
        if self.group == WORLD:
            return WORLD
        return None if self.group == ALONE else group_named(self.group)

    @process_group.setter
    def process_group(self, process_group: torch.distributed.ProcessGroup | str | None) -> None:
        _check_scope(self.spec, process_group)
        self.group = name_of(process_group)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss of `sr` against the target `hr`.

        Args:
            sr: (B, C, H, W), float16, bfloat16, float32 or float64, any strides.
            hr: same shape, dtype (under autocast: any float dtype) and device. It must not require a gradient. It may
                come from `torch.inference_mode`, but not within a graph of torch.compile.

        Returns:
            A scalar, or n values with reduction="none"; float64 for float64 images, otherwise float32.

        Raises:
            TypeError: `sr` or `hr` is not a dense tensor with values in one of these dtypes (nested, sparse, quantized
                and meta tensors are not), or their dtypes differ.
            ValueError: the shapes or devices differ, are not 4-D, or hold no patch; `hr` requires a gradient; on the
                CPU, `hr` holds values beyond 1e34, or float64 images hold values beyond 1e150; the ranks of the process
                group disagree in shapes, dtypes or arguments; `DEC_KERNELS_BACKEND` names no backend.
            RuntimeError: the backend cannot run here; the error has the reasons of each.
            NotImplementedError: a forward-mode derivative, `torch.vmap` or a second derivative is asked for.
        """
        return _loss(sr, hr, self.spec, found_now(self.group))

    def audit(self, sr: Tensor, hr: Tensor, rows: int = 256, seed: int = 0) -> Audit:
        """How far this loss, as configured, is from the exact one on these images: a sample of rows in float64.

        What `forward` would compute here, with its backend, precision, landmarks and autocast, is compared with
        Eqs. 37 to 42 and their gradient. It takes the time of a forward and a backward and O(rows n D) more, and works
        in `torch.no_grad()` as well. No gradient reaches `sr`, and neither `loss_weight` nor `reduction` matters.

        With a process group, every rank has to call it. Each rank gets the errors of its own rows, which are compared
        with the columns of all ranks. A rank that fails after the forward leaves the others waiting.

        Args:
            sr: images as for `forward`.
            hr: the same.
            rows: how many patches are computed exactly, 2 or more. Half are drawn evenly from the batch, and the others
                in proportion to the squared norms of their gradients. A batch of no more patches is computed whole, and
                nothing is estimated.
            seed: of the sample. The same seed draws the same rows again.

        Returns:
            The errors of Qpos and Qneg (relative), of the loss (absolute) and of the gradient (relative in the 2-norm,
            before the reduction; in the dtype of `sr`), with intervals of 95 % for the last two. Where the loss is NaN,
            so are they. `print` shows a table.

        Raises:
            TypeError, ValueError, RuntimeError, NotImplementedError: as `forward`; or `rows` is no int of 2 or more.

        Examples:
            >>> criterion = DECLoss(landmarks=64)
            >>> print(criterion.audit(torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64)))  # doctest: +SKIP
        """
        from dec_kernels.audit import audit  # which needs this module

        return audit(sr, hr, self.spec, found_now(self.group), rows, seed)

    def extra_repr(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in vars(self.spec).items()
            if name == "patch_size" or value != getattr(Spec(), name)
        ]
        return ", ".join(shown if self.group == ALONE else [*shown, f"process_group={self.group!r}"])


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
    backend: BackendName = "auto",
    landmarks: int | None = None,
    norm_floor: float = 0.0,
    center: bool = False,
    process_group: torch.distributed.ProcessGroup | str | None = None,
) -> Tensor:
    """`DECLoss` as a function; arguments, result and errors are documented there."""
    group = found_now(name_of(process_group))
    with announcing(group):
        spec = Spec(
            patch_size=patch_size,
            threshold=threshold,
            t_pos=t_pos,
            t_neg=t_neg,
            max_val=max_val,
            distance=distance,
            temperature=temperature,
            scope=scope,
            remainder=remainder,
            loss_weight=loss_weight,
            reduction=reduction,
            precision=precision,
            backend=backend,
            landmarks=landmarks,
            norm_floor=norm_floor,
            center=center,
        )
        _check_scope(spec, process_group)
    return _loss(sr, hr, spec, group)


def _loss(sr: Tensor, hr: Tensor, spec: Spec, group: str) -> Tensor:
    losses = evaluate(sr, hr, spec, group).losses
    if spec.loss_weight != 1:
        losses = float(spec.loss_weight) * losses  # PyTorch has no integers beyond 2**64
    if spec.reduction == "none":
        return losses
    return losses.sum() if spec.reduction == "sum" else losses.mean()


class Evaluated(NamedTuple):
    """A call of the loss, before weight and reduction.

    Attributes:
        losses: -log(Qpos / Qneg) of each patch, (n,) in image order.
        sums: Qpos and Qneg, (2, n).
        sr, hr: images of the columns, (N, C, H, W) each: those of all ranks.
        constants, run: what it was computed with.
    """

    losses: Tensor
    sums: Tensor
    sr: Tensor
    hr: Tensor
    constants: Constants
    run: Resolved


def evaluate(sr: Tensor, hr: Tensor, spec: Spec, group: str) -> Evaluated:
    """Images, (B, C, H, W) each, checked and compared; `group` is the name of the process group, or `ALONE`."""
    with announcing(group):
        sr, hr = checked(sr, hr, spec)
        dim, columns = spec.sizes(sr.shape, size_of(group))
        landmarks = spec.landmarks_among(columns)
        run = resolve(spec.backend, spec.precision, sr.device, sr.dtype, dim, columns, landmarks)
    if not torch.compiler.is_dynamo_compiling() and hr.is_inference() and sr.requires_grad:
        hr = hr.clone()  # as autograd can save it
    all_sr, all_hr = sr.detach(), hr
    if group != ALONE:
        # A rank without a backward would leave the others waiting in theirs.
        gradient = torch.is_grad_enabled() and sr.requires_grad
        settings = listed({**spec.settings(), "precision": run.precision, "gradient": gradient})
        all_sr, all_hr = gather_images(all_sr, hr, group, settings, spec.numbers())
    constants = spec.constants(dim, run.precision, landmarks)
    per_image = spec.scope == "image"
    losses, sums, _ = row_losses(
        sr, all_sr, all_hr, group, spec.patch_size, per_image, *constants, run.backend, run.dtype
    )  # fmt: skip
    return Evaluated(losses, sums, all_sr, all_hr, constants, run)


def checked(sr: Tensor, hr: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    """`sr` and `hr` as the loss takes them: in float32 under autocast. Raises as `DECLoss.forward`."""
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
