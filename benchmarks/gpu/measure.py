"""Measures what a plan lists, until it is done or the time is over.

    python -m benchmarks.gpu.measure RECORDS PLAN DEADLINE [--dry-run]

`benchmarks.gpu` runs this in a process of its own. Started again with the same RECORDS, it goes on where it ended.
"""

import argparse
import math
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.competitors import Competitor
from benchmarks.gpu.competitors import competitors, setting
from benchmarks.gpu.device import CaptureFailed, Cuda, Device, DryRun
from benchmarks.gpu.plan import PATCH_SIZES, PLANS, Case, Plan
from benchmarks.gpu.records import Records
from benchmarks.results import MIB, extrapolate
from benchmarks.timing import by_turns, seconds, summary
from benchmarks.workload import images
from dec_kernels import dec_loss

# A competitor's curve ends where its next call is expected to exceed these.
LONGEST_CALL = 1.0  # seconds
MOST_OF_FREE_MEMORY = 0.8
# It is called as often as fits into this time, within these bounds.
SECONDS_EACH = 0.3
FEWEST_ROUNDS, MOST_ROUNDS = 3, 30
ISSUED = 10  # times, for the host's time
GRAPH = " as a graph"  # of a competitor, in what is left out

Inputs = tuple[Tensor, Tensor, int]


