"""What a step with the Triton kernels asks of the host: calls, launches and compilations, with a driver that is mocked.

Upper bounds are what a step takes: one call more is a regression.
"""

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dec_kernels import op
from tests.lanes import LANES, environment

# Calls that give a tensor another shape, or memory without values: they start nothing on a device.
FREE = {
    "aten.detach.default", "aten.new_empty.default", "aten.empty_like.default", "aten.view.dtype",
    "aten.as_strided.default", "aten.unbind.int", "aten.select.int", "aten.expand.default",
    "aten.to.dtype",  # to the dtype that it has
    "dec_kernels.row_losses.default", "dec_kernels.row_losses_backward.default",
}  # fmt: skip


@cache
def found(lane: str) -> Any:
    program = [sys.executable, "-m", "tests.mocked_driver"]
    variables = environment(lane) | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[3]
    return json.loads(subprocess.run(program, env=variables, cwd=root, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize("lane", LANES)
def test_the_calls_of_a_step(lane: str) -> None:
    step = found(lane)["step"]
    forward, backward = step["forward"], step["backward"]
    assert forward["launches"] == ["means_kernel", "rows_kernel", "forward_plain", "forward_band", "sums_kernel"]
    assert backward["launches"] == ["weights_kernel", "backward_plain", "backward_band", "images_kernel"]
    # Of the backward, one is the 1 that it begins with, one the mean's, and one the 0 of `torch.where`, which a device
    # is filled with as well.
    for phase, starting, all_calls in ((forward, 5, 27), (backward, 7, 28)):
        dispatched = Counter(phase["dispatched"])
        print(f"{dispatched.total()} calls, {step['microseconds']:.0f} microseconds a step: {phase}")
        assert sum(count for name, count in dispatched.items() if name not in FREE) <= starting, dispatched
        assert dispatched.total() <= all_calls, dispatched


@pytest.mark.parametrize("lane", LANES)
def test_a_step_with_landmarks_waits_for_nothing(lane: str) -> None:
    step = found(lane)["landmarks"]
    assert not step["compiled"]  # the band's kernels are those of a step without
    forward, backward = step["forward"], step["backward"]
    assert forward["launches"] == ["means_kernel", "rows_kernel", "forward_band", "sums_kernel"]
    assert backward["launches"] == ["weights_kernel", "backward_band", "images_kernel"]
    for phase in (forward, backward):
        names = {name.split(".")[1] for name in phase["dispatched"]}
        print(f"{sum(phase['dispatched'].values())} calls, {step['microseconds']:.0f} microseconds a step: {phase}")
        # What reads a value, or has a shape that depends on values, or checks what a solver found; and a sum that is an
        # error where algorithms have to be deterministic.
        assert not names & {"_local_scalar_dense", "item", "nonzero", "_linalg_eigh", "linalg_cholesky", "cumsum"}
        assert not names & {"index_put_", "masked_select", "unique", "_to_copy_cpu", "equal", "is_nonzero"}


@pytest.mark.parametrize("lane", LANES)
def test_kernels_are_compiled_once_for_any_data_and_number_of_images(lane: str) -> None:
    for case in found(lane)["variants"]:
        first, *same_height_and_width, ragged, small = case["compiled"]
        rows = {"rows_kernel": 2 if case["mode"] == "ranks" else 1}  # of columns, and of rows among them
        assert all(count <= rows.get(kernel, 1) for kernel, count in first.items()), case
        assert not any(same_height_and_width), case
        # Strides that 16 does not divide: kernels that read or write images make narrower loads.
        assert set(ragged) <= {"means_kernel", "rows_kernel", "images_kernel"}, case
        assert all(count <= rows.get(kernel, 1) for kernel, count in ragged.items()), case
        assert not small, case


@pytest.mark.parametrize("lane", LANES)
def test_every_kernel_is_bound_in_every_preset(lane: str) -> None:
    cases = found(lane)["variants"]
    assert len(cases) == 4 * 3 * 2
    plain = [case["compiled"][0].get("forward_plain", 0) for case in cases]
    assert sum(plain) == 4  # of each preset, whatever the scope and the temperature


@pytest.mark.parametrize("lane", LANES)
def test_the_bytes_kept_are_those_that_are_documented(lane: str) -> None:
    kept = found(lane)["kept"]
    alone, ranks = kept["1"], kept["4"]
    assert alone["tf32"] == alone["tf32x3"] == alone["ieee"]
    figures = [size for sizes in (alone, ranks) for size in (sizes["bf16"], sizes["tf32"])]
    line = next(line for line in op.__doc__.splitlines() if "prepared rows" in line)
    assert line.split()[2:] == [f"{figure:.2f}" for figure in figures]
