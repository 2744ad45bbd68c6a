"""Negatives from every rank: gloo processes against one process with the whole batch."""

import copy
import math
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dec_kernels import DECLoss, dec_loss, distributed
from dec_kernels.agreement import Call
from dec_kernels.audit import Audit
from dec_kernels.backends import BACKENDS
from dec_kernels.backends.triton import tiles
from dec_kernels.backends.triton.tiles import Tile, Tiles
from dec_kernels.patches import Batch
from dec_kernels.spec import Spec
from tests.oracle import error, evaluate, images, threshold, truth

# Four processes, and groups among them whose ranks are not those of the world.
RANKS = {1: [2], 2: [1, 3], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
SIZES = [2, 3, 4]
TIMEOUT = timedelta(seconds=20)
GROUPS: dict[int, dist.ProcessGroup] = {}  # in a process of the pool, by size
PER_RANK = 2  # images
PATCH_SIZE = 4
ETA = threshold("l2", 3, PATCH_SIZE)
ARGUMENTS = {"patch_size": PATCH_SIZE, "threshold": ETA}


class Failure(NamedTuple):
    kind: str
    message: str
    seconds: float


class Pool:
    """Processes that run functions of this module, all of them the same one at a time."""

    def __init__(self) -> None:
        context = mp.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory()
        pipes = [context.Pipe() for _ in RANKS[4]]
        self.connections = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(rank, self.folder.name, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def run(self, function: Callable[..., Any], *arguments: Any, size: int = 4) -> list[Any]:
        """What `function(group, *arguments)` returns on each rank of a group of that size."""
        ranks = RANKS[size]
        for rank in ranks:
            self.connections[rank].send((function, size, arguments))
        results = []
        for rank in ranks:
            try:
                results.append(self.connections[rank].recv())
            except EOFError:
                results.append(Failure("EOFError", "the process has ended", 0.0))
        return results

    def is_complete(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


def _serve(rank: int, folder: str, connection: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/world", rank=rank, world_size=4, timeout=TIMEOUT)
    for size, ranks in RANKS.items():
        GROUPS[size] = dist.new_group(ranks, timeout=TIMEOUT)
    while True:
        function, size, arguments = connection.recv()
        start = time.monotonic()
        try:
            result = function(GROUPS[size], *arguments)
        except Exception as error:
            result = Failure(type(error).__name__, str(error), time.monotonic() - start)
        connection.send(result)


_pools: list[Pool] = []


@pytest.fixture(scope="module", autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _pools:
        _pools.pop().close()


@pytest.fixture
def pool() -> Pool:
    """One for all tests, until one of its processes is gone."""
    if not _pools or not _pools[-1].is_complete():
        _pools.append(Pool())
    return _pools[-1]


def batch(size: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """LR-like inputs and HR images of all ranks."""
    return images(PER_RANK * size, 3, 12, 16, PATCH_SIZE, dtype, seed)


def own(group: dist.ProcessGroup, *tensors: Tensor) -> list[Tensor]:
    return [x[PER_RANK * group.rank() : PER_RANK * (group.rank() + 1)] for x in tensors]


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 3, 3, padding=1)).to(dtype)


class Step(NamedTuple):
    loss: Tensor
    gradients: list[Tensor]


def step(group: dist.ProcessGroup | None, model: nn.Module, x: Tensor, hr: Tensor, **arguments: Any) -> Step:
    loss = dec_loss(model(x), hr, process_group=group, **ARGUMENTS | arguments)
    loss.sum().backward()
    return Step(loss.detach(), [parameter.grad for parameter in model.parameters()])


def alone(size: int, dtype: torch.dtype = torch.float64, **arguments: Any) -> Step:
    return step(None, network(dtype), *batch(size, dtype), **arguments)


def with_ddp(group: dist.ProcessGroup, arguments: dict[str, Any]) -> Step:
    model = DistributedDataParallel(network(), process_group=group)
    return step(group, model, *own(group, *batch(group.size())), **arguments)


def assert_equal_to_one_process(steps: list[Step], whole: Step, tolerance: float = 1e-12) -> None:
    assert error(torch.stack([step.loss for step in steps]).mean(), whole.loss) < tolerance
    for step_ in steps:
        for ours, theirs in zip(step_.gradients, whole.gradients, strict=True):
            assert error(ours, theirs) < tolerance


@pytest.mark.parametrize("size", SIZES)
def test_equals_one_process_with_the_whole_batch(pool: Pool, size: int, float64_backend: str) -> None:
    arguments = {"backend": float64_backend}
    assert_equal_to_one_process(pool.run(with_ddp, arguments, size=size), alone(size, **arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        {"distance": "rmse", "threshold": threshold("rmse", 3, PATCH_SIZE)},
        {"temperature": "inside"},
        {"loss_weight": 1e-2, "max_val": 2.0},
        {"patch_size": 5},
        {"norm_floor": 0.3},
        {"landmarks": 20},
        {"landmarks": 9, "temperature": "inside", "backend": "torch"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_equals_one_process_with_other_arguments(pool: Pool, arguments: dict[str, Any]) -> None:
    assert_equal_to_one_process(pool.run(with_ddp, arguments, size=3), alone(3, **arguments))


@pytest.mark.parametrize("size", SIZES)
def test_landmarks_are_those_of_one_process_with_the_whole_batch(pool: Pool, size: int, float64_backend: str) -> None:
    arguments = {"backend": float64_backend, "landmarks": 20}
    steps, whole = pool.run(with_ddp, arguments, size=size), alone(size, **arguments)
    assert_equal_to_one_process(steps, whole)
    assert error(whole.loss, alone(size).loss) > 1e-9  # it is not the exact loss


def gathered_terms(group: dist.ProcessGroup, reduction: str) -> tuple[Tensor, Tensor]:
    sr, hr = own(group, *batch(group.size()))
    sr.requires_grad_()
    loss = dec_loss(sr, hr, **ARGUMENTS, reduction=reduction, process_group=group)
    loss.sum().backward()
    return loss.detach(), sr.grad


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_other_reductions_are_over_the_rank_s_own_rows(pool: Pool, reduction: str) -> None:
    losses, gradients = zip(*pool.run(gathered_terms, reduction, size=3), strict=True)
    sr, hr = batch(3)
    whole = dec_loss(sr.requires_grad_(), hr, **ARGUMENTS, reduction=reduction)
    whole.sum().backward()
    ours = torch.cat(losses) if reduction == "none" else torch.stack(losses).sum()
    assert error(ours, whole.detach()) < 1e-12
    assert error(torch.cat(gradients), sr.grad) < 1e-12


def with_own_weight(group: dist.ProcessGroup) -> Tensor:
    sr, hr = own(group, *batch(group.size()))
    sr.requires_grad_()
    ((group.rank() + 1) * dec_loss(sr, hr, **ARGUMENTS, process_group=group)).backward()
    return sr.grad


def test_every_rank_s_incoming_gradient_reaches_the_others(pool: Pool) -> None:
    ours = torch.cat(pool.run(with_own_weight, size=3))
    sr, hr = batch(3)
    terms = dec_loss(sr.requires_grad_(), hr, **ARGUMENTS, reduction="none").view(3, -1).mean(1)
    (terms * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert error(ours, sr.grad) < 1e-12


def audited(group: dist.ProcessGroup, rows: int) -> Audit:
    sr, hr = own(group, *batch(group.size(), torch.float32))
    return DECLoss(**ARGUMENTS, landmarks=12, process_group=group).audit(sr, hr, rows)


def test_an_audit_is_of_the_rank_s_own_rows_against_the_columns_of_all(pool: Pool) -> None:
    sr, hr = batch(3, torch.float32)
    spec = Spec(**ARGUMENTS, reduction="none")
    true = truth(sr, hr, spec, weights=torch.ones(72))
    ours = evaluate(sr, hr, torch.ones(72), **ARGUMENTS, landmarks=12, reduction="none")
    every_row, some = (pool.run(audited, rows, size=3) for rows in (24, 12))
    for rank, (found, estimate) in enumerate(zip(every_row, some, strict=True)):
        inside = slice(PER_RANK * rank, PER_RANK * (rank + 1))
        off = error(ours.gradient[inside], true.gradient[inside])
        assert (found.rows, found.patches, found.columns) == (24, 24, 72)
        assert found.gradient_error.value == pytest.approx(off, rel=1e-3)
        assert found.loss_error.value == pytest.approx(
            (ours.loss - true.loss).view(3, 24)[rank].mean().item(), rel=1e-3
        )
        assert estimate.rows == 12
        assert estimate.gradient_error.value == pytest.approx(off, rel=0.5)


def test_an_audit_with_wrong_arguments_is_an_error_on_every_rank(pool: Pool) -> None:
    failures = pool.run(audited, 1, size=2)
    assert all(failure.kind == "ValueError" and "rows must be at least 2" in failure.message for failure in failures)


def accumulated(group: dist.ProcessGroup) -> list[Tensor]:
    model = DistributedDataParallel(network(), process_group=group)
    criterion = DECLoss(**ARGUMENTS, process_group=group)
    x, hr = own(group, *batch(group.size()))
    with model.no_sync():
        criterion(model(x), hr).backward()
    x, hr = own(group, *batch(group.size(), seed=1))
    criterion(model(x), hr).backward()
    return [parameter.grad for parameter in model.parameters()]


def test_gradient_accumulation(pool: Pool) -> None:
    model = network()
    for seed in (0, 1):
        x, hr = batch(2, seed=seed)
        dec_loss(model(x), hr, **ARGUMENTS).backward()
    for gradients in pool.run(accumulated, size=2):
        for ours, theirs in zip(gradients, model.parameters(), strict=True):
            assert error(ours, theirs.grad) < 1e-12


def with_fsdp(group: dist.ProcessGroup) -> Step:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    model = network()
    fully_shard(model, mesh=DeviceMesh.from_group(group, "cpu"))
    result = step(group, model, *own(group, *batch(group.size())))
    return result._replace(gradients=[gradient.full_tensor() for gradient in result.gradients])


def test_fsdp2(pool: Pool) -> None:
    assert_equal_to_one_process(pool.run(with_fsdp), alone(4))


def compiled_and_eager(group: dist.ProcessGroup, dynamic: bool | None) -> list[bool]:
    process_group = "world" if group.size() == 4 else group
    same = []

    def loss(sr: Tensor, hr: Tensor, weight: float) -> Tensor:
        return 3 * dec_loss(2 * sr, hr, **ARGUMENTS, loss_weight=weight, process_group=process_group)

    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for height, weight in ((12, 0.5), (12, 0.25), (16, 0.125)):
        sr, hr = own(group, *images(PER_RANK * group.size(), 3, height, 16, PATCH_SIZE, torch.float64))
        results = []
        for function in (loss, compiled):
            leaf = sr.clone().requires_grad_()
            value = function(leaf, hr, weight)
            value.backward()
            results.append((value.detach(), leaf.grad))
        same += map(torch.equal, *results)
    return same


@pytest.mark.parametrize(("size", "dynamic"), [(4, None), (2, True)])
def test_compiled_equals_eager(pool: Pool, size: int, dynamic: bool | None) -> None:
    for same in pool.run(compiled_and_eager, dynamic, size=size):
        assert all(same)


def compiled_before_there_is_a_world(world: dist.ProcessGroup) -> bool:
    criterion = DECLoss(**ARGUMENTS, process_group="world")
    compiled = torch.compile(lambda sr, hr: criterion(sr, hr), fullgraph=True, backend="aot_eager")
    sr, hr = own(world, *batch(4))
    dist.group.WORLD = None  # as before init_process_group
    try:
        local = compiled(sr, hr)
        assert torch.equal(local, dec_loss(sr, hr, **ARGUMENTS))
    finally:
        dist.group.WORLD = world
    return bool(compiled(sr, hr) == criterion(sr, hr) != local)


def test_the_world_is_looked_up_at_each_call(pool: Pool) -> None:
    assert pool.run(compiled_before_there_is_a_world) == [True] * 4


def bits_of_one(group: dist.ProcessGroup, dtype: torch.dtype) -> bool:
    sr, hr = batch(1, dtype)
    results = []
    for process_group in (None, group):
        leaf = sr.clone().requires_grad_()
        loss = dec_loss(leaf, hr, **ARGUMENTS, process_group=process_group)
        loss.backward()
        results.append((loss.detach(), leaf.grad))
    return all(map(torch.equal, *results))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_world_of_one_has_the_bits_of_the_local_loss(pool: Pool, dtype: torch.dtype) -> None:
    assert pool.run(bits_of_one, dtype, size=1) == [True]


def gradient_in(group: dist.ProcessGroup, dtype: torch.dtype, backend: str, channels_last: bool) -> tuple[Any, ...]:
    sr, hr = own(group, *batch(group.size(), dtype))
    if channels_last:
        sr = sr.to(memory_format=torch.channels_last)
    sr.requires_grad_()
    results = []
    for _ in range(2):
        loss = dec_loss(sr, hr, **ARGUMENTS, backend=backend, process_group=group)
        results.append((loss.detach(), *torch.autograd.grad(loss, sr)))
    assert all(map(torch.equal, *results))
    loss, gradient = results[0]
    return loss, gradient, gradient.stride() == sr.stride()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype_layout_and_backend_and_the_same_bits_again(pool: Pool, dtype: torch.dtype, tiled: str) -> None:
    losses, gradients, strides = zip(*pool.run(gradient_in, dtype, tiled, True, size=2), strict=True)
    assert all(strides)
    sr, hr = batch(2, dtype)
    whole = dec_loss(sr.requires_grad_(), hr, **ARGUMENTS, backend=tiled)
    whole.backward()
    assert error(torch.stack(losses).mean(), whole.detach()) < 1e-6
    assert error(torch.cat(gradients) / 2, sr.grad) < 4 * torch.finfo(dtype).eps


# What crosses


def collectives(group: dist.ProcessGroup, landmarks: int | None = None) -> list[list[tuple[str, int]]]:
    """The name and bytes of this rank's contribution of everything sent in the forward and in the backward."""
    sr, hr = own(group, *batch(group.size()))
    sr.requires_grad_()
    found: list[list[tuple[str, int]]] = [[], []]
    names = [name for name in vars(dist.ProcessGroup) if any(part in name for part in COLLECTIVES)]
    originals = {name: vars(dist.ProcessGroup)[name] for name in names}

    def recorded(name: str) -> Callable[..., Any]:
        def call(self: dist.ProcessGroup, *arguments: Any, **options: Any) -> Any:
            leaves = torch.utils._pytree.tree_leaves(arguments)  # noqa: SLF001  PyTorch 2.6 has no public one
            tensors = [x for x in leaves if isinstance(x, Tensor)]
            found[phase].append((name, min(x.nbytes for x in tensors)))
            return originals[name].__get__(self)(*arguments, **options)

        return call

    for name in names:
        setattr(dist.ProcessGroup, name, recorded(name))
    try:
        phase = 0
        loss = dec_loss(sr, hr, **ARGUMENTS, landmarks=landmarks, process_group=group)
        phase = 1
        loss.backward()
    finally:
        for name, original in originals.items():
            setattr(dist.ProcessGroup, name, original)
    return found


COLLECTIVES = ("gather", "reduce", "broadcast", "scatter", "alltoall", "all_to_all", "send", "recv", "barrier")


@pytest.mark.parametrize("landmarks", [None, 20])
@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_that_cross(pool: Pool, size: int, landmarks: int | None) -> None:
    """Forward: a header and both images. Backward: alpha and beta, and no gradient. Landmarks add nothing."""
    image_bytes = PER_RANK * 3 * 12 * 16 * 8
    n = PER_RANK * 3 * 4
    for forward, backward in pool.run(collectives, landmarks, size=size):
        assert [count for _, count in forward] == [1024, image_bytes, image_bytes]
        assert [count for _, count in backward] == [2 * n * 8]
        assert all("gather" in name for name, _ in forward + backward)


# What goes wrong


def loss_of(group: dist.ProcessGroup, change: Callable[..., Any]) -> float:
    sr, hr = own(group, *batch(group.size()))
    sr, hr, arguments = change(group.rank(), sr.requires_grad_(), hr)
    with pytest.MonkeyPatch.context() as patch:
        if "environment" in arguments:
            patch.setenv("DEC_KERNELS_BACKEND", arguments.pop("environment"))
        return float(dec_loss(sr, hr, **ARGUMENTS | arguments, process_group=group))


def nan_on_one(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return (sr * math.nan if rank == 1 else sr), hr, {}


def test_nan_on_one_rank_makes_every_loss_nan(pool: Pool) -> None:
    assert all(math.isnan(loss) for loss in pool.run(loss_of, nan_on_one, size=3))


def fewer_images(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return (sr[:1], hr[:1], {}) if rank == 1 else (sr, hr, {})


def other_dtype(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return (sr.float(), hr.float(), {}) if rank == 1 else (sr, hr, {})


def other_threshold(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {"threshold": 30.0 + (rank == 1)}


def no_images(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return (sr[0] if rank == 1 else sr), hr, {}


def bad_argument(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {"t_pos": -1.0} if rank == 1 else {}


def other_landmarks(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {"landmarks": None if rank == 1 else 20}


def no_gradient(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return (sr.detach() if rank == 1 else sr), hr, {}


def no_backend(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {"environment": "nonsense"} if rank == 1 else {}


def integer_threshold(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {"threshold": 30 if rank == 1 else 30.0}


def test_numbers_are_compared_by_value(pool: Pool) -> None:
    assert not any(isinstance(result, Failure) for result in pool.run(loss_of, integer_threshold, size=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fewer_images, "shape is (2, 3, 12, 16) on ranks 0, 3 and (1, 3, 12, 16) on rank 2"),
        (other_dtype, "dtype is torch.float64 on ranks 0, 3 and torch.float32 on rank 2"),
        (other_landmarks, "landmarks is 20 on ranks 0, 3 and None on rank 2"),
        (other_threshold, "threshold is 30 on ranks 0, 3 and 31 on rank 2"),
        (no_gradient, "gradient is True on ranks 0, 3 and False on rank 2"),
        (no_backend, "DEC_KERNELS_BACKEND"),
        (no_images, "(3, 12, 16)"),
        (bad_argument, "-1.0"),
    ],
)
def test_ranks_that_differ_are_an_error_on_every_rank(pool: Pool, change: Callable[..., Any], message: str) -> None:
    failures = pool.run(loss_of, change, size=3)
    for rank, failure in enumerate(failures):
        assert failure.kind == "ValueError"
        assert message in failure.message
        assert rank == 1 or "on rank 2" in failure.message
    # Nothing is left behind in the group.
    assert not any(isinstance(result, Failure) for result in pool.run(loss_of, unchanged, size=3))


def compiled_loss_of(group: dist.ProcessGroup) -> float:
    sr, hr, _ = no_images(group.rank(), *own(group, *batch(group.size())))
    return float(torch.compile(DECLoss(**ARGUMENTS, process_group=group), backend="aot_eager")(sr, hr))


def test_ranks_that_differ_are_an_error_in_a_compiled_call(pool: Pool) -> None:
    for failure in pool.run(compiled_loss_of, size=2):
        assert failure.kind == "ValueError"
        assert "(3, 12, 16)" in failure.message


def unchanged(rank: int, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return sr, hr, {}


def impatient(group: dist.ProcessGroup) -> dist.ProcessGroup:
    """The world, with a timeout of two seconds."""
    return dist.new_group(RANKS[4], timeout=timedelta(seconds=2))


def without_one(group: dist.ProcessGroup) -> float:
    other = impatient(group)
    return 0.0 if group.rank() == 1 else loss_of(other, unchanged)


def test_a_rank_that_does_not_come_is_an_error_within_the_group_s_timeout(pool: Pool) -> None:
    for rank, result in enumerate(pool.run(without_one)):
        assert result == 0.0 if rank == 1 else result.kind == "RuntimeError" and result.seconds < 10


def without_cpu_tensors(group: dist.ProcessGroup) -> float:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "get_backend_config", lambda group: "cuda:nccl")
        assert isinstance(distributed.between_hosts(group), dist.ProcessGroupGloo)
        return loss_of(group, other_threshold if group.size() == 3 else unchanged)


def test_the_calls_are_compared_where_the_group_sends_no_cpu_tensors(pool: Pool) -> None:
    assert pool.run(without_cpu_tensors, size=2) == pool.run(loss_of, unchanged, size=2)
    for failure in pool.run(without_cpu_tensors, size=3):
        assert "threshold is 30 on ranks 0, 3 and 31 on rank 2" in failure.message


def copies(group: dist.ProcessGroup, saved: bytes | None) -> Any:
    if saved is None:
        return pickle.dumps(DECLoss(**ARGUMENTS, process_group=group))
    criterion = pickle.loads(saved)
    modules = (DECLoss(**ARGUMENTS, process_group=group), criterion, copy.deepcopy(criterion))
    return [float(module(*own(group, *batch(group.size())))) for module in modules]


def test_the_module_can_be_copied_and_a_saved_one_loaded_on_another_rank(pool: Pool) -> None:
    saved = pool.run(copies, None, size=2)[0]
    losses = pool.run(copies, saved, size=2)
    assert losses[0][0] != losses[1][0]
    for original, loaded, copied in losses:
        assert original == loaded == copied


def out_of_step(group: dist.ProcessGroup) -> float:
    # As many bytes as a call has.
    alpha = torch.zeros(1024, dtype=torch.uint8)
    if group.rank() == 1:
        group.allgather([[torch.empty_like(alpha) for _ in range(group.size())]], [alpha]).wait()
        return 0.0
    return loss_of(group, unchanged)


def test_ranks_that_are_not_at_the_same_call(pool: Pool) -> None:
    first, _ = pool.run(out_of_step, size=2)
    assert first.kind == "ValueError"
    assert first.message.endswith(": 3")


def outside(group: dist.ProcessGroup) -> None:
    DECLoss(process_group=GROUPS[2])


def test_a_group_that_this_process_is_not_in(pool: Pool) -> None:
    (failure,) = pool.run(outside, size=1)
    assert failure.kind == "ValueError"
    assert "process_group" in failure.message


def killed(group: dist.ProcessGroup) -> float:
    other = impatient(group)
    if group.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss_of(other, unchanged)


def test_when_a_rank_is_killed_the_others_end_with_an_error(pool: Pool) -> None:
    for result in pool.run(killed):
        assert isinstance(result, Failure)
        assert result.seconds < 10


# Without processes


def test_world_is_this_process_where_there_are_no_others() -> None:
    sr, hr = batch(1)
    assert torch.equal(dec_loss(sr, hr, process_group="world"), dec_loss(sr, hr))


@pytest.mark.parametrize(("process_group", "kind"), [("everyone", ValueError), (3, TypeError), ([0, 1], TypeError)])
def test_what_is_no_group(process_group: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^process_group .*"):
        DECLoss(process_group=process_group)


def test_no_group_within_an_image() -> None:
    with pytest.raises(ValueError, match=r"process_group .*scope='image'"):
        DECLoss(scope="image", process_group="world")


def sums_and_gradient(backend: str, part: Batch, patch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Qpos, Qneg and dL/dsr of the rows of a batch, for alpha and beta of all columns."""
    module = BACKENDS[backend]
    dtype = torch.float64 if backend == "reference" else torch.float32
    spec = Spec(
        patch_size=patch_size, threshold=20.0, t_pos=0.4, t_neg=1.3, temperature="inside", norm_floor=0.2, center=True
    )
    constants = spec.constants(3 * patch_size**2, "ieee")
    weights = torch.randn(2, 3 * 35, generator=torch.Generator().manual_seed(0)).to(part.sr.device, dtype)
    rows = module.prepare(part, patch_size, False, constants, dtype)
    qpos, qneg = module.forward(rows, constants)
    rows = module.restore(
        rows.kept, None if module.keeps_rows else part, part.own, 3 * 35, patch_size, False, constants, dtype
    )  # fmt: skip
    gradients = module.backward(rows, constants, weights)
    return qpos, qneg, module.to_images(gradients, rows.order, part.own, patch_size, constants)


def assert_that_a_part_is_part_of_the_whole(backend: str, sr: Tensor, hr: Tensor, patch_size: int) -> None:
    """For 3 images of 5 x 7 patches."""
    qpos, qneg, gradient = sums_and_gradient(backend, Batch.alone(sr, hr), patch_size)
    for start, stop in ((0, 1), (1, 3)):
        ours = sums_and_gradient(backend, Batch(sr[start:stop], sr, hr, start), patch_size)
        rows = slice(35 * start, 35 * stop)
        assert error(ours[0], qpos[rows]) < 1e-6
        assert error(ours[1], qneg[rows]) < 1e-6
        assert error(ours[2], gradient[start:stop]) < 1e-5


def test_rows_among_more_columns(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the interpreted Triton kernels: so small that there are tiles on both sides of a band.
    monkeypatch.setattr(tiles, "INTERPRETED", Tiles(*4 * [Tile(32, 32, 4, 1)]))
    assert_that_a_part_is_part_of_the_whole(backend, *images(3, 3, 20, 28, 4, torch.float32), 4)


# On a CUDA device


@pytest.mark.gpu
def test_nccl_gathers_without_waiting_for_the_device() -> None:
    """In a group of one, since there may be one device only; its calls go between the hosts by gloo."""
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        group = distributed.name_of(dist.group.WORLD)  # "world" is no group here: there is one rank
        sr, _ = (x.cuda() for x in batch(1, torch.bfloat16))
        everything = torch.empty_like(sr)
        arguments = everything.view(-1).view(torch.uint8), sr.view(-1).view(torch.uint8), distributed.group_of(group)
        distributed.all_gather_bytes(*arguments)  # connects
        distributed.exchange(Call({}), group)
        torch.cuda.set_sync_debug_mode("error")
        assert distributed.exchange(Call({"a": "b"}), group) == [Call({"a": "b"})]
        distributed.all_gather_bytes(*arguments)
        torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(everything, sr)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "cpp", "triton"])
def test_rows_among_more_columns_on_the_device(backend: str) -> None:
    if found := BACKENDS[backend].reasons(torch.device("cuda"), torch.float32, 192):
        pytest.skip("; ".join(found))
    sr, hr = (x.cuda() for x in images(3, 3, 40, 56, 8, torch.float32))
    assert_that_a_part_is_part_of_the_whole(backend, sr, hr, 8)
