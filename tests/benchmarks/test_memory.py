import sys

import pytest

from benchmarks.memory import measure_in_fresh_process


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from Linux's /proc")
def test_fresh_process_sees_n_times_n():
    n = 2048
    matrix = 4 * n * n
    assert measure_in_fresh_process("eager", n, 8)["extra_bytes"] > 3 * matrix
