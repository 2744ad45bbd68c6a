import pytest
import torch

from dec_kernels.agreement import Call, listed
from dec_kernels.spec import NUMBERS, Spec


def call(shape: tuple[int, ...] = (2, 3, 8, 8), dtype: torch.dtype = torch.float32, **arguments: object) -> Call:
    spec = Spec(**arguments)  # type: ignore[arg-type]
    return Call.of(torch.empty(shape, dtype=dtype), listed({**spec.settings(), "gradient": True}), spec.numbers())


def test_a_call_says_all_that_has_to_be_the_same() -> None:
    assert call().fields.keys() == {"shape", "dtype", "device", "gradient", *vars(Spec())}


@pytest.mark.parametrize("sent", [call(), call(threshold=30.5, distance="rmse"), Call.failed(TypeError("a; b=c é"))])
def test_what_is_encoded_is_decoded(sent: Call) -> None:
    assert Call.decode(sent.encode()) == sent
    assert len(sent.encode()) == len(call().encode())


@pytest.mark.parametrize("other", [b"", bytes(1024), bytes(range(256)) * 4, b"DECLos"])
def test_other_bytes_are_no_call(other: bytes) -> None:
    assert Call.decode(other) is None


def test_a_long_error_is_cut_off() -> None:
    sent = Call.failed(ValueError("é" * 1000)).encode()
    assert len(sent) == len(call().encode())
    decoded = Call.decode(sent)
    assert decoded is not None
    assert decoded.error.startswith("ValueError: éé")


def test_equal_calls_have_no_difference() -> None:
    assert Call.difference([call(threshold=30), call(threshold=30.0)], [0, 1]) is None


@pytest.mark.parametrize(
    ("calls", "parts"),
    [
        (
            [call(), call(shape=(1, 3, 8, 8)), call()],
            ["shape is (2, 3, 8, 8) on ranks 0, 5 and (1, 3, 8, 8) on rank 3"],
        ),
        (
            [call(), call(), call(dtype=torch.float64)],
            ["dtype is torch.float32 on ranks 0, 3 and torch.float64 on rank 5"],
        ),
        (
            [call(t_pos=2), call(), call(scope="image")],
            ["t_pos is 2 on rank 0 and 0.5 on ranks 3, 5", "scope is batch"],
        ),
        ([Call({"a": "1"}), Call({}), Call({"a": "1"})], ["a is 1 on ranks 0, 5 and missing on rank 3"]),
        ([call(), None, call()], ["equally often", "3"]),
        ([call(), Call.failed(TypeError("no")), None], ["on rank 3 DECLoss failed: TypeError: no"]),
    ],
)
def test_a_difference_names_values_and_ranks(calls: list[Call | None], parts: list[str]) -> None:
    difference = Call.difference(calls, [0, 3, 5])
    assert difference is not None
    assert all(part in difference for part in parts)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_compared(name: str) -> None:
    difference = Call.difference([call(), call(**{name: 7})], [0, 1])
    assert difference is not None
    assert f"{name} is " in difference
    assert " and 7 on rank 1" in difference
