"""What limits each fused kernel on a GPU, and how long it should take: a PREDICTION from machine code and datasheets.

    python -m benchmarks.cycles [--gpu "H100 SXM"] [--n 8192] [--dim 192] [--precision bf16] [--json FILE]

compiles the kernels, counts what their loops ask of each unit of a multiprocessor, counts how often they turn on
photographs, and prints the unit that limits each kernel. `gpus` has the rates, `code` reads the machine code, `walk`
counts turns, `model` puts them together. `stored` is what it said for benchmarks/results/cycles.json, which
`python -m benchmarks.cycles --json benchmarks/results/cycles.json` writes anew. `landmarks` predicts a step with
landmarks from that.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

PREDICTED = "PREDICTED from machine code and datasheets, nothing of it was measured"
FILE = Path(__file__).parents[1] / "results" / "cycles.json"
# The kernels that meet all pairs of rows and columns.
WALKS = ("forward_plain", "forward_band", "backward_plain", "backward_band")
# As PyTorch names the GPUs that there are predictions for.
DEVICES = {
    "NVIDIA A100-SXM4-80GB": "A100 SXM 80 GB",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H200": "H200",
    "NVIDIA B200": "B200",
    "NVIDIA GeForce RTX 5090": "RTX 5090",
}


class Prediction(NamedTuple):
    """Of one launch of a kernel.

    Attributes:
        seconds: were all units to work at the same time, and were they to work one after the other.
        limit: the unit that takes longest.
        terms: unit -> its seconds.
    """

    seconds: tuple[float, float]
    limit: str
    terms: dict[str, float]


def stored(gpu: str, n: int, dim: int, precision: str) -> dict[str, Prediction]:
    """Kernel -> what is predicted for n rows of `dim` values; nothing for what the file does not have.

    Args:
        gpu: as PyTorch or as `benchmarks.cycles.gpus` names it.
    """
    name = DEVICES.get(gpu, gpu)
    return {
        kernel: Prediction((low, high), limit, dict(terms))
        for kernel, (low, high), limit, terms in (
            (r["kernel"], r["seconds"], r["limit"], r["terms"])
            for r in _records(FILE)
            if (r["gpu"], r["n"], r["dim"], r["precision"]) == (name, n, dim, precision)
        )
    }


@functools.cache
def _records(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text())["predictions"] if file.exists() else []
