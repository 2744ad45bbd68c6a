import sys

import pytest
import torch

from dec_kernels.doctor.memory import peak_extra_bytes

MIB = 2**20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from Linux's /proc")

# glibc maps blocks above 32 MiB one by one, and unmaps them when they are freed; smaller ones it may keep for later.
BLOCK = 64 * MIB
# Linux adds up the resident pages of several cores in batches, so a reading may be off by a fraction of a MiB.
SLACK = 8 * MIB


def allocate(blocks: int) -> None:
    torch.ones(blocks * BLOCK, dtype=torch.uint8)


def test_peak_sees_what_was_allocated_and_freed() -> None:
    assert BLOCK - SLACK < peak_extra_bytes(lambda: allocate(1)) < BLOCK + SLACK


def test_peak_forgets_an_earlier_one() -> None:
    allocate(2)
    assert BLOCK - SLACK < peak_extra_bytes(lambda: allocate(1)) < BLOCK + SLACK


def test_peak_is_the_highest_point_not_the_sum() -> None:
    assert peak_extra_bytes(lambda: [allocate(1) for _ in range(4)]) < BLOCK + SLACK
