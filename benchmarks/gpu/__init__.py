"""The same questions on a CUDA device, as parts that cannot take each other down: `python -m benchmarks.gpu`."""
