import sys

import pytest
import torch

from benchmarks.memory import measure_in_fresh_process, peak_extra_bytes

MIB = 2**20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from Linux's /proc")


def test_peak_sees_what_was_allocated_and_freed():
    # Linux adds up the resident pages of several cores in batches, so a reading may be off by a fraction of a MiB.
    assert 63 * MIB < peak_extra_bytes(lambda: torch.ones(64 * MIB, dtype=torch.uint8)) < 72 * MIB


def test_peak_forgets_an_earlier_one():
    torch.ones(64 * MIB, dtype=torch.uint8)
    assert peak_extra_bytes(lambda: torch.ones(16 * MIB, dtype=torch.uint8)) < 24 * MIB


def test_peak_is_the_highest_point_not_the_sum():
    def one_after_the_other():
        for _ in range(4):
            torch.ones(32 * MIB, dtype=torch.uint8)

    assert peak_extra_bytes(one_after_the_other) < 40 * MIB


def test_fresh_process_sees_n_times_n():
    n = 2048
    matrix = 4 * n * n
    assert measure_in_fresh_process("eager", n, 8)["extra_bytes"] > 3 * matrix
