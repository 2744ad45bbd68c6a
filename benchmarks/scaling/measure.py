"""Measures steps of 1, 2 and 4 processes on this CPU: seconds, received bytes and peak memory.

Each process has one thread. There may be fewer cores than processes, so that the processes wait for each other: wall
time includes the waiting and CPU time does not. Only CPU time is compared with the model.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from benchmarks.competitors import LANDMARKS
from benchmarks.memory import MALLOC, peak_extra_bytes
from benchmarks.timing import Timing, summary
from benchmarks.workload import images
from dec_kernels import dec_loss
from dec_kernels.jsontext import to_json

PATCH_SIZE = 8
WARM_UP = 256  # patches
# Methods of a process group that the functions of torch.distributed call: those that gather, one of them with an old
# and a new name, and those that move data in other ways, which the loss must not call.
RECEIVED = ("received_bytes", "received_bytes_with_landmarks")
GATHERS = ("allgather", "_allgather_base", "all_gather_single")
OTHERS = ("allreduce", "alltoall_base", "broadcast", "gather", "reduce", "reduce_scatter", "scatter", "send")


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        patches: numbers of patches of each process.
        processes: numbers of processes.
        rounds: timed steps for each.
    """

    patches: Sequence[int] = (1024, 2048, 4096)
    processes: Sequence[int] = (1, 2, 4)
    rounds: int = 9


Task = Callable[[Plan, int], Any]  # what a process runs, given its rank; JSON must be able to hold the result


def measure(plan: Plan) -> list[dict[str, Any]]:
    """A record for each number of processes and of patches, with received bytes and extra bytes of each process."""
    records = []
    for processes in plan.processes:
        steps = run(times_and_bytes, processes, plan)
        with mock.patch.dict(os.environ, MALLOC):
            peaks = run(peak_memory, processes, plan)
        for k, patches in enumerate(plan.patches):
            rounds = list(zip(*(of_rank[k]["rounds"] for of_rank in steps), strict=True))
            records.append(
                {
                    "processes": processes,
                    "n_local": patches,
                    # A step ends with its last process; all processes have the same work.
                    "wall": _timing(max(wall for wall, _ in ranks) for ranks in rounds),
                    "cpu": _timing(sum(cpu for _, cpu in ranks) / processes for ranks in rounds),
                    **{key: [of_rank[k][key] for of_rank in steps] for key in RECEIVED},
                    "extra_bytes": [of_rank[k] for of_rank in peaks],
                }
            )
    return records


def _timing(rounds: Iterator[float]) -> Timing:
    return summary(next(rounds), list(rounds))


def run(task: Task, processes: int, plan: Plan) -> list[Any]:
    """Runs `task` in new processes of one thread each, which form a gloo group; returns the result of each rank."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (task, processes, plan, folder), nprocs=processes)
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)]


def _process(rank: int, task: Task, processes: int, plan: Plan, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes)
    result = task(plan, rank)
    (Path(folder) / f"{rank}.json").write_text(to_json(result))
    dist.barrier()  # so that no process destroys the group while another uses it
    dist.destroy_process_group()


def times_and_bytes(plan: Plan, rank: int) -> list[dict[str, Any]]:
    """For each number of patches: the bytes that this rank received in the first step, those of a step with landmarks,
    and the (wall, CPU) seconds of all steps without, including the first."""
    records = []
    for patches in plan.patches:
        sr, hr = _images(patches, rank)
        with received_bytes() as received:
            rounds = [_seconds(sr, hr)]
        rounds += [_seconds(sr, hr) for _ in range(plan.rounds)]
        with received_bytes() as with_landmarks:
            _step(sr, hr, LANDMARKS)
        both = {"received_bytes": sum(received), "received_bytes_with_landmarks": sum(with_landmarks)}
        records.append({**both, "rounds": rounds})
    return records


def peak_memory(plan: Plan, rank: int) -> list[int]:
    """For each number of patches: the peak memory of a step above the images of this process, in bytes."""
    _step(*_images(WARM_UP, rank))
    peaks = []
    for patches in plan.patches:
        sr, hr = _images(patches, rank)
        peaks.append(peak_extra_bytes(partial(_step, sr, hr)))
    return peaks


def _images(patches: int, rank: int) -> tuple[Tensor, Tensor]:
    sr, hr = images(patches, PATCH_SIZE, seed=rank)
    return sr.requires_grad_(), hr


def _step(sr: Tensor, hr: Tensor, landmarks: int | None = None) -> Tensor:
    how = {"backend": "cpp", "precision": "ieee", "landmarks": landmarks, "process_group": "world"}
    loss = dec_loss(sr, hr, PATCH_SIZE, **how)
    return torch.autograd.grad(loss, sr)[0]


def _seconds(sr: Tensor, hr: Tensor) -> tuple[float, float]:
    """Wall and CPU seconds of a step; the latter include gloo's threads."""
    dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    _step(sr, hr)
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def received_bytes() -> Iterator[list[int]]:
    """Counts the bytes that each gather in the block brings to this process from the others."""
    received: list[int] = []

    def counting(gather: Callable[..., Any]) -> Callable[..., Any]:
        def counted(group: dist.ProcessGroup, everything: Any, own: Any, *options: Any) -> Any:
            received.append(_nbytes(everything) - _nbytes(own))
            return gather(group, everything, own, *options)

        return counted

    methods: dict[str, Any] = {
        name: counting(method) for name in GATHERS if (method := getattr(dist.ProcessGroup, name, None))
    }
    for name in OTHERS:
        methods[name] = mock.Mock(side_effect=AssertionError(f"{name} moves bytes that nobody counts"))
    with mock.patch.multiple(dist.ProcessGroup, **methods):
        yield received


def _nbytes(tensors: Any) -> int:
    """Bytes of a tensor, or of lists of tensors."""
    return tensors.nbytes if isinstance(tensors, Tensor) else sum(map(_nbytes, tensors))
