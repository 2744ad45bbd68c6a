"""The tile loop of `csrc/`: products by ATen, everything between them in one vectorised pass of our own.

`csrc/walk_cpu.cpp` says how the tiles are walked, `csrc/arithmetic.h` what is computed for each pair. On the CPU
`csrc/prepare_cpu.cpp` prepares the rows, and `csrc/near_cpu.cpp` takes the positives where there are landmarks.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dec_kernels.backends.on_patches import OnPatches
from dec_kernels.backends.precision import matmul_precision
from dec_kernels.patches import MAX_NORM, Batch, Patches, prepare, to_images
from dec_kernels.spec import Constants

NOTHING = torch.empty(0, dtype=torch.uint8)  # is kept

extension: ModuleType | None = None
load_error: ImportError | None = None
try:
    extension = importlib.import_module("dec_kernels._C")
except ImportError as error:
    load_error = error


# With no more columns than this, the forward keeps what it prepares, and its products, for the backward: at D = 192 in
# float32, 2.6 MiB for 512 columns. With more, that saves less of the time, and the products take too much.
FEW = 512


class Cpp(OnPatches):
    def reasons(self, device: torch.device, dtype: torch.dtype, dim: int, landmarks: int = 0) -> list[str]:
        found = []
        if extension is None:
            found.append(_missing())
        elif device.type == "cuda" and not hasattr(extension, "forward_cuda"):
            found.append("the extension was built without CUDA, which needs nvcc and a CUDA build of PyTorch")
        elif device.type == "cuda" and landmarks:
            found.append("its CUDA kernels compute every pair: no landmarks")
        if device.type not in ("cpu", "cuda"):
            found.append(f"it runs on the CPU and on CUDA devices, not on {device.type}")
        return found

    def rows(self, batch: Batch, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype) -> Patches:
        if batch.hr.device.type != "cpu":
            return prepare(batch, patch_size, per_image, constants, dtype)
        size = 0
        if not constants.landmarks:
            columns = batch.hr.shape[0] * _patches_of_one(batch.hr, patch_size)
            size = self.kept_bytes(batch.own, columns, patch_size, per_image, constants, dtype)
        memory = torch.empty(size, dtype=torch.uint8)
        *fields, products = _function("prepare_cpu")(
            batch.sr, batch.hr, batch.start, batch.own.shape[0], patch_size, per_image,
            constants.radius, MAX_NORM[dtype], constants.floor, constants.center, dtype == torch.float64, memory,
        )  # fmt: skip
        return _Patches(*fields, products=products, memory=memory)

    def kept_bytes(
        self, own: Tensor, columns: int, patch_size: int, per_image: bool, constants: Constants, dtype: torch.dtype
    ) -> int:
        all_are_rows = own.shape[0] * _patches_of_one(own, patch_size) == columns
        if constants.landmarks or own.device.type != "cpu" or not all_are_rows:
            return super().kept_bytes(own, columns, patch_size, per_image, constants, dtype)
        groups = own.shape[0] if per_image else 1
        m, dim = columns // groups, own.shape[1] * patch_size**2
        # No branch, since columns may be a symbol of a graph: a factor of 0 or 1.
        few = torch.sym_min(FEW // columns, 1)
        of_group = _row_bytes(m, dim, constants, dtype) + _product_bytes(m, constants, dtype)
        return few * (groups * of_group + dtype.itemsize)

    def restore(
        self,
        kept: Tensor,
        batch: Batch | None,
        own: Tensor,
        columns: int,
        patch_size: int,
        per_image: bool,
        constants: Constants,
        dtype: torch.dtype,
    ) -> Patches:
        if constants.landmarks or not kept.numel():
            return super().restore(kept, batch, own, columns, patch_size, per_image, constants, dtype)
        groups = own.shape[0] if per_image else 1
        dim = own.shape[1] * patch_size**2
        *fields, products = _function("restore_cpu")(
            kept, groups, columns // groups, dim, constants.center, dtype == torch.float64
        )
        return _Patches(*fields, products=products, memory=kept)

    def to_images(self, gradients: Tensor, order: Tensor, own: Tensor, patch_size: int, constants: Constants) -> Tensor:
        if own.device.type != "cpu":
            return to_images(gradients, order, own, patch_size)
        return _function("to_images_cpu")(gradients, order, own, patch_size)

    def sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor]:
        return _call("forward", rows, constants)

    def gradients(self, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> Tensor:
        return _call("backward", rows, constants, (rows.of_rows(alpha), rows.of_rows(beta), alpha, beta))

    def near_sums(self, rows: Patches, constants: Constants) -> tuple[Tensor, Tensor, Tensor]:
        qpos, taken_off, positives = _function("near_sums_cpu")(*_near(rows, constants))
        return qpos if constants.inside else qpos.div_(constants.t_pos), taken_off, positives

    def near_gradients_(self, dz: Tensor, rows: Patches, constants: Constants, alpha: Tensor, beta: Tensor) -> None:
        weights = alpha / constants.t_pos, beta / constants.t_neg
        _function("near_gradients_cpu")(*_near(rows, constants), *weights, dz)


BACKEND = Cpp()


@dataclass(frozen=True)
class _Patches(Patches):
    """Those that `csrc/prepare_cpu.cpp` has prepared, and can take back.

    Attributes:
        products: where the forward leaves its products for the backward, uint8; empty if it leaves none.
        memory: all of this, uint8; empty if the backward prepares the rows again.
    """

    products: Tensor = field(kw_only=True)
    memory: Tensor = field(kw_only=True)

    @property
    def kept(self) -> Tensor:
        return self.memory if self.features is None else self.features.kept

    def sort(self, values: Tensor) -> Tensor:
        return _function("sort_cpu")(values, self.column_order)

    def unsort(self, *values: Tensor) -> Tensor:
        return _function("unsort_cpu")(values, self.order)

    def project_(self, dz: Tensor, constants: Constants) -> Tensor:
        _function("project_cpu")(dz, self.z, self.z_scale, self.column_of_row, constants.floor)
        return dz


def _call(direction: str, patches: Patches, constants: Constants, *gradients: tuple[Tensor, ...]) -> Any:
    device = patches.z.device
    function = _function(f"{direction}_{device.type}")
    columns = (patches.z, patches.p, patches.x, patches.h_scale, patches.sketch)
    rows = tuple(patches.of_rows(x) for x in columns)
    numbers = (
        constants.radius, constants.t_pos, constants.t_neg, constants.inside, constants.precision == "bf16"
    )  # fmt: skip
    band = (patches.first, patches.last, patches.reach)
    arguments = (rows, columns, band, *numbers, *gradients)
    with matmul_precision(constants.precision, patches.z):
        if device.type == "cpu":
            return function(*arguments, patches.products if isinstance(patches, _Patches) else NOTHING)
        with torch.cuda.device(device):
            return function(*arguments, torch.cuda.current_stream().cuda_stream)


def _patches_of_one(images: Tensor, patch_size: int) -> int:
    return (images.shape[2] // patch_size) * (images.shape[3] // patch_size)


def _row_bytes(columns: int, dim: int, constants: Constants, dtype: torch.dtype) -> int:
    """What `Fields` of `csrc/prepare_cpu.cpp` takes for a group, beside one number for all."""
    numbers = (3 if constants.center else 2) * dim + 4 + 2
    return columns * (3 * 8 + numbers * dtype.itemsize)


def _product_bytes(columns: int, constants: Constants, dtype: torch.dtype) -> int:
    """What `csrc/walk_cpu.cpp` keeps of a group: three tiles for each pair of blocks, two of a block with itself."""
    size = 2 if constants.precision == "bf16" and dtype != torch.float64 else dtype.itemsize
    tile = max(64, 256 // size)
    last = (columns - 1) // tile
    rest = columns - last * tile
    return size * (tile**2 * (3 * last * (last - 1) // 2 + 2 * last) + 3 * tile * rest * last + 2 * rest**2)


def _near(rows: Patches, constants: Constants) -> tuple[Any, ...]:
    """The positive pairs, as `csrc/near_cpu.h` takes them. They are few: no preset rounds them."""
    assert rows.features is not None
    columns = (rows.z, rows.p, rows.x, rows.h_scale, rows.sketch, rows.features.z, rows.features.h)
    inverse_t = 1 / constants.t_pos if constants.inside else 1.0
    return columns, (rows.column_of_row, rows.first, rows.last), constants.radius, rows.reach.item(), inverse_t


def _function(name: str) -> Any:
    if extension is None:  # a graph that was exported where it is runs here
        raise RuntimeError(f"backend='cpp' cannot run: {_missing()}")
    return getattr(extension, name)


def _missing() -> str:
    return (
        f"the extension dec_kernels._C cannot be loaded ({load_error}); it is built at installation where PyTorch and "
        "a C++ compiler are present; in a checkout of dec-kernels: "
        "pip install --no-build-isolation --force-reinstall --no-deps ."
    )
