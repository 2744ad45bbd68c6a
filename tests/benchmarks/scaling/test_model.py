import pytest

from benchmarks import cycles
from benchmarks.cycles.gpus import GPUS
from benchmarks.scaling import model
from benchmarks.scaling.model import Costs, Kept, Links, LocalBatch

# 8 patches of 192 values: 2 * 2 * 3 * 16 * 16 * 4 bytes of images, 2 * 8 * 4 of alpha and beta.
BATCH = LocalBatch(images=2, channels=3, side=16, patch_size=8, itemsize=4)
SENT = 1024 + 12288 + 64


def test_work_of_three_processes():
    assert (BATCH.patches, BATCH.dim) == (8, 192)
    assert model.pairs(BATCH, 3) == 8 * 24
    assert model.flop(BATCH, 3) == 6 * 2 * 192 * 8 * 24


def test_bytes_of_three_processes():
    assert model.sent_bytes(BATCH) == SENT
    assert model.received_bytes(BATCH, 3) == 2 * SENT
    assert model.received_bytes(BATCH, 1) == 0


def test_memory_of_three_processes_and_of_one():
    kept = Kept(column=1000, row=100, gradient=10)
    three, one = (model.memory_bytes(BATCH, processes, kept) for processes in (3, 1))
    assert three == {
        "gathered images": 3 * 12288,
        "columns": 24 * 1000,
        "alpha and beta": 9 * 64,
        "rows": 8 * 110,
    }
    assert one == {"gathered images": 0, "columns": 8000, "alpha and beta": 192, "rows": 80}


def test_what_is_kept_of_a_patch():
    # z and p of 768 bytes, a float, an index; both again, and a float, a float, four indices.
    assert model.cpu_kept(192) == Kept(column=1548, row=1540 + 36, gradient=768)
    # z and h of 384 bytes, p of 768, four numbers of 4 bytes, an index.
    assert model.gpu_kept(192, itemsize=2) == Kept(column=1544 + 8, row=1544 + 24, gradient=4 * 768)


def test_communication_within_a_node_and_beyond():
    links = Links(node=2, nvlink=1e9, network=1e8, source="made up")
    assert model.communication(BATCH, 2, links) == pytest.approx((SENT / 1e9, SENT / 1e9))
    # One other process is near and four are far; what they send comes in by two adapters, or by the own one.
    assert model.communication(BATCH, 6, links) == pytest.approx((4 * SENT / 2e8, SENT / 1e9 + 4 * SENT / 1e8))
    # NVLink, where it is the slower of both.
    slow = links._replace(nvlink=1e8)
    assert model.communication(BATCH, 6, slow)[0] == pytest.approx(5 * SENT / 1e8)


def test_landmarks_cost_products_and_memory_but_no_pairs():
    # 24 columns, 8 rows, 192 values, 10 landmarks: features of both kinds, three sums over the columns, two of rows.
    of_values, of_features = (2 + 3) * 24 * 10 * 192 + 2 * 8 * 10 * 192, 2 * 24 * 10 * 10
    assert model.far_products(BATCH, 3, 10) == (of_values, of_features)
    # z and h twice; 20 numbers six times.
    traffic = 24 * (4 * 192 + 6 * 20) * 4 / 3.35e12
    assert model.far_bytes(BATCH, 3, 10) == pytest.approx(traffic * 3.35e12)
    for precision, rate in (("tf32x3", 128 * 132 * GPUS["H100 SXM"].clock), ("bf16", 494.7e12 / 2)):
        products = of_values / rate + of_features / (128 * 132 * GPUS["H100 SXM"].clock)
        expected = (max(products, traffic), products + traffic)
        assert model.far_seconds(BATCH, 3, 10, precision) == pytest.approx(expected)


def test_preparation_reads_images_and_writes_columns():
    kept = Kept(column=1000, row=0, gradient=0)
    assert model.preparation(BATCH, 3, kept) == pytest.approx(24 * (3 * 768 + 1000) / 3.35e12)


def test_costs_come_back_from_what_they_cost():
    costs = Costs(pair=3e-8, column=2e-6)
    assert costs.seconds(100, 2) == pytest.approx(20_000 * 3e-8 + 200 * 2e-6)
    assert costs.seconds(100, 1) == pytest.approx(10_000 * 3e-8 * 5 / 6 + 100 * 2e-6)
    measured = [(n, processes, costs.seconds(n, processes)) for n in (100, 1000) for processes in (2, 4)]
    assert model.calibrate(measured) == pytest.approx(costs)


def test_prediction_of_the_papers_batch_on_sixteen_gpus():
    record = next(r for r in model.predictions([16]) if r["precision"] == "bf16")
    assert (record["n_local"], record["pairs"]) == (8192, 8192 * 131072)
    # Half of the bytes that float32 images have; 15 processes send theirs.
    assert record["received_bytes"] == 15 * (1024 + 2 * 32 * 3 * 128 * 128 * 2 + 8192 * 8)
    assert record["memory_bytes"]["total"] == 16 * 6291456 + 131072 * 1552 + 16 * 3 * 65536 + 8192 * (1568 + 3072)
    launches = cycles.stored("H100 SXM", 8192, 192, "bf16")
    low, high = (sum(launches[kernel].seconds[end] for kernel in cycles.WALKS) for end in (0, 1))
    assert record["walk_seconds"] == pytest.approx((16 * low, 16 * high))
    assert 0 < low < high
    landmarks = record["with_landmarks"]
    near = 16 * (launches["forward_band"].seconds[0] + launches["backward_band"].seconds[0])
    far = model.far_seconds(LocalBatch(32, 3, 128, 8, itemsize=2), 16, 128, "bf16")
    assert landmarks["seconds"][0] == pytest.approx(near + far[0])
    assert landmarks["memory_bytes"] == record["memory_bytes"]["total"] + 131072 * 2 * 128 * 4
    assert landmarks["seconds"][1] < record["walk_seconds"][0]