class Bench:
    """The plan's measurements on one device, into one file of records."""

    def __init__(self, plan: Plan, device: Device, records: Records) -> None:
        self.plan, self.device, self.records = plan, device, records

    def run(self, deadline: float) -> None:
        """Everything that is not done yet and can start before `deadline`, in seconds since the epoch."""
        for precision in ("tf32", "bf16", "ieee"):
            size = self.device.longest_product
            product = Case(size, size, precision, ["cuBLAS"])
            if not self.records.of("ceiling", precision=precision):
                self.attempt(product, "cuBLAS", lambda product=product: self.ceiling(product))
        for case in self.plan.cases:
            if self.records.of("done", **case.key):
                continue
            if time.time() > deadline:
                return
            self.measure(case)
            self.records.write("done", **case.key)

    def ceiling(self, product: Case) -> None:
        """The rate of one large square product: what something made of products can hope for."""
        torch.set_float32_matmul_precision(setting(product.precision))
        dtype = torch.bfloat16 if product.precision == "bf16" else torch.float32
        left, right = torch.randn(2, product.n, product.dim, device=self.device.type).to(dtype)
        call = partial(torch.mm, left, right, out=torch.empty_like(left))
        first, *rounds = (self.device.laps(call)[0] for _ in range(1 + MOST_ROUNDS // 3))
        flop = 2 * product.n**2 * product.dim
        self.records.write("ceiling", precision=product.precision, size=product.n, flop=flop, **summary(first, rounds))

    def measure(self, case: Case) -> None:
        """First each competitor alone: whether it runs, its memory and accuracy. Then the clock, by turns."""
        torch.set_float32_matmul_precision(setting(case.precision))
        torch.compiler.reset()  # so that torch.compile may assume this n, as it does where shapes stay the same
        inputs = prepare(case, self.device)
        there = competitors(case.precision, self.device)
        first_calls: dict[str, float] = {}
        if case.n <= self.plan.exact_up_to:
            self.attempt(case, "reference", lambda: truth(case.n, case.dim, self.device.type))
        for name in case.names:
            if name not in there or self.is_out(case, name):
                continue
            if reason := self.too_much(case, name):
                self.leave_out(case, name, case.n, reason)
            else:
                self.attempt(
                    case, name, lambda name=name: first_calls.update({name: self.alone(case, there, name, inputs)})
                )
        if case.n <= self.plan.graphs_up_to:
            self.graphs(case, there, first_calls, inputs)
        self.attempt(case, None, lambda: self.clock(case, there, first_calls, inputs))
        if case.n == self.plan.kernels_at and "triton" in first_calls:
            self.attempt(case, "triton_kernels", lambda: self.kernels(case, there["triton"], inputs))

    def alone(self, case: Case, there: Mapping[str, Competitor], name: str, inputs: Inputs) -> float:
        """Memory and accuracy of one competitor; returns the seconds of its first call."""
        step = partial(there[name].step, *inputs)
        first_call = seconds(partial(self.device.laps, step))
        extra = self.device.extra_bytes(step)
        if extra is not None:
            # The returned gradient is needed in any case.
            self.records.write("memory", competitor=name, **case.place, extra_bytes=extra - inputs[0].nbytes)
        if case.n <= self.plan.exact_up_to and not self.is_out(case, "reference"):
            true_loss, true_gradient = truth(case.n, case.dim, self.device.type)
            loss, gradient = (x.double() for x in step())
            error = {
                "loss": loss,
                "loss_error": (loss - true_loss).abs() / true_loss.abs(),
                "gradient_error": (gradient - true_gradient).norm() / true_gradient.norm(),
            }
            plain = {key: _plain(value.item()) for key, value in error.items()}
            self.records.write("accuracy", competitor=name, **case.place, **plain)
        return first_call

    def clock(
        self, case: Case, there: Mapping[str, Competitor], first_calls: Mapping[str, float], inputs: Inputs
    ) -> None:
        laps = {name: lambda name=name: self.device.laps(*there[name].passes(*inputs)) for name in first_calls}
        rounds = {name: _rounds(sum(lap())) for name, lap in laps.items()}
        for name, taken in by_turns(laps, rounds).items():
            forward, backward = (list(times) for times in zip(*taken, strict=True))
            both = [sum(times) for times in taken]
            for direction, times in (("forward", forward), ("backward", backward), ("both", both)):
                timing = summary(first_calls[name], times)
                self.records.write("time", competitor=name, **case.place, direction=direction, **timing)

        for name in first_calls:
            step = partial(there[name].step, *inputs)
            timing = summary(first_calls[name], [self.device.issue(step) for _ in range(min(ISSUED, rounds[name]))])
            self.records.write("time", competitor=name, **case.place, direction="host", **timing)

    def graphs(
        self, case: Case, there: Mapping[str, Competitor], first_calls: Mapping[str, float], inputs: Inputs
    ) -> None:
        """Forward and backward as one CUDA graph: what is left of the time without Python and without launches."""
        replays: dict[str, Callable[[], object]] = {}
        captures: dict[str, float] = {}

        def capture(name: str) -> None:
            start = time.perf_counter()
            replay = self.device.captured(partial(there[name].step, *inputs))
            captures[name] = time.perf_counter() - start
            replays[name] = replay

        def clock() -> None:
            laps = {name: lambda replay=replay: self.device.laps(replay)[0] for name, replay in replays.items()}
            rounds = {name: _rounds(lap()) for name, lap in laps.items()}
            for name, times in by_turns(laps, rounds).items():
                timing = summary(captures[name], times)
                self.records.write("time", competitor=name, **case.place, direction="graph", **timing)
            if "triton" in replays and (mhz := self.device.clock(replays["triton"])):
                self.records.write("clock", competitor="triton", **case.place, mhz=mhz)

        for name in first_calls:
            self.attempt(case, f"{name}{GRAPH}", lambda name=name: capture(name))
        self.attempt(case, "all graphs", clock)

    def kernels(self, case: Case, competitor: Competitor, inputs: Inputs) -> None:
        for kernel in self.device.kernels(partial(competitor.step, *inputs)):
            self.records.write("kernel", competitor="triton", **case.place, **kernel)

    def attempt(self, case: Case, name: str | None, what: Callable[[], object]) -> None:
        """Does it, unless it failed before; an error leaves out the competitor, or, with name None, the case."""
        if name and self.is_out(case, name):
            return
        self.records.write("trying", competitor=name, **case.key)
        try:
            what()
        except CaptureFailed as error:
            self.leave_out(case, name, 0, f"it cannot be captured: {_line(error)}")
            raise
        except torch.cuda.OutOfMemoryError:
            self.leave_out(case, name, case.n, "out of memory")
        except Exception as error:
            traceback.print_exc()
            self.leave_out(case, name, 0, f"{type(error).__name__}: {_line(error)}")
            if name is None:
                self.records.write("done", **case.key)
            self.device.check()

    def too_much(self, case: Case, name: str) -> str | None:
        """Why not to run it, going by the n before: time, and at most memory, grow with n * n."""

        def expected(kind: str, key: str, **where: str) -> float:
            measured = self.records.of(kind, competitor=name, dim=case.dim, precision=case.precision, **where)
            return extrapolate({r["n"]: r[key] for r in measured}, case.n)

        if expected("time", "median", direction="both") > LONGEST_CALL:
            return f"a call might take more than {LONGEST_CALL:.0f} s"
        if expected("memory", "extra_bytes") > (room := MOST_OF_FREE_MEMORY * self.device.free_bytes()):
            return f"it might need more than the {room / MIB / 1024:.0f} GiB that are free"
        return None

    def leave_out(self, case: Case, name: str | None, from_n: int, reason: str) -> None:
        self.records.write("left_out", competitor=name, **case.place, from_n=from_n, reason=reason)

    def is_out(self, case: Case, name: str) -> bool:
        earlier = self.records.of("left_out", competitor=name, dim=case.dim, precision=case.precision)
        return any(r["from_n"] <= case.n for r in earlier)


def prepare(case: Case, device: Device) -> Inputs:
    """sr, which requires a gradient, hr and the patch size."""
    sr, hr = images(case.n, PATCH_SIZES[case.dim], device=device.type)
    return sr.requires_grad_(), hr, PATCH_SIZES[case.dim]


@cache
def truth(n: int, dim: int, device: str) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the dense float64 reference."""
    sr, hr = (x.double() for x in images(n, PATCH_SIZES[dim], device=device))
    loss = dec_loss(sr.requires_grad_(), hr, PATCH_SIZES[dim], backend="reference")
    return loss.detach(), torch.autograd.grad(loss, sr)[0]


def _rounds(call: float) -> int:
    return min(MOST_ROUNDS, max(FEWEST_ROUNDS, int(SECONDS_EACH / call)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:600]


def _plain(value: float) -> float | str:
    """As JSON can hold it: "inf" comes from those whose mask loses a patch to itself."""
    return value if math.isfinite(value) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("plan", choices=PLANS[False])
    parser.add_argument("deadline", type=float, help="seconds since the epoch: no case starts later")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    given = parser.parse_args()
    plan, device = PLANS[given.dry_run][given.plan], DryRun() if given.dry_run else Cuda()
    Bench(plan, device, Records(given.records)).run(given.deadline)


if __name__ == "__main__":
    main()
