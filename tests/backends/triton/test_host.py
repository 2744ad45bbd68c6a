"""Launches: what they take at their construction, and what they pass on."""

import pytest

from dec_kernels.backends.triton.host import Launch


class Kernel:
    """Notes what it is started with, as a `triton.jit` function is."""

    arg_names = ("x", "y", "n", "BLOCK")

    def __init__(self) -> None:
        self.started: list[tuple] = []

    def __getitem__(self, grid: tuple[int]):
        return lambda *arguments, **options: self.started.append((grid, arguments, options))


def test_tensors_come_first_and_numbers_in_the_kernels_order() -> None:
    kernel = Kernel()
    launch = Launch(kernel, 7, {"BLOCK": 64, "n": 100}, {"num_warps": 4})
    launch("a tensor", None)
    assert kernel.started == [((7,), ("a tensor", None, 100, 64), {"num_warps": 4})]


@pytest.mark.parametrize("numbers", [{"n": 1}, {"n": 1, "BLOCK": 2, "more": 3}, {"n": 1, "block": 2}, {"x": 1, "n": 1}])
def test_numbers_are_exactly_the_kernels_last_arguments(numbers: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="BLOCK"):
        Launch(Kernel(), 1, numbers, {})
