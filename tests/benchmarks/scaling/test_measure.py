import sys

import pytest
import torch.distributed as dist

from benchmarks.memory import MALLOC
from benchmarks.scaling import measure, model
from benchmarks.scaling.measure import Plan
from benchmarks.scaling.model import LocalBatch


def test_bytes_that_nobody_counts_are_an_error():
    with measure.received_bytes(), pytest.raises(AssertionError, match="allreduce"):
        dist.ProcessGroup.allreduce()


def bytes_and_memory(plan, rank):
    received = [[record[key] for key in measure.RECEIVED] for record in measure.times_and_bytes(plan, rank)]
    return received, measure.peak_memory(plan, rank)


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from Linux's /proc")
def test_two_processes_receive_and_keep_what_the_model_says(monkeypatch):
    for name, value in MALLOC.items():
        monkeypatch.setenv(name, value)
    received, peaks = zip(*measure.run(bytes_and_memory, 2, Plan(patches=(64, 2048), rounds=1)), strict=True)
    small, large = LocalBatch(1, 3, 64, 8, itemsize=4), LocalBatch(8, 3, 128, 8, itemsize=4)
    by_hand = [1024 + 2 * 3 * 64**2 * 4 + 64 * 8, 1024 + 2 * 8 * 3 * 128**2 * 4 + 2048 * 8]
    assert list(received) == [[[count, count] for count in by_hand]] * 2
    assert [model.received_bytes(batch, 2) for batch in (small, large)] == by_hand
    kept = sum(model.memory_bytes(large, 2, model.cpu_kept(192)).values())
    assert all(0.9 * kept < peak < 1.4 * kept for _, peak in peaks)  # there is a workspace, too
