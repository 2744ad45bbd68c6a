import json

import pytest

from benchmarks import roofline
from benchmarks.roofline import KERNELS, PRESETS, Architecture, predict

# Round numbers, so that every time below can be worked out by hand: n = 1000, D = 100, a product is 2e8 FLOP.
GPU = Architecture(
    "sm_0", multiprocessors=10, clock=1e9, fp32=1e12, tf32=4e12, bf16=8e12, l2=1e12, dram=1e11, source="made up"
)


def test_forward_in_tf32():
    prediction = predict(GPU, KERNELS["forward"], PRESETS["tf32"], 1000, 100, block_rows=100, band=0.0)
    assert prediction.terms == pytest.approx(
        {
            "tensor cores": 4e8 / 4e12,  # two products
            "fp32": 12e6 / 1e12,  # 3 instructions for each of two similarities of 1e6 pairs, 0.5e12 of them a second
            "exponentials": 2e6 / 160e9,
            "L2": 4e6 / 1e12,  # 10 blocks read 400 kB
            "DRAM": 808e3 / 1e11,  # z and h, and two sums a row
        }
    )
    assert prediction.binding == "tensor cores"
    assert prediction.overlapped == pytest.approx(100e-6)
    assert prediction.added == pytest.approx(100e-6 + 12e-6 + 12.5e-6 + 4e-6 + 8.08e-6)


def test_backward_in_bf16():
    prediction = predict(GPU, KERNELS["backward"], PRESETS["bf16"], 1000, 100, block_rows=100, band=0.0)
    assert prediction.terms == pytest.approx(
        {
            "tensor cores": 8e8 / 8e12,
            "fp32": 16e6 / 1e12,
            "exponentials": 2e6 / 160e9,
            "L2": 4e6 / 1e12,  # twice as much, of half the size
            "DRAM": (400e3 + 8e3 + 400e3) / 1e11,
        }
    )


def test_ieee_multiplies_outside_of_the_tensor_cores_and_tf32x3_three_times():
    ieee, split, single = (
        predict(GPU, KERNELS["backward"], PRESETS[preset], 1000, 100, band=0.0).terms
        for preset in ("ieee", "tf32x3", "tf32")
    )
    assert (ieee["tensor cores"], ieee["fp32"]) == pytest.approx((0, 8e8 / 1e12 + 16e6 / 1e12))
    assert split["tensor cores"] == pytest.approx(3 * single["tensor cores"])
    assert split["fp32"] == single["fp32"]


@pytest.mark.parametrize("preset", ["ieee", "bf16"])
def test_the_band_takes_three_tf32_products(preset):
    without, tenth = (predict(GPU, KERNELS["forward"], PRESETS[preset], 1000, 100, band=b).terms for b in (0.0, 0.1))
    assert tenth["tensor cores"] - without["tensor cores"] == pytest.approx(0.1 * 3 * 2e8 / 4e12)


def test_rows_against_the_columns_of_four_processes():
    forward, backward = (
        predict(GPU, KERNELS[direction], PRESETS["tf32"], 1000, 100, columns=4000, block_rows=100, band=0.1).terms
        for direction in ("forward", "backward")
    )
    assert forward == pytest.approx(
        {
            "tensor cores": (2 * 8e8 + 0.1 * 3 * 8e8) / 4e12,
            "fp32": 48e6 / 1e12,
            "exponentials": 8e6 / 160e9,
            "L2": 16e6 / 1e12,  # 10 blocks read 1.6 MB
            "DRAM": (3200e3 + 8e3) / 1e11,  # z and h of all, sums of the own rows
        }
    )
    assert backward["tensor cores"] == pytest.approx((4 * 8e8 + 0.1 * 3 * 8e8) / 4e12)
    # z, h and two numbers of all, the gradient of the own rows.
    assert backward["DRAM"] == pytest.approx((3200e3 + 32e3 + 400e3) / 1e11)


def test_small_rows_wait_for_the_exponentials():
    assert predict(GPU, KERNELS["forward"], PRESETS["bf16"], 1000, 10, band=0.0).binding == "exponentials"


def test_says_that_it_predicts(monkeypatch, tmp_path, capsys):
    file = tmp_path / "prediction.json"
    monkeypatch.setattr("sys.argv", ["roofline", "--n", "1024", "--dim", "48", "192", "--json", str(file)])
    roofline.main()
    assert capsys.readouterr().out.count("PREDICTION") == 2 * len(roofline.ARCHITECTURES)
    content = json.loads(file.read_text())
    assert content["what"].startswith("PREDICTION")
    assert len(content["predictions"]) == len(roofline.ARCHITECTURES) * 2 * 4
    assert all(gpu["source"] for gpu in content["architectures"].values())
