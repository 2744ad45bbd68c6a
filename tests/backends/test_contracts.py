"""What users rely on beside the numbers: memory, determinism, threads."""

import threading
import time

import pytest
import torch

from benchmarks import memory, workload
from dec_kernels import dec_loss
from tests.oracle import evaluate, images, threshold

MIB = 2**20


@pytest.mark.parametrize(
    ("competitor", "n", "patch_size", "limit"),
    # A matrix of n x n float32 alone would be 1024 MiB, 256 MiB and 1024 MiB.
    [("cpp", 16384, 8, 32 * MIB), ("torch", 8192, 8, 32 * MIB), ("cpp", 16384, 4, 12 * MIB)],
)
def test_peak_memory(competitor: str, n: int, patch_size: int, limit: int) -> None:
    peak = memory.measure_in_fresh_process(competitor, n, patch_size)["extra_bytes"]
    assert peak < limit


def test_memory_is_linear_in_n() -> None:
    small, large = (memory.measure_in_fresh_process("cpp", n, 8)["extra_bytes"] for n in (4096, 8192))
    assert large < 2.2 * small


@pytest.mark.parametrize("deterministic", [False, True])
def test_50_runs_give_the_same_bits(compiled: str, deterministic: bool) -> None:
    sr, hr = images(4, 3, 65, 66, 4, torch.float32)
    arguments = {"patch_size": 4, "threshold": threshold("l2", 3, 4), "backend": compiled}
    found = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        for precision in ("ieee", "bf16"):
            first = evaluate(sr, hr, precision=precision, **arguments)
            for _ in range(49):
                again = evaluate(sr, hr, precision=precision, **arguments)
                assert torch.equal(again.loss, first.loss)
                assert torch.equal(again.gradient, first.gradient)
    finally:
        torch.use_deterministic_algorithms(found)


@pytest.mark.skipif(torch.get_num_threads() < 2, reason="needs two threads to tell one from two")
def test_it_keeps_to_the_number_of_threads() -> None:
    sr, hr = workload.images(4096, 8)
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        dec_loss(sr, hr, backend="cpp")
        before = time.process_time(), time.perf_counter()
        one = dec_loss(sr, hr, backend="cpp")
        cpu, wall = time.process_time() - before[0], time.perf_counter() - before[1]
    finally:
        torch.set_num_threads(found)
    assert cpu < 1.2 * wall
    torch.testing.assert_close(one, dec_loss(sr, hr, backend="cpp"))


def test_it_releases_the_gil() -> None:
    sr, hr = workload.images(8192, 8)
    entered, left, progress = threading.Event(), threading.Event(), 0

    def work() -> None:
        entered.set()
        dec_loss(sr, hr, backend="cpp")
        left.set()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    while not left.is_set():
        time.sleep(0.005)
        progress += 1
    thread.join()
    # The call takes at least a tenth of a second. With the lock held, the first sleep would end when it does.
    assert progress >= 5


def test_threads_of_python_do_not_disturb_each_other() -> None:
    sr, hr = images(4, 3, 64, 64, 4, torch.float32)
    expected = evaluate(sr, hr, patch_size=4, backend="cpp")
    results = []

    def work() -> None:
        results.append(evaluate(sr, hr, patch_size=4, backend="cpp"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        assert torch.equal(result.loss, expected.loss)
        assert torch.equal(result.gradient, expected.gradient)
