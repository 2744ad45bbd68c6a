"""What is asked of a CUDA device, with everything of `torch.cuda` made up."""

import contextlib
import threading

import pytest
import torch

from benchmarks.gpu import trace
from benchmarks.gpu.device import CaptureFailed, Cuda


class Marks:
    """Stands for `torch.cuda`: keeps what is asked of it in order, and events that are a millisecond apart."""

    def __init__(self):
        self.asked, self.now = [], 0

    def event(self, enable_timing):
        outer = self

        class Event:
            def record(self):
                outer.asked.append("mark")
                outer.now += 1
                self.at = outer.now

            def elapsed_time(self, other):
                return float(other.at - self.at)

        return Event()


@pytest.fixture
def cuda(monkeypatch):
    marks = Marks()

    class Graph:
        def replay(self):
            marks.asked.append("replay")

    class Stream:
        def wait_stream(self, other):
            marks.asked.append("wait")

    @contextlib.contextmanager
    def graph(which):
        marks.asked.append("capture")
        yield
        marks.asked.append("captured")

    for name, stand_in in {
        "Event": marks.event,
        "synchronize": lambda: marks.asked.append("synchronize"),
        "CUDAGraph": Graph,
        "graph": graph,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "get_device_properties": lambda: type("Properties", (), {"L2_cache_size": 1000}),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, device, **how: empty(*size, **how))
    return Cuda(), marks.asked


def test_a_lap_is_from_mark_to_mark(cuda):
    device, asked = cuda
    assert device.laps(lambda: asked.append("a"), lambda: asked.append("b")) == [0.001, 0.001]
    assert asked == ["mark", "a", "mark", "b", "mark", "synchronize"]


def test_a_step_is_captured_after_steps_that_are_not(cuda):
    device, asked = cuda
    replay = device.captured(lambda: asked.append("step"))
    assert [a for a in asked if a != "wait"] == ["step", "step", "step", "capture", "step", "captured"]
    replay()
    assert asked[-1] == "replay"


def test_the_host_is_not_timed_while_it_waits(cuda):
    device, asked = cuda
    assert device.issue(lambda: asked.append("step")) >= 0
    assert asked == ["synchronize", "step"]


def test_what_cannot_be_captured_ends_the_process(cuda):
    device, asked = cuda

    def step():
        if "capture" in asked:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(CaptureFailed, match="RuntimeError: operation not permitted"):
        device.captured(step)


@pytest.mark.parametrize(("said", "mhz"), [("1755", 1755.0), ("[N/A]", None), (None, None)])
def test_the_clock_is_read_while_the_device_is_busy(cuda, monkeypatch, said, mhz):
    device, asked = cuda
    busy = threading.Event()

    def output(*command):
        assert busy.wait(10)
        return said

    monkeypatch.setattr("benchmarks.gpu.device.output", output)
    assert device.clock(busy.set) == mhz
    assert "synchronize" in asked


def test_kernels_are_summed_by_name_and_none_at_all_is_an_error():
    events = [
        {"ph": "X", "cat": category, "name": name, "dur": duration}
        for category, name, duration in (
            *(("kernel", "forward_plain", duration) for duration in (3.0, 5.0, 4.0, 4.0)),
            ("kernel", "rows_kernel", 1.0),
            ("kernel", "rows_kernel", 1.0),
            ("cuda_runtime", "cudaLaunchKernel", 9.0),
        )
    ]
    longest, other = trace.of_events(events, trace.ON_CUDA, 2)
    assert (longest["kernel"], longest["launches"]) == ("forward_plain", 2)
    assert longest["median"] == pytest.approx(8e-6)
    assert (other["kernel"], other["launches"]) == ("rows_kernel", 1)
    with pytest.raises(RuntimeError, match="saw no kernels"):
        trace.of_events(events[-1:], trace.ON_CUDA, 2)
